package configs

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Problem is one thing that is wrong with the configuration.
type Problem struct {
	// Where is the place of the value: FILE:LINE, KUBECERTD_… or --…; empty when it
	// is not known.
	Where string
	// Key is the key path, such as renew.before; empty when the problem is with the
	// file as a whole.
	Key string
	// What is wrong, with the value that was found.
	What string
	// Do is what to do about it.
	Do string

	line int // orders the problems of a file
}

// Error is "where: key: what is wrong (got value): what to do".
func (p Problem) Error() string {
	var parts []string
	for _, part := range []string{p.Where, p.Key, p.What, p.Do} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ": ")
}

// Problems are all problems that were found, never none.
type Problems []Problem

// Error is one line for one problem, and a list for several.
func (p Problems) Error() string {
	if len(p) == 1 {
		return p[0].Error()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d problems with the configuration:", len(p))
	for _, problem := range p {
		b.WriteString("\n  " + problem.Error())
	}
	return b.String()
}

// err is nil when there is no problem.
func (p Problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

// got quotes a value as it was written, cut where it is too long to be one line of
// an error.
func got(value string) string {
	const most = 60
	if utf8.RuneCountInString(value) > most {
		value = string([]rune(value)[:most]) + "…"
	}
	return fmt.Sprintf("(got %q)", value)
}
