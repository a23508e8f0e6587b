//go:build !failpoints

package main

import "time"

// clock is the clock of the node.
func clock() time.Time { return time.Now() }
