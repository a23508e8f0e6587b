package configs

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

const (
	day  = 24 * time.Hour
	week = 7 * day
)

var errDuration = errors.New("is not a duration")

// ParseDuration reads a duration as time.ParseDuration does, and also whole days
// (24 h) and weeks: 90s, 1h30m, 30d, 30d12h, 2w.
func ParseDuration(s string) (time.Duration, error) {
	text := strings.TrimSpace(s)
	rest, negative := strings.CutPrefix(text, "-")
	var days time.Duration
	var plain strings.Builder // what time.ParseDuration reads
	for rest != "" {
		number := strings.IndexFunc(rest, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
		switch number {
		case 0:
			return 0, errDuration
		case -1:
			number = len(rest)
		}
		unit := strings.IndexAny(rest[number:], ".0123456789")
		if unit < 0 {
			unit = len(rest) - number
		}
		digits, name := rest[:number], rest[number:number+unit]
		rest = rest[number+unit:]
		one, ok := map[string]time.Duration{"d": day, "w": week}[name]
		if !ok {
			plain.WriteString(digits + name)
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n > int64((math.MaxInt64-days)/one) {
			return 0, errDuration
		}
		days += time.Duration(n) * one
	}
	var hours time.Duration
	if plain.Len() > 0 || text == "" || text == "-" {
		var err error
		if hours, err = time.ParseDuration(plain.String()); err != nil || hours > math.MaxInt64-days {
			return 0, errDuration
		}
	}
	if negative {
		return -(days + hours), nil
	}
	return days + hours, nil
}

// FormatDuration writes a duration so that ParseDuration reads the same one, with
// days and without the parts that are zero: 30d, 1h30m, 1m.
func FormatDuration(d time.Duration) string {
	if d < 0 && d != math.MinInt64 {
		return "-" + FormatDuration(-d)
	}
	days, rest := d/day, d%day
	text := rest.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	switch {
	case days <= 0: // also the one duration that has no positive
		return text
	case rest == 0:
		return strconv.FormatInt(int64(days), 10) + "d"
	default:
		return strconv.FormatInt(int64(days), 10) + "d" + text
	}
}
