package runtime

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// kept is the error from which on the kernel counts its clock as kept by nobody: it grows
// by half a millisecond a second since a time server was heard last, and a step of the
// clock sets it to this (linux: kernel/time/ntp.c, NTP_PHASE_LIMIT).
const kept = 16 * time.Second

// ClockKept says whether a time server keeps the clock of this host, as timedatectl does
// (systemd: src/basic/time-util.c, ntp_synced): not by STA_UNSYNC, which chrony also sets
// to keep the kernel from touching the hardware's clock. It only reads (adjtimex(2)).
func ClockKept() (bool, error) {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return false, fmt.Errorf("the kernel was asked whether a time server keeps its clock (adjtimex): %w", err)
	}
	return time.Duration(t.Maxerror)*time.Microsecond < kept, nil
}
