package renew

import (
	"slices"
	"time"
)

// Window is a time of the day, on some days of the week, at which a person wants
// maintenance to happen.
type Window struct {
	// Days are those on which it opens.
	Days []time.Weekday
	// From and To are times of the day by the clock on the wall. One that ends no later
	// than it opens ends on the next day.
	From, To time.Duration
}

// Windows are all of them, by the clock of a time zone. Without one it is always time.
type Windows struct {
	Open []Window
	Zone *time.Location
}

// Contains says whether a window is open. What counts is what the clock on the wall
// shows: in an hour that is there twice a window is open twice, and in one that clocks
// skip it does not open.
func (w Windows) Contains(t time.Time) bool {
	if len(w.Open) == 0 {
		return true
	}
	t = t.In(w.zone())
	today, yesterday := t.Weekday(), (t.Weekday()+6)%7
	clock := time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute +
		time.Duration(t.Second())*time.Second + time.Duration(t.Nanosecond())
	return slices.ContainsFunc(w.Open, func(one Window) bool {
		if one.From < one.To {
			return slices.Contains(one.Days, today) && clock >= one.From && clock < one.To
		}
		return (slices.Contains(one.Days, today) && clock >= one.From) || (slices.Contains(one.Days, yesterday) && clock < one.To)
	})
}

// Next is the first moment from t on at which a window is open: t itself if one is. It
// is zero when none opens within two weeks, which is so of no window that can be written.
func (w Windows) Next(t time.Time) time.Time {
	if w.Contains(t) {
		return t
	}
	local := t.In(w.zone())
	var moments []time.Time
	for day := -1; day <= 14; day++ {
		for _, one := range w.Open {
			moments = append(moments, time.Date(local.Year(), local.Month(), local.Day()+day, 0, 0, 0, 0, w.zone()),
				time.Date(local.Year(), local.Month(), local.Day()+day, int(one.From/time.Hour), int(one.From%time.Hour/time.Minute), 0, 0, w.zone()))
		}
	}
	// Where clocks are changed a window may open with the change, or at a time that is
	// there twice, of which time.Date knows one.
	for at := local; at.Before(local.AddDate(0, 0, 14)); {
		_, change := at.ZoneBounds()
		if change.IsZero() {
			break
		}
		_, before := change.Add(-time.Second).Zone()
		_, after := change.Zone()
		by := time.Duration(before-after) * time.Second
		for _, m := range slices.Clone(moments) {
			moments = append(moments, m.Add(-by.Abs()), m.Add(by.Abs()))
		}
		moments = append(moments, change)
		at = change
	}
	var next time.Time
	for _, m := range moments {
		if !m.Before(t) && w.Contains(m) && (next.IsZero() || m.Before(next)) {
			next = m
		}
	}
	return next.In(t.Location())
}

func (w Windows) zone() *time.Location {
	if w.Zone == nil {
		return time.UTC
	}
	return w.Zone
}
