package runtime

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ticks is USER_HZ, the unit of times in /proc/PID/stat: 100 on every architecture
// that Kubernetes runs on, whatever the kernel's own frequency (proc(5), time(7)).
const ticks = 100

// ProcessStart returns when a process of this host started, rounded down to 10 ms.
//
// The kernel counts it on the boot clock, which no clock step touches. The result
// is that moment on the wall clock as it stands now, so it compares rightly with
// the time of a file that was written after the last step of the clock.
func ProcessStart(pid int) (time.Time, error) {
	if pid <= 0 {
		return time.Time{}, fmt.Errorf("no process has the id %d", pid)
	}
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return time.Time{}, fmt.Errorf("start of process %d: %w", pid, err)
	}
	since, err := startedAfterBoot(string(content))
	if err != nil {
		return time.Time{}, fmt.Errorf("start of process %d: %w", pid, err)
	}
	wall, up, err := Clocks()
	if err != nil {
		return time.Time{}, err
	}
	return wall.Add(since - up), nil
}

// Clocks reads the wall clock, and the time since boot, which no step of the wall clock
// touches and which goes on while the machine sleeps (CLOCK_BOOTTIME,
// clock_gettime(2)).
func Clocks() (wall time.Time, up time.Duration, err error) {
	// The wall clock is read first: whatever passes between the two readings makes
	// the start of a process earlier, and an earlier start never passes for proof that
	// a file was read.
	var now, boot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &now); err != nil {
		return wall, 0, fmt.Errorf("wall clock: %w", err)
	}
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		return wall, 0, fmt.Errorf("boot clock: %w", err)
	}
	return time.Unix(0, now.Nano()), time.Duration(boot.Nano()), nil
}

// Boot names this boot of the host (random(4)).
func Boot() (string, error) {
	content, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(content)), err
}

// startedAfterBoot reads field 22 of /proc/PID/stat. The second field is the
// program's name in parentheses, and the name may hold spaces and parentheses: only
// the last parenthesis of the line ends it.
func startedAfterBoot(stat string) (time.Duration, error) {
	end := strings.LastIndexByte(stat, ')')
	fields := strings.Fields(stat[end+1:])
	const starttime = 22 - 3 // fields are counted from 1, and two lie before
	if end < 0 || len(fields) <= starttime {
		return 0, fmt.Errorf("/proc stat line %.80q is not understood", stat)
	}
	n, err := strconv.ParseInt(fields[starttime], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("/proc stat line %.80q: %w", stat, err)
	}
	return time.Duration(n) * (time.Second / ticks), nil
}
