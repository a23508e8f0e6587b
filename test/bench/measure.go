//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// measurement is what a command cost, over several runs.
type measurement struct {
	Median  time.Duration `json:"median"`
	PeakKiB int64         `json:"peakKiB"`
}

// MiB is the peak in MiB.
func (m measurement) MiB() float64 { return float64(m.PeakKiB) / 1024 }

// measureHere runs a command several times inside the node and prints what it
// cost: the median of its wall time and the highest resident set of any run
// (getrusage(2), ru_maxrss).
func measureHere(times string, argv []string) error {
	n, err := strconv.Atoi(times)
	if err != nil || n < 1 {
		return fmt.Errorf("%q is no number of runs", times)
	}
	var took []time.Duration
	var m measurement
	for range n {
		cmd := exec.Command(argv[0], argv[1:]...)
		began := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%q: %w: %s", argv, err, out)
		}
		took = append(took, time.Since(began))
		if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
			m.PeakKiB = max(m.PeakKiB, usage.Maxrss)
		}
	}
	slices.Sort(took)
	m.Median = took[len(took)/2]
	return json.NewEncoder(os.Stdout).Encode(m)
}
