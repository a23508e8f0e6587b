package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kubecertd/kubecertd/pki/pkitest"
	"github.com/kubecertd/kubecertd/renew"
)

// TestMain makes kubecertd a command of the scripts in testdata.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"kubecertd": main})
}

// The scripts run the whole program on the files of nodes: $HEALTHY, $DUE (all
// that kubeadm renews ends in ten days), $JOINED (healthy, without
// super-admin.conf) and $BROKEN. Their containers, units and ports are not there;
// test/e2e has them.
func TestScripts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("kubecertd refuses to look at a node unless it is root: run as root, as CI does")
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			now := time.Now()
			healthy := pkitest.New(t, now.Add(-time.Hour))
			due := pkitest.New(t, now.Add(-355*pkitest.Day))
			joined := pkitest.New(t, now.Add(-time.Hour))
			joined.Remove(joined.Certificate("super-admin.conf"))
			broken := pkitest.New(t, now.Add(-time.Hour))
			broken.Issue("apiserver", now.Add(-366*pkitest.Day), now.Add(-pkitest.Day))
			broken.Write("/etc/kubernetes/scheduler.conf", "")
			broken.Remove(broken.Key("front-proxy-ca"))
			for name, node := range map[string]*pkitest.Node{"HEALTHY": healthy, "DUE": due, "JOINED": joined, "BROKEN": broken} {
				env.Setenv(name, node.Root)
			}
			state := filepath.Join(env.WorkDir, "state")
			env.Setenv("KUBECERTD_PATHS_STATE", state)
			return errors.Join(
				snapshot(state, "20260301T120000.000Z-aaaaaa", healthy.Root, now.Add(-time.Minute)),
				snapshot(state, "20260302T120000.000Z-bbbbbb", due.Root, now))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"code": cmdCode},
	})
}

// snapshot keeps one of a node's admin.conf, as a run would have taken it.
func snapshot(state, id, root string, taken time.Time) error {
	const file = "/etc/kubernetes/admin.conf"
	content, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(filepath.Join(root, "/etc/kubernetes/pki/ca.crt"))
	if err != nil {
		return err
	}
	s := renew.Snapshot{ID: id, Taken: taken}
	for path, content := range map[string][]byte{file: content, "/etc/kubernetes/pki/ca.crt": ca} {
		sum, name := sha256.Sum256(content), "admin.conf"
		if path != file {
			name = "ca"
		}
		s.Files = append(s.Files, renew.Copied{Certificate: name, Path: path, Mode: 0o600, Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:])})
		to := filepath.Join(state, "snapshots", id, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o700), os.WriteFile(to, content, 0o600)); err != nil {
			return err
		}
	}
	manifest, err := json.Marshal(s)
	return errors.Join(err, os.WriteFile(filepath.Join(state, "snapshots", id, "manifest.json"), manifest, 0o600))
}

// cmdCode runs a command and demands its exit code: code 4 kubecertd renew.
func cmdCode(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: code N command [argument…]")
	}
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("%v exited with %d, want %s", args[1:], got, args[0])
	}
}

func TestExitCodes(t *testing.T) {
	for want, err := range map[int]error{
		0: nil,
		1: errors.New("kubeadm failed"),
		2: exitStatus(exitWork),
		3: usageError{errors.New("unknown key")},
		4: fmt.Errorf("renew: %w", &renew.BlockedError{}),
	} {
		if got := exitCode(err); got != want {
			t.Errorf("%v exits with %d, want %d", err, got, want)
		}
	}
	if got := exitCode(&renew.LockedError{What: "run"}); got != exitBlocked {
		t.Errorf("another run exits with %d, want %d", got, exitBlocked)
	}
}
