//go:build linux

package machine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Entry is one entry of a journal: its fields by name, such as MESSAGE, UNIT
// or PRIORITY. A field that was given more than once has its values in lines.
type Entry map[string]string

// Message is what the entry says.
func (e Entry) Message() string { return e["MESSAGE"] }

// Time is when the journal took the entry; zero when it does not say.
func (e Entry) Time() time.Time {
	us, err := strconv.ParseInt(e["__REALTIME_TIMESTAMP"], 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMicro(us)
}

// Query chooses entries of a journal. The zero value chooses all of this boot
// and earlier ones.
type Query struct {
	// Unit is the one that wrote, or that systemd wrote about.
	Unit string
	// Since leaves out what is older, to the microsecond.
	Since time.Time
	// Match are conditions such as PRIORITY=3, all of which must hold; more
	// than one value for a field means any of them.
	Match []string
}

func (q Query) argv() []string {
	argv := []string{"journalctl", "--output=json", "--all", "--no-pager", "--quiet"}
	if q.Unit != "" {
		argv = append(argv, "--unit="+q.Unit)
	}
	if !q.Since.IsZero() {
		us := q.Since.UnixMicro()
		argv = append(argv, fmt.Sprintf("--since=@%d.%06d", us/1e6, us%1e6))
	}
	return append(argv, q.Match...)
}

// Journal returns the entries of the machine's journal that q chooses, the
// oldest first.
func (m *Machine) Journal(ctx context.Context, q Query) ([]Entry, error) {
	// Without it, what was logged a moment ago may still be in flight.
	if _, err := m.Run(ctx, "journalctl", "--sync"); err != nil {
		return nil, err
	}
	result, err := m.Run(ctx, q.argv()...)
	if err != nil {
		return nil, err
	}
	entries, err := parseJournal([]byte(result.Stdout))
	if err != nil {
		return nil, fmt.Errorf("read the journal of %s: %w", m.name, err)
	}
	return entries, nil
}

// parseJournal reads the JSON export of journalctl, an object in each line.
func parseJournal(export []byte) ([]Entry, error) {
	var entries []Entry
	for line := range bytes.Lines(export) {
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(line, &fields); err != nil {
			return nil, err
		}
		entry := Entry{}
		for name, raw := range fields {
			value, err := fieldValue(raw)
			if err != nil {
				return nil, fmt.Errorf("field %s: %w", name, err)
			}
			entry[name] = value
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

// fieldValue reads one field: a string, null, an array of numbers when the
// value is not UTF-8 text, or an array of these when the field occurs more
// than once.
func fieldValue(raw json.RawMessage) (string, error) {
	if len(raw) == 0 || raw[0] != '[' {
		var text *string
		if err := json.Unmarshal(raw, &text); err != nil || text == nil {
			return "", err
		}
		return *text, nil
	}
	var elements []json.RawMessage
	if err := json.Unmarshal(raw, &elements); err != nil {
		return "", err
	}
	var octets []byte
	var values []string
	for _, element := range elements {
		var octet uint8
		if json.Unmarshal(element, &octet) == nil {
			octets = append(octets, octet)
			continue
		}
		value, err := fieldValue(element)
		if err != nil {
			return "", err
		}
		values = append(values, value)
	}
	if len(octets) > 0 {
		values = append(values, string(octets))
	}
	return strings.Join(values, "\n"), nil
}
