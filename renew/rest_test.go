package renew_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/kubecertd/kubecertd/renew"
)

// Most of what an idle daemon would hold are pages of its program. This test runs alone:
// what runs touches them.
func TestRestUnmapsTheProgram(t *testing.T) {
	program, err := os.ReadFile("/proc/self/exe") // so that its pages are in memory
	if err != nil {
		t.Fatal(err)
	}
	before := mapped(t)
	renew.Rest()()
	after := mapped(t)
	t.Logf("of a program of %d KiB %d KiB were mapped, and %d KiB are", len(program)>>10, before, after)
	if after > before*3/4 {
		t.Error("the program's pages are still there")
	}
}

// mapped is how much of the files that are mapped is resident, in KiB.
func mapped(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "RssFile:"); ok {
			kib, err := strconv.Atoi(strings.Fields(value)[0])
			if err != nil {
				t.Fatal(err)
			}
			return kib
		}
	}
	t.Fatal("the kernel does not say RssFile")
	return 0
}
