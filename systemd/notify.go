package systemd

import "time"

// Notifier tells the service manager how this service is.
type Notifier struct{}

// NewNotifier returns a notifier.
func NewNotifier() *Notifier { return &Notifier{} }

// Ready says that the service is ready.
func (n *Notifier) Ready() {}

// Status says in one line what the service does.
func (n *Notifier) Status(text string) {}

// Watchdog says that the service is alive.
func (n *Notifier) Watchdog() {}

// Stopping says that the service ends.
func (n *Notifier) Stopping() {}

// Reloading says that the configuration is read again.
func (n *Notifier) Reloading() {}

// WatchdogInterval returns how often Watchdog must be called at least.
func (n *Notifier) WatchdogInterval() (time.Duration, bool) { return 0, false }
