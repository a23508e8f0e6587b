package renew

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Kubeadm runs the kubeadm of this host.
type Kubeadm struct {
	// Path is a program's path, or a name that is looked up in PATH.
	Path string
	// Timeout bounds one call.
	Timeout time.Duration
}

// oldestKubeadm is the first minor version (of 1.x) whose `kubeadm certs renew`
// is not alpha (kubernetes CHANGELOG-1.20).
const oldestKubeadm = 20

// KubeadmError is a call of kubeadm that did not do what it was asked. The loop
// logs it; a person reads Output.
type KubeadmError struct {
	Args []string
	// Err is why: the exit status, the signal, the timeout, or that the program
	// could not be started.
	Err error
	// Output is what kubeadm said, its last lines.
	Output string
}

func (e *KubeadmError) Error() string {
	text := strings.Join(e.Args, " ") + ": " + e.Err.Error()
	if e.Output != "" {
		text += ": " + e.Output
	}
	return text
}

func (e *KubeadmError) Unwrap() error { return e.Err }

// Refused says that kubeadm ran and ended by itself with an error. Otherwise it was
// not there, hung, or was killed.
func (e *KubeadmError) Refused() bool {
	var exit *exec.ExitError
	return errors.As(e.Err, &exit) && exit.Exited()
}

// Version asks kubeadm for its version, such as "v1.36.3", and refuses one that
// is too old to renew certificates one by one.
func (k Kubeadm) Version(ctx context.Context) (string, error) {
	out, err := k.run(ctx, min(k.Timeout, 10*time.Second), "version", "-o", "short")
	if err != nil {
		return "", err
	}
	version := strings.TrimSpace(out)
	parts := versionPattern.FindStringSubmatch(version)
	if parts == nil {
		return "", &KubeadmError{[]string{k.Path, "version", "-o", "short"}, errors.New("did not print a version"), firstLines(version, 3)}
	}
	major, _ := strconv.Atoi(parts[1])
	minor, _ := strconv.Atoi(parts[2])
	if major == 1 && minor < oldestKubeadm {
		return version, fmt.Errorf("%s is %s, which cannot renew single certificates: install kubeadm v1.%d or later, of the cluster's own version", k.Path, version, oldestKubeadm)
	}
	return version, nil
}

var versionPattern = regexp.MustCompile(`^v(\d+)\.(\d+)\.`)

// Renew renews one certificate by its kubeadm name. That it returns no error says
// only that kubeadm ended well: kubeadm exits 0 having renewed nothing when the
// file or the CA's key is missing (kubeadm: cmd/certs.go), so the caller looks at
// what is on disk.
//
// config is a file with a ClusterConfiguration. It is always given, because
// kubeadm otherwise asks the API server and, when that does not answer, silently
// goes on with its defaults; the certificate directory is taken from it too.
//
// A cancelled context does not end a kubeadm that is already running: it writes
// in place, the key before the certificate, and is given its time to finish.
func (k Kubeadm) Renew(ctx context.Context, name, config string) (output string, err error) {
	return k.run(context.WithoutCancel(ctx), k.Timeout, "certs", "renew", name, "--config", config)
}

// Make makes one certificate or kubeconfig as `kubeadm init` does, by the name that its
// renewal has. config is a file with a ClusterConfiguration and an InitConfiguration: what
// kubeadm is not told there, its own address and name among it, it would guess. PEM files
// lie in the configuration's certificatesDir, kubeconfigs in dir.
func (k Kubeadm) Make(ctx context.Context, name, config, dir string) (output string, err error) {
	args := []string{"init", "phase", "certs", name, "--config", config}
	if user, ok := strings.CutSuffix(name, ".conf"); ok {
		args = []string{"init", "phase", "kubeconfig", user, "--config", config, "--kubeconfig-dir", dir}
	}
	return k.run(context.WithoutCancel(ctx), k.Timeout, args...)
}

func (k Kubeadm) run(ctx context.Context, timeout time.Duration, args ...string) (string, error) {
	argv := append([]string{k.Path}, args...)
	path, err := exec.LookPath(k.Path)
	if err != nil {
		return "", &KubeadmError{argv, hint(err), ""}
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	// KUBECONFIG would point kubeadm at a cluster that is not this node's.
	cmd.Env = append(without(os.Environ(), "KUBECONFIG"), "LC_ALL=C")
	cmd.Dir = "/"
	// Its own process group, so that a hanging kubeadm goes with what it started.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &limited{&stdout}, &limited{&stderr}
	err = cmd.Run()
	said := strings.TrimSpace(stdout.String() + "\n" + stderr.String())
	switch {
	case err == nil:
		return stdout.String(), nil
	case ctx.Err() != nil:
		return said, &KubeadmError{argv, fmt.Errorf("did not end within %s and was killed", timeout), lastLines(said, 5)}
	default:
		return said, &KubeadmError{argv, hint(err), lastLines(stderrOr(stderr.String(), said), 5)}
	}
}

// hint adds to the reasons why a program does not start what to do about it.
func hint(err error) error {
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: install kubeadm, of the cluster's version, or set renew.kubeadm to its path", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: kubeadm is not executable", err)
	default:
		return err
	}
}

func stderrOr(stderr, otherwise string) string {
	if text := strings.TrimSpace(stderr); text != "" {
		return text
	}
	return otherwise
}

func without(environment []string, name string) []string {
	var kept []string
	for _, e := range environment {
		if !strings.HasPrefix(e, name+"=") {
			kept = append(kept, e)
		}
	}
	return kept
}

// limited keeps the first 64 KiB of what a program says, so that one that never
// stops talking cannot fill the memory.
type limited struct{ b *bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if room := 64<<10 - l.b.Len(); room > 0 {
		l.b.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], " | ")
}

func firstLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[:min(n, len(lines))], " | ")
}
