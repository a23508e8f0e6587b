package renew

import (
	"context"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/pki"
)

// ShortPatience shortens how long a run waits for a package manager.
func ShortPatience(t *testing.T) {
	was := packagesDeadline
	packagesDeadline = 200 * time.Millisecond
	t.Cleanup(func() { packagesDeadline = was })
}

// ShortSteady shortens how long a static pod of others must run to count as back.
func ShortSteady(t *testing.T) {
	was := steady
	steady = 20 * time.Millisecond
	t.Cleanup(func() { steady = was })
}

func (s State) PruneSnapshots(keep Retention, now time.Time) { s.pruneSnapshots(keep, now) }

// emptyNode is a node without certificates or processes.
func emptyNode(t testing.TB, s State) *Node {
	root := t.TempDir()
	return &Node{
		Locate: func() (pki.Layout, []error) { return pki.Locate(pki.Options{Root: root}) },
		State:  s, Log: zap.NewNop(), Now: time.Now, Host: Host{Proc: root, Root: root},
	}
}

// ShortReading shortens how long files that may hang are waited for.
func ShortReading(t *testing.T) {
	was := patience
	patience = 300 * time.Millisecond
	t.Cleanup(func() { patience = was })
}

// Hang occupies what reads such files until release is closed, and says when it does.
func (n *Node) Hang(release chan struct{}) (started chan struct{}) {
	started = make(chan struct{})
	n.aside(func() { close(started); <-release })
	return started
}

// Usable is why a component is not to be restarted.
var Usable = usable

// Unproven is what a run with these renewals, and a policy, waits for after its restarts.
func Unproven(o Observation, policy Policy, renewed, restarted []string) []string {
	return (&run{Node: &Node{Policy: policy}, renewed: renewed}).unproven(o, restarted)
}

// Rewrite replaces one credential in a kubeconfig by another.
func Rewrite(content []byte, old, certificate, key string) ([]byte, []string, error) {
	return fresh{old: {certificate, key}}.apply(content)
}

// Checksum is a SHA-256.
func Checksum(content []byte) string { return checksum(content) }

// ReplaceAt replaces a file as a copy of admin.conf is; meanwhile is called after the
// file was read.
func ReplaceAt(root, name string, content []byte, meanwhile func()) error {
	p, err := openPlace(root, name)
	if err != nil {
		return err
	}
	defer p.close()
	if _, err := p.read(); err != nil {
		return err
	}
	if meanwhile != nil {
		meanwhile()
	}
	return p.replace(content)
}

// WatchWith replaces what adds a directory to inotify.
func (w *Watcher) WatchWith(add func(directory string) error) { w.add = add }

// ShortNoise shortens how long files may go on changing before they are looked at.
func ShortNoise(t *testing.T, d time.Duration) {
	was := longest
	longest = d
	t.Cleanup(func() { longest = was })
}

// Afresh is why a control plane is started afresh.
var Afresh = afresh

// ShortQuorum shortens how long the quorum of etcd is waited for.
func ShortQuorum(t *testing.T) {
	was := quorumPatience
	quorumPatience = 200 * time.Millisecond
	t.Cleanup(func() { quorumPatience = was })
}

// Note writes down what is on disk now, as the loop does at each look.
func (n *Node) Note() error {
	layout, _ := n.Locate()
	return n.noteContents(layout.Read(n.Now()))
}

// DropMark removes a mark that was left.
func (n *Node) DropMark(ctx context.Context) { n.dropMark(ctx) }

// Pointed has the current user of a kubeconfig name a file.
func Pointed(content []byte, file string) ([]byte, error) { return pointed(content, file) }

// Refusal judges a kubelet's request.
func Refusal(r SigningRequest, node string, own Identity) string { return refusal(r, node, own) }

// ApproveNow approves what was seen, as the loop does after a look.
func (n *Node) ApproveNow(ctx context.Context, o Observation) error { return n.approveServing(ctx, o) }

// ShortTurns shortens all waits for the turn.
func ShortTurns(t *testing.T) {
	yield, pass, again := yieldFor, passWait, readAgain
	yieldFor, passWait, readAgain = 100*time.Millisecond, 100*time.Millisecond, 2*time.Second
	t.Cleanup(func() { yieldFor, passWait, readAgain = yield, pass, again })
}

// SettleTurn is what a look that finds nothing to do does about the turn.
func (n *Node) SettleTurn(t *testing.T, look Look) { n.settleTurn(t.Context(), look) }

// Waits is how long to wait for the gates of a plan.
var Waits = waits

// Rest is what the loop does between two looks.
var Rest = rest
