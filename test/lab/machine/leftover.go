//go:build linux

package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// nspawnRun is where systemd-nspawn keeps what it shares among machines.
const nspawnRun = "/run/systemd/nspawn"

// rootLock is the lock that systemd-nspawn has on a root folder, by the
// numbers of its device and inode. It must be asked for before the folder is
// unmounted.
func (m *Machine) rootLock() string {
	var at syscall.Stat_t
	if syscall.Stat(m.Root(), &at) != nil {
		return ""
	}
	return filepath.Join(nspawnRun, "locks", fmt.Sprintf("inode-%d:%d", at.Dev, at.Ino))
}

// forgetNspawn removes what a killed systemd-nspawn leaves outside of the
// machine's folder: both carry the machine's own name or number.
func (m *Machine) forgetNspawn(rootLock string) error {
	paths := []string{filepath.Join(nspawnRun, "propagate", m.fullName())}
	if rootLock != "" {
		paths = append(paths, rootLock)
	}
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove what systemd-nspawn left: %w", err)
		}
	}
	return nil
}
