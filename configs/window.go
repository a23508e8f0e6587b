package configs

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	// Hosts of control planes are often without the tzdata package. What the host has is
	// used first; ours is 450 kB of the program that are read only for a zone that is
	// named.
	_ "time/tzdata"
)

// Window is a maintenance window, such as Mon-Fri 01:00-05:00.
type Window struct {
	// Days are those on which it opens.
	Days []time.Weekday
	// From and To are times of the day. One that ends no later than it opens ends on the
	// next day.
	From, To time.Duration
}

// windowForms ends every error about a window's text.
const windowForms = `write it as "Mon-Fri 01:00-05:00", "Sat,Sun 00:00-24:00", or "22:00-04:00" for every day`

// Windows reads the windows of a list. Days may have commas between them, as the entries
// have where a list is written in one line.
func Windows(list List) ([]Window, error) {
	var windows []Window
	var days []string
	for part := range strings.SplitSeq(list.String(), ",") {
		days = append(days, strings.TrimSpace(part))
		if !strings.Contains(part, ":") {
			continue
		}
		text := strings.Join(days, ",")
		w, err := parseWindow(text)
		if err != nil {
			return nil, fmt.Errorf("%w %s", err, got(text))
		}
		windows, days = append(windows, w), nil
	}
	if text := strings.Join(days, ","); text != "" {
		return nil, fmt.Errorf("has no times %s", got(text))
	}
	return windows, nil
}

func parseWindow(text string) (w Window, err error) {
	fields := strings.Fields(text)
	switch len(fields) {
	case 1:
		w.Days = []time.Weekday{0, 1, 2, 3, 4, 5, 6}
	case 2:
		if w.Days, err = parseDays(fields[0]); err != nil {
			return w, err
		}
	default:
		return w, errors.New("is no window")
	}
	from, to, ok := strings.Cut(fields[len(fields)-1], "-")
	if !ok {
		return w, errors.New("has no end")
	}
	if w.From, err = parseClock(from); err != nil {
		return w, err
	}
	if w.To, err = parseClock(to); err != nil {
		return w, err
	}
	switch w.From {
	case day:
		return w, errors.New("opens at 24:00, which is 00:00 of the next day,")
	case w.To:
		return w, errors.New("ends when it opens")
	}
	return w, nil
}

// parseDays reads Mon, Mon-Fri, Sat,Sun, and Fri-Mon over the weekend.
func parseDays(text string) ([]time.Weekday, error) {
	var days []time.Weekday
	for part := range strings.SplitSeq(text, ",") {
		first, last, span := strings.Cut(part, "-")
		from, err := parseDay(first)
		if err != nil {
			return nil, err
		}
		to := from
		if span {
			if to, err = parseDay(last); err != nil {
				return nil, err
			}
		}
		for d := from; ; d = (d + 1) % 7 {
			if !slices.Contains(days, d) {
				days = append(days, d)
			}
			if d == to {
				break
			}
		}
	}
	slices.Sort(days)
	return days, nil
}

// parseDay reads the English name of a day, or its first three letters.
func parseDay(text string) (time.Weekday, error) {
	for d := time.Sunday; d <= time.Saturday; d++ {
		if strings.EqualFold(text, d.String()) || strings.EqualFold(text, d.String()[:3]) {
			return d, nil
		}
	}
	return 0, fmt.Errorf("names %q, which is no day such as Mon,", text)
}

// parseClock reads a time of the day, from 00:00 to 24:00.
func parseClock(text string) (time.Duration, error) {
	hours, minutes, _ := strings.Cut(text, ":")
	h, err := strconv.ParseUint(hours, 10, 8)
	m, err2 := strconv.ParseUint(minutes, 10, 8)
	t := time.Duration(h)*time.Hour + time.Duration(m)*time.Minute
	if err != nil || err2 != nil || len(hours) > 2 || len(minutes) != 2 || m > 59 || t > day {
		return 0, fmt.Errorf("names %q, which is no time such as 01:30,", text)
	}
	return t, nil
}

// windows refuses what is no window.
func (p *Problems) windows(key string, list List) {
	if _, err := Windows(list); err != nil {
		p.add(key, err.Error(), windowForms)
	}
}

// zone refuses what is no time zone.
func (p *Problems) zone(key, name string) {
	if _, err := time.LoadLocation(name); err != nil || name == "" {
		p.add(key, "is no time zone "+got(name), "write a name of the IANA database, such as Europe/Berlin, or UTC, or Local for the host's own")
	}
}
