package systemd

import (
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

const (
	// notifyTimeout bounds one message to the service manager, whose queue may be
	// full.
	notifyTimeout = time.Second
	// watchdogGap is the shortest time between two signs of life.
	watchdogGap = time.Second
)

// Notifier tells the service manager how this service is (sd_notify(3)). Without a
// service manager that wants to know, and on a nil Notifier, its methods do nothing.
//
// A message that cannot be sent is dropped: a service manager that misses READY or
// WATCHDOG acts on that by itself, and nothing else could be done about it here.
type Notifier struct {
	socket string

	mu    sync.Mutex
	alive time.Time // when WATCHDOG was last sent
}

// NewNotifier makes a notifier for the socket in the environment's NOTIFY_SOCKET.
func NewNotifier() *Notifier { return &Notifier{socket: os.Getenv("NOTIFY_SOCKET")} }

// Ready says that the service is up, or, after Reloading, that it works with its new
// configuration.
func (n *Notifier) Ready() { n.send(daemon.SdNotifyReady) }

// Reloading says that the configuration is being read again. Ready ends it.
func (n *Notifier) Reloading() { n.send(daemon.SdNotifyReloading) }

// Stopping says that the service is on its way out.
func (n *Notifier) Stopping() { n.send(daemon.SdNotifyStopping) }

// Status sets the line that systemctl status shows.
func (n *Notifier) Status(text string) {
	// A message is a list of lines; the text must not become one.
	n.send("STATUS=" + strings.Join(strings.Fields(text), " "))
}

// Watchdog is a sign of life. It may be called as often as one likes; the service
// manager hears of it once a second at most.
func (n *Notifier) Watchdog() {
	if n == nil || n.socket == "" {
		return
	}
	n.mu.Lock()
	now := time.Now()
	early := now.Sub(n.alive) < watchdogGap
	if !early {
		n.alive = now
	}
	n.mu.Unlock()
	if !early {
		n.send(daemon.SdNotifyWatchdog)
	}
}

// WatchdogInterval returns within which time the service manager wants a sign of
// life, and whether it wants any from this process.
func (n *Notifier) WatchdogInterval() (time.Duration, bool) {
	if n == nil || n.socket == "" {
		return 0, false
	}
	interval, err := daemon.SdWatchdogEnabled(false)
	return interval, err == nil && interval > 0
}

func (n *Notifier) send(state string) {
	if n == nil || n.socket == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	if conn.SetWriteDeadline(time.Now().Add(notifyTimeout)) == nil {
		_, _ = conn.Write([]byte(state))
	}
}
