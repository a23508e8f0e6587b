//go:build linux

package controlplane

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// tools are the programs of the host that the lab runs, and how each is had.
var tools = []struct{ program, install string }{
	{"systemd-nspawn", "apt-get install systemd-container"},
	{"mmdebstrap", "apt-get install mmdebstrap"},
	{"nsenter", "apt-get install util-linux"},
	{"go", "see https://go.dev/doc/install, Debian's is too old"},
}

// Missing lists what this host lacks for a lab, one line each with what to
// do. It is empty when there can be a lab.
func Missing() []string {
	var lines []string
	if err := needRoot(); err != nil {
		lines = append(lines, err.Error())
	}
	for _, t := range tools {
		if _, err := exec.LookPath(t.program); err != nil {
			lines = append(lines, fmt.Sprintf("%s is missing: %s", t.program, t.install))
		}
	}
	return lines
}

func needRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("the lab makes network namespaces, mounts and machines: run it as root")
	}
	return nil
}
