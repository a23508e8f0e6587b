package report

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// Level is a node's health as monitoring systems count it. Its number is the exit code
// of a Nagios plugin.
type Level int

const (
	// LevelOK is a node that needs nothing.
	LevelOK Level = iota
	// LevelWarning is one where something is wrong that still works.
	LevelWarning
	// LevelCritical is one where something does not work, or nobody keeps it from that.
	LevelCritical
	// LevelUnknown is one that could not be looked at.
	LevelUnknown
)

func (l Level) String() string {
	return [...]string{"OK", "WARNING", "CRITICAL", "UNKNOWN"}[l]
}

// NPD is the exit code of a custom plugin of node-problem-detector: it knows 0 for OK and
// 1 for a problem, and takes every other for unknown.
func (l Level) NPD() int {
	if l == LevelCritical {
		return int(LevelWarning)
	}
	return int(l)
}

// checkWidth is how many bytes a line of a check has at most: node-problem-detector
// cuts off what is longer (max_output_length).
const checkWidth = 80

// Check makes one line of a look and what was found by it: the worst of it first, and
// what ends next.
func Check(look renew.Look, findings []renew.Finding) (Level, string) {
	if len(look.Observation.Certificates) == 0 {
		return CheckUnknown("no certificates of a kubeadm cluster were found")
	}
	var wrong []renew.Finding
	level := LevelOK
	for _, f := range findings { // worst first
		switch f.Severity {
		case renew.Critical:
			level = LevelCritical
		case renew.Warning:
			level = max(level, LevelWarning)
		default:
			continue
		}
		wrong = append(wrong, f)
	}
	end, count := ending(look.Observation)
	text := certificates(count)
	if len(wrong) > 0 {
		text = wrong[0].Found
	}
	if more := len(wrong) - 1; more > 0 {
		end = fmt.Sprintf("; %d more", more) + end
	}
	return level, checkLine(level, text, end)
}

// CheckUnknown is the check of a node that could not be looked at.
func CheckUnknown(why string) (Level, string) {
	return LevelUnknown, checkLine(LevelUnknown, why, "")
}

// ending says which certificate ends next, or has ended first, of how many.
func ending(o renew.Observation) (text string, count int) {
	var next pki.Certificate
	for _, c := range o.Certificates {
		if c.NotAfter.IsZero() {
			continue
		}
		if count++; next.NotAfter.IsZero() || c.NotAfter.Before(next.NotAfter) {
			next = c
		}
	}
	name := next.Name
	if next.Watched { // its name is a path
		name = name[strings.LastIndex(name, "/")+1:]
	}
	name = shorten(name, 30)
	switch left := next.NotAfter.Sub(o.At); {
	case next.NotAfter.IsZero():
		return "", 0
	case left < time.Second:
		return fmt.Sprintf("; %s ended %s ago", name, pki.Span(-left)), count
	default:
		return fmt.Sprintf("; %s ends in %s", name, pki.Span(left)), count
	}
}

// checkLine shortens the text, so that the end is still on the line. To Nagios a | begins
// numbers.
func checkLine(level Level, text, end string) string {
	text = strings.ReplaceAll(oneLine(printable(text)), "|", "/")
	end = strings.ReplaceAll(printable(end), "|", "/")
	return level.String() + ": " + shorten(text, checkWidth-len(level.String()+": "+end)) + end
}

// shorten cuts a text to so many bytes, between two letters.
func shorten(text string, bytes int) string {
	const more = "..."
	if len(text) <= bytes {
		return text
	}
	cut := max(bytes-len(more), 0)
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return strings.TrimRight(text[:cut], " ,:;") + more
}

// printable is a text without what a terminal would obey: names of watched files are
// others'.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if r == utf8.RuneError || r < ' ' || (r >= 0x7f && r < 0xa0) {
			return '?'
		}
		return r
	}, text)
}
