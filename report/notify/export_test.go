package notify

import "time"

// Wait has attempts be made again after so long, and not after a second and more.
func (n *Notifier) Wait(d time.Duration) { n.wait = func(int) time.Duration { return d } }

// Backoff is how long it waits before an attempt is made again.
var Backoff = backoff

// The bounds of what is tried.
const (
	Attempts = attempts
	Most     = most
	Grace    = grace
)
