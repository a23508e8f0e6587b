package systemd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
)

const (
	// callTimeout bounds every question to systemd.
	callTimeout = 10 * time.Second
	// dialTimeout bounds a way to systemd while there is another. It answers within
	// milliseconds; a bus that hangs must leave time for the other way.
	dialTimeout = 500 * time.Millisecond
	// lastTimeout bounds the last way, on a node that may be overloaded.
	lastTimeout = 3 * time.Second
)

// Manager is a connection to systemd. It is made anew when it was lost, so that it
// outlives a restart of the D-Bus daemon. It may be used by several goroutines.
type Manager struct {
	ways []way

	mu   sync.Mutex
	link *link // nil when there is none
}

// way is one way to reach systemd.
type way struct {
	name string
	// dial connects. The connection ends with ctx.
	dial func(ctx context.Context) (*dbus.Conn, error)
	// remedy is what to do when this way does not work.
	remedy string
}

// link is a connection that works.
type link struct {
	conn *dbus.Conn
	end  context.CancelFunc
}

func (l *link) close() {
	l.conn.Close()
	l.end()
}

// Connect connects to systemd: over the system bus, or, when that is down, through
// the private socket that systemd keeps for root, as systemctl does. What repairs a
// node should not depend on what may be broken.
func Connect(ctx context.Context) (*Manager, error) {
	return connect(ctx, []way{
		{"the D-Bus system bus", dbus.NewSystemConnectionContext, "systemctl status dbus"},
		{"systemd's own socket /run/systemd/private", dbus.NewSystemdConnectionContext, "kubecertd must run as root on a host that systemd manages"},
	})
}

func connect(ctx context.Context, ways []way) (*Manager, error) {
	m := &Manager{ways: ways}
	if _, _, err := m.connection(ctx); err != nil {
		return nil, err
	}
	return m, nil
}

// Close ends the connection. Calls that are under way fail.
func (m *Manager) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.link != nil {
		m.link.close()
		m.link = nil
	}
}

// connection returns a connection, and whether it was made just now.
func (m *Manager) connection(ctx context.Context) (l *link, fresh bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.link != nil && m.link.conn.Connected() {
		return m.link, false, nil
	}
	if m.link != nil {
		m.link.close()
		m.link = nil
	}
	var tried []string
	var errs []error
	for i, w := range m.ways {
		limit := dialTimeout
		if i == len(m.ways)-1 {
			limit = lastTimeout
		}
		l, err := w.connect(ctx, limit)
		if err == nil {
			m.link = l
			return l, true, nil
		}
		tried = append(tried, fmt.Sprintf("%s: %v (%s)", w.name, err, w.remedy))
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, false, &unreachableError{"systemd cannot be reached: " + strings.Join(tried, "; "), errs}
}

// drop ends a connection that did not serve.
func (m *Manager) drop(l *link) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l.close()
	if m.link == l {
		m.link = nil
	}
}

// connect dials and lets systemd say something: after a restart of the D-Bus daemon
// the bus may be there and systemd not yet on it.
func (w way) connect(ctx context.Context, timeout time.Duration) (*link, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	began := time.Now()
	// The library ends a connection with the context it was dialled under, and some
	// of its first calls have no deadline of their own. So it gets a context that
	// lives as long as the connection, and ends early when dialling takes too long.
	life, end := context.WithCancel(context.Background())
	limit, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	stop := context.AfterFunc(limit, end)
	conn, err := w.dial(life)
	if err == nil {
		_, err = conn.SystemStateContext(limit)
		if !stop() && err == nil {
			err = limit.Err()
		}
		if err == nil {
			return &link{conn, end}, nil
		}
		conn.Close()
	}
	stop()
	end()
	if limit.Err() != nil {
		return nil, fmt.Errorf("no answer within %s: %w", time.Since(began).Round(100*time.Millisecond), limit.Err())
	}
	return nil, err
}

// unreachableError is one line for people that still holds every cause.
type unreachableError struct {
	text   string
	causes []error
}

func (e *unreachableError) Error() string   { return e.text }
func (e *unreachableError) Unwrap() []error { return e.causes }

// lost says whether an error means that the connection is of no use any more,
// rather than that systemd gave an answer one does not like.
func (l *link) lost(err error) bool {
	return !l.conn.Connected() || errors.Is(err, context.DeadlineExceeded) || busError(err)
}
