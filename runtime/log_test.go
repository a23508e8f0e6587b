package runtime_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const stamp = "2026-03-01T12:00:00.123456789Z "

func TestSaid(t *testing.T) {
	three := stamp + "stdout F one\n" + stamp + "stderr F two words\n" + stamp + "stderr F three\n"
	last := len(stamp + "stderr F three\n")
	for _, tt := range []struct {
		name, log string
		limit     int
		want      string
	}{
		{"all", three, 4096, "one\ntwo words\nthree"},
		{"exactly all", three, len(three), "one\ntwo words\nthree"},
		{"one byte less", three, len(three) - 1, "two words\nthree"},
		{"the last, exactly", three, last, "three"},
		{"and a byte of the one before", three, last + 1, "three"},
		{"less than the last", three, 4, "ree"},
		{"nothing", three, 0, ""},
		{"less than nothing", three, -1, ""},
		{"empty", "", 4096, ""},
		{"being written", three + stamp + "stdout F fo", 4096, "one\ntwo words\nthree\nfo"},
		{"only a prefix as yet", three + "2026-03", 4096, "one\ntwo words\nthree\n2026-03"},
		{"a long line in parts", stamp + "stderr P a\n" + stamp + "stderr P b\n" + stamp + "stderr F c\n" + stamp + "stderr F d\n", 4096, "abc\nd"},
		{"an empty line", stamp + "stdout F \n" + stamp + "stdout F x\n", 4096, "\nx"},
		{"spaces", stamp + "stdout F  a  b \n", 4096, " a  b "},
		{"no runtime's", "plain text of a program\n", 4096, "plain text of a program"},
		{"no text", stamp + "stdout F \xff\n", 4096, "\uFFFD"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, client, container := etcd(t, "containerd")
			path := filepath.Join(t.TempDir(), "0.log")
			if err := os.WriteFile(path, []byte(tt.log), 0o600); err != nil {
				t.Fatal(err)
			}
			f.change(func() { f.containers[0].status.LogPath = path })
			got, err := client.Said(t.Context(), container, tt.limit)
			if err != nil || got != tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestSaidNothing(t *testing.T) {
	f, client, container := etcd(t, "containerd")
	fails := func(what, want string) {
		t.Helper()
		began := time.Now()
		_, err := client.Said(t.Context(), container, 100)
		if err == nil || !strings.HasPrefix(err.Error(), "log of kube-system/etcd-a container etcd") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", what, err, want)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("%s: it took %s", what, took)
		}
	}
	fails("no path", "names no file")
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{filepath.Join(dir, "none"): "no such file", dir: "is no regular file", fifo: "is no regular file"} {
		f.change(func() { f.containers[0].status.LogPath = path })
		fails(path, want)
	}
	f.change(func() { f.containers = nil })
	fails("gone", "does not know this container")
}
