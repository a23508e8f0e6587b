package pki

import (
	"fmt"
	"time"
)

// TimeLayout is how times are written for people everywhere in kubecertd; the
// times are in UTC.
const TimeLayout = "2006-01-02 15:04:05 MST"

// Span writes a duration as people say it: the largest unit, and the next where it
// matters.
func Span(d time.Duration) string {
	const day = 24 * time.Hour
	if d < 0 {
		return "-" + Span(-d)
	}
	switch {
	case d >= 10*day:
		return fmt.Sprintf("%dd", d/day)
	case d >= day:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	default:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
}
