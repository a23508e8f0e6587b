//go:build failpoints

package renew

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"
)

// failpointFile arms the one fault of a test build, in a line: ACTION POINT. The action
// "kill" ends this process as a crash would, once; "wait" makes failpointFile.reached
// and goes on when failpointFile is gone. A point is "before" or "after" and a line of
// a run's record, such as "before begin renew apiserver".
var failpointFile = "/run/kubecertd-failpoint"

func failpoint(point string) {
	line, err := os.ReadFile(failpointFile)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	action, armed, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
	switch {
	case err != nil || action != "kill" && action != "wait":
		panic(fmt.Sprintf("%s: %q: want kill or wait, and a point (%v)", failpointFile, line, err))
	case armed != point:
		return
	case action == "kill":
		// First, or it would be cut off at every start.
		if err := os.Remove(failpointFile); err != nil {
			panic(err)
		}
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	if err := os.WriteFile(failpointFile+".reached", nil, 0o600); err != nil {
		panic(err)
	}
	for err == nil {
		time.Sleep(20 * time.Millisecond)
		_, err = os.Stat(failpointFile)
	}
}
