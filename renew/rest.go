package renew

import (
	"bufio"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// rest gives back what a look has used: an hour passes until the next. Go's collector
// stops until then: it would run every two minutes for nothing (Go: runtime/proc.go,
// forcegcperiod), and be most of what the idle daemon does. Should memory be used all the
// same, it runs at the limit that main has set.
func rest() (wake func()) {
	debug.FreeOSMemory()
	percent := debug.SetGCPercent(-1)
	unmapProgram()
	return func() { debug.SetGCPercent(percent) }
}

// unmapProgram takes the pages of the program itself out of the process: its code and its
// constants, which are most of what an idle daemon holds. They stay in the page cache, as
// the first that the kernel takes when memory is short, and come back from there when they
// are touched (madvise(2): MADV_DONTNEED of a file's private mapping). What cannot be read
// or is refused costs nothing but memory.
func unmapProgram() {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer func() { _ = maps.Close() }()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		var from, to uintptr
		var rights string
		line := lines.Text()
		// A page that could have been written to would lose what was written.
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &rights); err == nil &&
			strings.HasPrefix(rights, "r-") && strings.HasSuffix(line, " "+program) {
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED)
		}
	}
}
