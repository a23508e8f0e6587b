//go:build linux

package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/report"
	"github.com/kubecertd/kubecertd/test/lab/controlplane"
	"github.com/kubecertd/kubecertd/test/lab/machine"
)

const (
	configFile = "/etc/kubecertd/kubecertd.yaml"
	stateDir   = "/var/lib/kubecertd"
	// dropIn is where a story changes the unit for itself, until the next one.
	dropIn = "/run/systemd/system/kubecertd.service.d"
)

// commandLimit is more than any command of a story takes.
const commandLimit = 3 * time.Minute

// node is a node of a lab in the hands of one story.
type node struct {
	*controlplane.Node
	// began is when the story did: what the journal has from before is not its own.
	began time.Time
}

// prepare puts a node into the state in which every story begins, whatever the one
// before left, and shows what happened on it should this one fail.
func prepare(t *testing.T, on *controlplane.Node) *node {
	t.Helper()
	n := &node{on, time.Now()}
	t.Cleanup(func() { n.show(t) })
	if _, err := n.run("test", "-x", "/usr/bin/kubecertd"); err != nil {
		n.install(t, version)
	}
	n.mustRun(t, "systemctl", "start", "dbus.socket", "containerd", "kubelet")
	// Whatever a story changed, the next one must not see.
	n.mustRun(t, "sh", "-c", "systemctl disable --now kubecertd; systemctl reset-failed kubecertd; rm -rf "+dropIn+" "+stateDir+"/runs /opt/e2e; mkdir -p /opt/e2e; systemctl daemon-reload")
	n.configure(t, "")
	if err := n.WaitHealthy(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.calm(t)
	if result, err := n.run("kubecertd", "plan"); err != nil {
		t.Logf("an earlier story left something to do:\n%s", result.Stdout)
		n.mustRun(t, "kubecertd", "renew")
		n.calm(t)
	}
	n.began = time.Now()
	return n
}

// calm lets the kubelet forget how often it has started containers lately: it would
// wait longer before each further time, and says so only in its memory.
func (n *node) calm(t *testing.T) {
	t.Helper()
	n.mustRun(t, "systemctl", "restart", "kubelet")
	if err := n.WaitHealthy(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// show logs what a person would look at first, when the story has failed.
func (n *node) show(t *testing.T) {
	if !t.Failed() {
		return
	}
	since := fmt.Sprintf("--since=@%d", n.began.Unix())
	for _, argv := range [][]string{
		{"journalctl", "--no-pager", "--output=short-precise", "--unit=kubecertd", since},
		{"systemctl", "status", "--no-pager", "--lines=0", "kubecertd", "kubelet", "containerd"},
		{"kubecertd", "status", "--output=wide"},
		{"kubecertd", "plan"},
		{"ctr", "--namespace=k8s.io", "containers", "list"},
		{"ctr", "--namespace=k8s.io", "tasks", "list"},
	} {
		result, err := n.run(argv...)
		t.Logf("%s# %s (%v)\n%s%s", n.Name(), strings.Join(argv, " "), err, result.Stdout, result.Stderr)
	}
}

// run runs a command in the node, also while a test is being cleaned up.
func (n *node) run(argv ...string) (machine.Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	return n.Run(ctx, argv...)
}

// mustRun is for what has to work, and returns what the command printed.
func (n *node) mustRun(t *testing.T, argv ...string) string {
	t.Helper()
	result, err := n.run(argv...)
	if err != nil {
		t.Fatal(err)
	}
	return result.Stdout
}

// exits is for a command whose exit code matters; it returns all that it said.
func (n *node) exits(t *testing.T, code int, argv ...string) string {
	t.Helper()
	result, err := n.run(argv...)
	if err != nil && !errors.As(err, new(*machine.ExitError)) {
		t.Fatal(err)
	}
	said := result.Stdout + result.Stderr
	if result.ExitCode != code {
		t.Errorf("%s: exit code %d, want %d:\n%s", strings.Join(argv, " "), result.ExitCode, code, said)
	}
	return said
}

func (n *node) read(t *testing.T, path string) string {
	t.Helper()
	data, err := n.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func (n *node) write(t *testing.T, path, text string, mode uint32) {
	t.Helper()
	if err := n.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	n.mustRun(t, "chmod", fmt.Sprintf("%o", mode), path)
}

// configure replaces the configuration of kubecertd; what it does not name is as
// shipped.
func (n *node) configure(t *testing.T, yaml string) {
	t.Helper()
	n.write(t, configFile, "# of the end-to-end tests\n"+yaml, 0o644)
}

// soon are settings with which a story need not wait: after a closed gate or a failed
// run the daemon looks again in a second. Further sections may follow.
const soon = "check: {retry: 1s, settle: 500ms}\n"

// start starts the daemon; systemctl returns once it has said READY.
func (n *node) start(t *testing.T) {
	t.Helper()
	n.mustRun(t, "systemctl", "start", "kubecertd")
	// Five nodes use up what Linux gives to all of root's: 128 instances.
	if text := said(n.journal(t, "")); strings.Contains(text, "no file events") {
		t.Fatal("this host has no inotify instances left: take other labs down, or raise fs.inotify.max_user_instances")
	}
}

// unit is what systemd says about a unit.
type unit map[string]string

func (n *node) unit(t *testing.T, name string) unit {
	t.Helper()
	u := unit{}
	for line := range strings.Lines(n.mustRun(t, "systemctl", "show", name,
		"--property=LoadState,ActiveState,SubState,Result,InvocationID,MainPID,NRestarts,ExecMainStatus,StatusText,CPUUsageNSec")) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		u[key] = value
	}
	return u
}

// status is what `kubecertd status` says.
func (n *node) status() (report.Status, error) {
	var s report.Status
	result, err := n.run("kubecertd", "status", "--output=json")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal([]byte(result.Stdout), &s)
}

// history is what `kubecertd history` says, oldest first.
func (n *node) history(t *testing.T) []renew.Run {
	t.Helper()
	var runs []renew.Run
	if err := json.Unmarshal([]byte(n.mustRun(t, "kubecertd", "history", "--output=json")), &runs); err != nil {
		t.Fatal(err)
	}
	return runs
}

// settled says what is not yet as it should be in the end: every certificate ok,
// loaded by all who hold it, and nothing to do.
func (n *node) settled() error {
	s, err := n.status()
	if err != nil {
		return err
	}
	var open []error
	for _, c := range s.Certificates {
		if c.State != "ok" && (c.State != "missing" || !c.Optional) {
			open = append(open, fmt.Errorf("%s is %s: %s", c.Name, c.State, c.Reason))
		}
		for _, p := range c.Holders {
			if p.Verdict != renew.Loaded {
				open = append(open, fmt.Errorf("%s of %s is %s: %s", p.Certificate, p.Component, p.Verdict, p.Evidence))
			}
		}
	}
	for _, p := range s.Problems {
		open = append(open, fmt.Errorf("%s: %s", p.What, p.Err))
	}
	if len(s.Certificates) == 0 {
		open = append(open, errors.New("status shows no certificates"))
	}
	if result, err := n.run("kubecertd", "plan"); err != nil {
		open = append(open, fmt.Errorf("plan: exit code %d: %s", result.ExitCode, result.Stdout))
	}
	return errors.Join(open...)
}
