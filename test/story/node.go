//go:build linux

package story

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

// Where things are on a node.
const (
	ConfigFile = "/etc/kubecertd/kubecertd.yaml"
	StateDir   = "/var/lib/kubecertd"
	// DropIn is where a story changes the unit for itself, until the next one.
	DropIn = "/run/systemd/system/kubecertd.service.d"
)

// commandLimit is more than any command of a story takes.
const commandLimit = 3 * time.Minute

// Node is a node of a lab in the hands of one story.
type Node struct {
	*controlplane.Node
	// Began is when the story did: what the journal has from before is not its own.
	Began time.Time

	builder *Builder
}

// Prepare puts a node into the state in which every story begins, whatever the one
// before left, and shows what happened on it should this one fail.
func Prepare(t *testing.T, on *controlplane.Node, builder *Builder) *Node {
	t.Helper()
	n := &Node{on, time.Now(), builder}
	t.Cleanup(func() { n.Show(t) })
	if _, err := n.Try("test", "-x", "/usr/bin/kubecertd"); err != nil {
		n.Install(t, Version)
	}
	n.MustRun(t, "systemctl", "start", "dbus.socket", "containerd", "kubelet")
	// Whatever a story changed, the next one must not see.
	n.MustRun(t, "sh", "-c", "systemctl disable --now kubecertd; systemctl reset-failed kubecertd; rm -rf "+DropIn+" "+StateDir+"/runs /opt/e2e; mkdir -p /opt/e2e; systemctl daemon-reload")
	n.Configure(t, "")
	if err := n.WaitHealthy(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.Calm(t)
	if result, err := n.Try("kubecertd", "plan"); err != nil {
		t.Logf("an earlier story left something to do:\n%s", result.Stdout)
		n.MustRun(t, "kubecertd", "renew")
		n.MustRun(t, "rm", "-rf", StateDir+"/runs")
		n.Calm(t)
	}
	n.Began = time.Now()
	return n
}

// Calm lets the kubelet forget how often it has started containers lately: it would
// wait longer before each further time, and says so only in its memory.
func (n *Node) Calm(t *testing.T) {
	t.Helper()
	n.MustRun(t, "systemctl", "restart", "kubelet")
	if err := n.WaitHealthy(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Show logs what a person would look at first, when the story has failed.
func (n *Node) Show(t *testing.T) {
	if !t.Failed() {
		return
	}
	since := fmt.Sprintf("--since=@%d", n.Began.Unix())
	for _, argv := range [][]string{
		{"journalctl", "--no-pager", "--output=short-precise", "--unit=kubecertd", since},
		{"systemctl", "status", "--no-pager", "--lines=0", "kubecertd", "kubelet", "containerd"},
		{"kubecertd", "status", "--output=wide"},
		{"kubecertd", "plan"},
		{"ctr", "--namespace=k8s.io", "containers", "list"},
		{"ctr", "--namespace=k8s.io", "tasks", "list"},
	} {
		result, err := n.Try(argv...)
		t.Logf("%s# %s (%v)\n%s%s", n.Name(), strings.Join(argv, " "), err, result.Stdout, result.Stderr)
	}
}

// Try runs a command in the node, also while a test is being cleaned up.
func (n *Node) Try(argv ...string) (machine.Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	return n.Run(ctx, argv...)
}

// MustRun is for what has to work, and returns what the command printed.
func (n *Node) MustRun(t *testing.T, argv ...string) string {
	t.Helper()
	result, err := n.Try(argv...)
	if err != nil {
		t.Fatal(err)
	}
	return result.Stdout
}

// Exits is for a command whose exit code matters; it returns all that it said.
func (n *Node) Exits(t *testing.T, code int, argv ...string) string {
	t.Helper()
	result, err := n.Try(argv...)
	if err != nil && !errors.As(err, new(*machine.ExitError)) {
		t.Fatal(err)
	}
	said := result.Stdout + result.Stderr
	if result.ExitCode != code {
		t.Errorf("%s: exit code %d, want %d:\n%s", strings.Join(argv, " "), result.ExitCode, code, said)
	}
	return said
}

func (n *Node) Read(t *testing.T, path string) string {
	t.Helper()
	data, err := n.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func (n *Node) Write(t *testing.T, path, text string, mode uint32) {
	t.Helper()
	if err := n.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	n.MustRun(t, "chmod", fmt.Sprintf("%o", mode), path)
}

// Configure replaces the configuration of kubecertd; what it does not name is as
// shipped, but for the clock.
func (n *Node) Configure(t *testing.T, yaml string) {
	t.Helper()
	if !strings.Contains(yaml, "clock:") {
		yaml = strings.TrimSuffix(yaml, "\n") + "\n" + OwnClock
	}
	n.Write(t, ConfigFile, "# of the end-to-end tests\n"+strings.TrimPrefix(yaml, "\n"), 0o644)
}

// OwnClock is the setting without which nothing but the critical would be renewed on a
// machine whose clock no time server keeps. The nodes of a lab have that of the machine.
const OwnClock = "clock: {requireSync: false}\n"

// Soon are settings with which a story need not wait: after a closed gate or a failed
// run the daemon looks again in a second. Further sections may follow.
const Soon = "check: {retry: 1s, settle: 500ms}\n"

// Start starts the daemon; systemctl returns once it has said READY.
func (n *Node) Start(t *testing.T) {
	t.Helper()
	n.MustRun(t, "systemctl", "start", "kubecertd")
	// Five nodes use up what Linux gives to all of root's: 128 instances.
	if text := Said(n.Events(t, "")); strings.Contains(text, "no file events") {
		t.Fatal("this host has no inotify instances left: take other labs down, or raise fs.inotify.max_user_instances")
	}
}

// Unit is what systemd says about a unit.
type Unit map[string]string

// Unit asks systemd about a unit.
func (n *Node) Unit(t *testing.T, name string) Unit {
	t.Helper()
	u := Unit{}
	for line := range strings.Lines(n.MustRun(t, "systemctl", "show", name,
		"--property=LoadState,ActiveState,SubState,Result,InvocationID,MainPID,NRestarts,ExecMainStatus,StatusText,CPUUsageNSec")) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		u[key] = value
	}
	return u
}

// Status is what `kubecertd status` says.
func (n *Node) Status() (report.Status, error) {
	var s report.Status
	result, err := n.Try("kubecertd", "status", "--output=json")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal([]byte(result.Stdout), &s)
}

// History is what `kubecertd history` says, oldest first.
func (n *Node) History(t *testing.T) []renew.Run {
	t.Helper()
	var runs []renew.Run
	if err := json.Unmarshal([]byte(n.MustRun(t, "kubecertd", "history", "--output=json")), &runs); err != nil {
		t.Fatal(err)
	}
	return runs
}

// Settled says what is not yet as it should be in the end: every certificate ok,
// loaded by all who hold it, and nothing to do.
func (n *Node) Settled() error {
	s, err := n.Status()
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
	if result, err := n.Try("kubecertd", "plan"); err != nil {
		open = append(open, fmt.Errorf("plan: exit code %d: %s", result.ExitCode, result.Stdout))
	}
	return errors.Join(open...)
}
