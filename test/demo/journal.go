//go:build linux

package main

import (
	"encoding/json"
	"fmt"
)

// entry is what the demonstration shows of a journal entry.
type entry struct{ message, id string }

// parse reads a line of `journalctl -o json`.
func parse(line []byte) (entry, error) {
	var fields struct {
		Message string `json:"MESSAGE"`
		ID      string `json:"MESSAGE_ID"`
	}
	if err := json.Unmarshal(line, &fields); err != nil {
		return entry{}, fmt.Errorf("journal entry %q: %w", line, err)
	}
	return entry{fields.Message, fields.ID}, nil
}
