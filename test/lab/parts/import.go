//go:build linux

package parts

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"syscall"
	"time"
)

// importerConfig has containerd do nothing but keep images: no CRI, which
// would look for networks, and none of the plugins that make folders of their
// own on the host.
const importerConfig = `version = 3
root = %q
state = %q
disabled_plugins = [
  "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri",
  "io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri", "io.containerd.internal.v1.tracing",
  "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs",
]
[grpc]
address = %q
[ttrpc]
address = %q
`

// importImages runs a containerd of its own over the data directory dir,
// imports the archives into it and stops it again.
func importImages(ctx context.Context, binaries, dir, temp string, archives []string, log io.Writer) error {
	socket := filepath.Join(temp, "containerd.sock")
	config := filepath.Join(temp, "config.toml")
	text := fmt.Sprintf(importerConfig, dir, filepath.Join(temp, "state"), socket, socket+".ttrpc")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write containerd's configuration: %w", err)
	}
	ctr := func(args ...string) error {
		argv := append([]string{filepath.Join(binaries, "ctr"), "--address", socket, "--namespace", criNamespace}, args...)
		return run(ctx, log, command{argv: argv})
	}
	return whileRunning(ctx, filepath.Join(binaries, "containerd"), config, log, func() error {
		if err := waitFor(ctx, 20*time.Second, func() error { return ctr("version") }); err != nil {
			return fmt.Errorf("wait for containerd: %w", err)
		}
		for _, archive := range archives {
			if err := ctr("images", "import", archive); err != nil {
				return fmt.Errorf("import %s: %w", filepath.Base(archive), err)
			}
		}
		return nil
	})
}

// whileRunning runs work beside a containerd, which has mounts of its own and
// dies with this process, so that a killed build leaves nothing running.
func whileRunning(ctx context.Context, containerd, config string, log io.Writer, work func() error) error {
	// The parent-death signal comes when the starting thread ends.
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()

	cmd := exec.CommandContext(ctx, containerd, "--config", config)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Unshareflags: syscall.CLONE_NEWNS}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start containerd: %w", err)
	}
	err := work()
	if stopErr := cmd.Process.Signal(syscall.SIGTERM); err == nil && stopErr != nil {
		err = fmt.Errorf("stop containerd: %w", stopErr)
	}
	if waitErr := cmd.Wait(); err == nil && waitErr != nil {
		err = fmt.Errorf("containerd: %w", waitErr)
	}
	return err
}

// waitFor tries until try succeeds, and returns its last error when the time
// is over.
func waitFor(ctx context.Context, limit time.Duration, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}
