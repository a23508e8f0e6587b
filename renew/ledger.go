package renew

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/pki"
)

// Clocks is one reading of the kernel's clocks.
type Clocks struct {
	// Boot names this boot (/proc/sys/kernel/random/boot_id).
	Boot string
	// Wall is the clock that people set. Up is the boot clock at the same moment, which
	// nobody can (CLOCK_BOOTTIME, clock_gettime(2)).
	Wall time.Time
	Up   time.Duration
}

// booted is when this boot began, as the wall clock stands now.
func (c Clocks) booted() time.Time { return c.Wall.Add(-c.Up) }

// Content is what a certificate's file held, and since when a process could read it.
type Content struct {
	SHA256 string // of the leaf
	Since  time.Time
	// NotAfter is its end; zero when it is not known.
	NotAfter time.Time
}

// ledger remembers which certificates have been on disk and since when, so that what a
// process can have read at its start does not hang on times that a backup tool, a
// restore or a step of the clock may have changed. It is written when a look finds
// something new. Without it the times of the files count, as on the day of the
// installation.
type ledger struct {
	// Booted is when this boot began by the wall clock of the last look: the difference
	// is a step of the clock.
	Boot   string    `json:"boot"`
	Booted time.Time `json:"booted"`
	// Certificates are by name, the newest content last.
	Certificates map[string][]ledgerEntry `json:"certificates"`
	// Clock is when the wall clock was right.
	Clock marks `json:"clock,omitzero"`
}

// ledgerEntry is a content that appeared on disk.
type ledgerEntry struct {
	SHA256 string `json:"sha256"`
	// Boot and Up are when, by the boot clock; negative is before that boot.
	Boot string        `json:"boot"`
	Up   time.Duration `json:"up"`
	// Since is the same by the wall clock of then, for people and for later boots.
	Since time.Time `json:"since"`
	// NotAfter is the certificate's end.
	NotAfter time.Time `json:"notAfter,omitzero"`
}

const (
	ledgerFile = "ledger.json"
	// keepContents is how many contents of a certificate are remembered: a process that
	// runs since before that many renewals is stale whatever it has read.
	keepContents = 8
	// clockStep is what the wall clock may differ from the boot clock between two
	// looks before it counts as a step; NTP slews by 43 s a day (adjtimex(8)), and a
	// ledger that is written at each look would wear out a disk.
	clockStep = time.Second
)

// readLedger reads what the looks before have seen; nothing when there is none, or none
// that can be read.
func (s State) readLedger() ledger {
	var l ledger
	content, err := os.ReadFile(s.path(ledgerFile))
	if err == nil && json.Unmarshal(content, &l) != nil {
		l = ledger{}
	}
	if l.Certificates == nil {
		l.Certificates = map[string][]ledgerEntry{}
	}
	return l
}

// contents says for each certificate what has been on disk since when.
func (n *Node) contents(certificates []pki.Certificate) map[string][]Content {
	if n.Clocks == nil {
		return nil
	}
	clocks, err := n.Clocks()
	if err != nil {
		return nil
	}
	l := n.State.readLedger()
	clocks = l.known(clocks)
	l.add(certificates, clocks)
	return l.contents(clocks)
}

// noteContents writes down which certificates are on disk now.
func (n *Node) noteContents(certificates []pki.Certificate) error {
	if n.Clocks == nil {
		return nil
	}
	clocks, err := n.Clocks()
	if err != nil {
		return err
	}
	l := n.State.readLedger()
	changed := l.add(certificates, l.known(clocks))
	clocks.Wall = n.Now()
	if implausible(clocks.Wall, n.Built, certificates) == "" {
		kept, _ := n.kept()
		changed = l.Clock.remember(l.Clock.known(clocks), kept) || changed
	}
	if !changed {
		return nil
	}
	content, err := json.MarshalIndent(l, "", " ")
	if err != nil {
		return err
	}
	if err := n.State.write(ledgerFile, append(content, '\n')); err != nil {
		return fmt.Errorf("which certificates have been on disk since when could not be written down: %w", err)
	}
	return nil
}

