//go:build failpoints

package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// clockFile holds by how much the clock of a test build is off, such as 24h or -24h.
// The real one belongs to all that runs on the host, other labs too.
const clockFile = "/run/kubecertd-clock"

// clock is the clock of the node, moved.
func clock() time.Time {
	content, err := os.ReadFile(clockFile)
	if err != nil {
		return time.Now() // not moved
	}
	off, err := time.ParseDuration(strings.TrimSpace(string(content)))
	if err != nil {
		panic(fmt.Sprintf("%s: %v", clockFile, err))
	}
	return time.Now().Add(off)
}
