package renew

import (
	"fmt"
	"time"

	"github.com/kubecertd/kubecertd/pki"
)

// problemWatched is the name of what could not be seen of watch.files.
const problemWatched = "watch.files"

// patience is how long files outside the node's own places may take: they may lie on a
// file system that hangs, which must hold up nothing else.
var patience = 10 * time.Second

// aside does something that reads such files and says whether it was done in time. What
// takes longer goes on by itself, and until it has ended nothing else is begun: a system
// call that hangs cannot be stopped.
func (n *Node) aside(do func()) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	if n.reading != nil {
		select {
		case <-n.reading:
		case <-timer.C:
			return false
		}
	}
	done := make(chan struct{})
	n.reading = done
	go func() { defer close(done); do() }()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// observeWatched adds what the configuration names besides the node's own certificates.
func (n *Node) observeWatched(o *Observation) {
	layout, _ := n.Locate()
	read := make(chan []pki.Certificate, 1)
	if !n.aside(func() { read <- layout.FindWatched().Read(o.At) }) {
		o.Problems = append(o.Problems, Problem{problemWatched,
			fmt.Sprintf("not read within %s: does a file system that they lie on hang?", patience)})
		return
	}
	o.Certificates = append(o.Certificates, <-read...)
}

// watchedDirectories are those in which a change of a watched file shows.
func (n *Node) watchedDirectories(layout pki.Layout) []string {
	found := make(chan []string, 1)
	if !n.aside(func() { found <- layout.FindWatched().Directories }) {
		return nil // the look says so
	}
	return <-found
}