// note is noteContents in a run: before what it has written is put back, and before
// anything is restarted that would read it. A run does not fail of it; the times of the
// inodes are left.
func (r *run) note(certificates []pki.Certificate) {
	if err := r.noteContents(certificates); err != nil {
		r.log.Warn("needs attention", event(EventNotice), zap.String("reason", err.Error()))
	}
}

// known gives the boot the name that it has in the ledger. Containers may be shown another
// name of it than a unit whose /proc/sys is protected (systemd-nspawn(1), systemd.exec(5));
// but no two boots begin at the same moment.
func (l ledger) known(now Clocks) Clocks {
	if now.booted().Sub(l.Booted).Abs() <= clockStep {
		now.Boot = l.Boot
	}
	return now
}

// add takes up what is on disk now, and says whether anything of it is new. What cannot
// be used, no process can have read.
func (l *ledger) add(certificates []pki.Certificate, now Clocks) (changed bool) {
	stepped := l.Boot == now.Boot && now.booted().Sub(l.Booted).Abs() > clockStep
	for _, c := range certificates {
		if c.Watched || c.Kind == pki.Memory || c.SHA256 == "" || (c.State == pki.Invalid && !c.KeyMatches) {
			continue
		}
		known := l.Certificates[c.Name]
		var up time.Duration
		switch {
		case len(known) == 0:
			// It was not written before it was issued, whatever the file's time says.
			written := c.Changed
			if c.NotBefore.After(written) {
				written = c.NotBefore
			}
			if written.After(now.Wall) {
				continue // nobody knows; the next look may
			}
			up = written.Sub(now.booted())
		case known[len(known)-1].SHA256 == c.SHA256:
			continue // touched, or as it was
		default:
			// Another than at the last look. Its time may be that of a backup; that of its
			// inode nobody can set. Where the clock was stepped meanwhile, the later of both
			// readings: a process in between is taken for one that has not read it.
			up = c.Touched.Sub(now.booted())
			if stepped {
				up = max(up, c.Touched.Sub(l.Booted))
			}
			if last := known[len(known)-1]; last.Boot == now.Boot {
				up = max(up, last.Up)
			}
			up = min(up, now.Up)
		}
		known = append(known, ledgerEntry{SHA256: c.SHA256, Boot: now.Boot, Up: up, Since: now.booted().Add(up).UTC(), NotAfter: c.NotAfter})
		l.Certificates[c.Name] = known[max(0, len(known)-keepContents):]
		changed = true
	}
	if l.Boot != now.Boot || stepped {
		l.Boot, l.Booted, changed = now.Boot, now.booted().UTC(), true
	}
	return changed
}

// contents are the entries by the wall clock as it stands now, on which processes'
// starts are told too. Nothing that runs began before this boot.
func (l ledger) contents(now Clocks) map[string][]Content {
	all := map[string][]Content{}
	for name, known := range l.Certificates {
		for _, e := range known {
			since := now.booted().Add(e.Up)
			if e.Boot != now.Boot {
				if since = e.Since; since.After(now.booted()) {
					since = now.booted()
				}
			}
			all[name] = append(all[name], Content{e.SHA256, since, e.NotAfter})
		}
	}
	return all
}

// written is since when the certificate that is on disk is there; zero when that is not
// known.
func (o Observation) written(c pki.Certificate) time.Time {
	if known := o.Contents[c.Name]; len(known) > 0 && known[len(known)-1].SHA256 == c.SHA256 {
		return known[len(known)-1].Since
	}
	return c.Changed
}

// readBy says whether a process that started then has read, at its start, what is on
// disk now.
func (o Observation) readBy(started time.Time, c pki.Certificate) bool {
	known := o.Contents[c.Name]
	for i := len(known) - 1; i >= 0; i-- {
		if !started.Before(known[i].Since) {
			return known[i].SHA256 == c.SHA256
		}
	}
	return len(known) == 0 && !started.Before(c.Changed)
}
