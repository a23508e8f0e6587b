package renew_test

import (
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/kubecertd/kubecertd/renew"
)

// days are days of the week, by their numbers.
func days(numbers ...time.Weekday) []time.Weekday { return numbers }

var everyDay = days(0, 1, 2, 3, 4, 5, 6)

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func TestWindowsContainAndNext(t *testing.T) {
	const hour = time.Hour
	nights := []renew.Window{{days(1, 2, 3, 4, 5), 1 * hour, 5 * hour}}
	late := []renew.Window{{everyDay, 22 * hour, 4 * hour}}
	saturday := []renew.Window{{days(6), 22 * hour, 4 * hour}}
	weekend := []renew.Window{{days(0, 6), 0, 24 * hour}}
	early := []renew.Window{{everyDay, 2*hour + 30*time.Minute, 4 * hour}}
	skipped := []renew.Window{{everyDay, 2 * hour, 3 * hour}}
	for _, tt := range []struct {
		name    string
		windows []renew.Window
		zone    string
		at      string // by its own offset
		next    string // equal to at when open
	}{
		{"none is always", nil, "UTC", "2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z"},
		{"opens on the minute", nights, "UTC", "2026-03-02T01:00:00Z", "2026-03-02T01:00:00Z"},
		{"a moment before", nights, "UTC", "2026-03-02T00:59:59Z", "2026-03-02T01:00:00Z"},
		{"the last moment", nights, "UTC", "2026-03-02T04:59:59Z", "2026-03-02T04:59:59Z"},
		{"closed on the minute, until the next day", nights, "UTC", "2026-03-02T05:00:00Z", "2026-03-03T01:00:00Z"},
		{"from Friday to Monday", nights, "UTC", "2026-03-06T05:00:00Z", "2026-03-09T01:00:00Z"},
		{"by another clock", nights, "Europe/Berlin", "2026-03-02T00:30:00Z", "2026-03-02T00:30:00Z"},
		{"over midnight, before it", late, "UTC", "2026-03-02T23:00:00Z", "2026-03-02T23:00:00Z"},
		{"over midnight, after it", late, "UTC", "2026-03-02T03:59:59Z", "2026-03-02T03:59:59Z"},
		{"over midnight, closed", late, "UTC", "2026-03-02T04:00:00Z", "2026-03-02T22:00:00Z"},
		{"of Saturday, on Sunday morning", saturday, "UTC", "2026-03-01T03:00:00Z", "2026-03-01T03:00:00Z"},
		{"of Saturday, on Saturday morning", saturday, "UTC", "2026-03-07T03:00:00Z", "2026-03-07T22:00:00Z"},
		{"a whole day to its end", weekend, "UTC", "2026-03-01T23:59:59Z", "2026-03-01T23:59:59Z"},
		{"a whole day is over", weekend, "UTC", "2026-03-02T00:00:00Z", "2026-03-07T00:00:00Z"},
		{"a week ahead, across a change of clocks", []renew.Window{{days(0), 5 * hour, 6 * hour}}, "Europe/Berlin", "2026-03-23T12:00:00+01:00", "2026-03-29T05:00:00+02:00"},
		// Clocks go from 02:00 to 03:00 on 2026-03-29.
		{"opens in the hour that is skipped", early, "Europe/Berlin", "2026-03-29T01:59:00+01:00", "2026-03-29T03:00:00+02:00"},
		{"lies in the hour that is skipped", skipped, "Europe/Berlin", "2026-03-29T01:00:00+01:00", "2026-03-30T02:00:00+02:00"},
		// Clocks go from 03:00 back to 02:00 on 2026-10-25.
		{"opens in the hour that is there twice", early, "Europe/Berlin", "2026-10-25T01:00:00+02:00", "2026-10-25T02:30:00+02:00"},
		{"the hour for the first time", early, "Europe/Berlin", "2026-10-25T02:45:00+02:00", "2026-10-25T02:45:00+02:00"},
		{"between the two", early, "Europe/Berlin", "2026-10-25T02:15:00+01:00", "2026-10-25T02:30:00+01:00"},
		{"the hour for the second time", skipped, "Europe/Berlin", "2026-10-25T02:15:00+01:00", "2026-10-25T02:15:00+01:00"},
		// By half an hour, on 2026-10-04 at 02:00.
		{"a change by half an hour", early, "Australia/Lord_Howe", "2026-10-04T01:59:00+10:30", "2026-10-04T02:30:00+11:00"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			at, err := time.Parse(time.RFC3339, tt.at)
			if err != nil {
				t.Fatal(err)
			}
			w := renew.Windows{Open: tt.windows, Zone: zone(t, tt.zone)}
			if got := w.Contains(at); got != (tt.next == tt.at) {
				t.Errorf("Contains = %t at %s", got, tt.at)
			}
			if want, _ := time.Parse(time.RFC3339, tt.next); !w.Next(at).Equal(want) {
				t.Errorf("Next = %s, want %s", w.Next(at).In(w.Zone), want.In(w.Zone))
			}
		})
	}
}

// Next never says a moment at which no window is open, and none before it is.
func TestNextIsTheFirst(t *testing.T) {
	for _, name := range []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago"} {
		w := renew.Windows{Zone: zone(t, name), Open: []renew.Window{
			{days(0), 90 * time.Minute, 150 * time.Minute}, {days(3, 6), 23*time.Hour + 30*time.Minute, 30 * time.Minute}}}
		for at := time.Date(2026, 1, 1, 0, 7, 0, 0, time.UTC); at.Year() == 2026; at = at.Add(29 * time.Hour) {
			next := at
			for !w.Contains(next) {
				next = next.Add(time.Minute)
			}
			got := w.Next(at)
			if got.Sub(next).Abs() >= time.Minute || !w.Contains(got) {
				t.Fatalf("%s: the next after %s is %s, want %s", name, at, got, next)
			}
		}
	}
}
