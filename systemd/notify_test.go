package systemd_test

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/systemd"
)

func TestNotifier(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	t.Setenv("NOTIFY_SOCKET", path)
	n := systemd.NewNotifier()
	n.Ready()
	n.Status("nothing due until\nREADY=1 tomorrow")
	n.Watchdog()
	n.Watchdog() // within the same second
	n.Reloading()
	n.Stopping()
	var got []string
	for range 5 {
		buffer := make([]byte, 200)
		if err := socket.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		size, err := socket.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(buffer[:size]))
	}
	want := []string{"READY=1", "STATUS=nothing due until READY=1 tomorrow", "WATCHDOG=1", "RELOADING=1", "STOPPING=1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
}

func TestWatchdogInterval(t *testing.T) {
	tests := []struct {
		name, socket, usec, pid string
		want                    time.Duration
	}{
		{"wanted", "/x", "180000000", strconv.Itoa(os.Getpid()), 3 * time.Minute},
		{"not wanted", "/x", "", "", 0},
		{"of another process", "/x", "180000000", "1", 0},
		{"nonsense", "/x", "often", "", 0},
		{"nobody listens", "", "180000000", "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("NOTIFY_SOCKET", tt.socket)
			t.Setenv("WATCHDOG_USEC", tt.usec)
			t.Setenv("WATCHDOG_PID", tt.pid)
			got, on := systemd.NewNotifier().WatchdogInterval()
			if got != tt.want || on != (tt.want > 0) {
				t.Errorf("got %s, %v, want %s", got, on, tt.want)
			}
		})
	}
}

// Started by hand, or on a host without systemd, there is nobody to tell.
func TestNotifierWithoutServiceManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "none"))
	for _, n := range []*systemd.Notifier{nil, systemd.NewNotifier()} {
		began := time.Now()
		n.Ready()
		n.Status("x")
		n.Watchdog()
		n.Stopping()
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("it took %s to tell nobody", took)
		}
	}
}
