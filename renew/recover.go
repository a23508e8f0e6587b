package renew

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/pki"
)

// Recover ends what a run left that was cut off: by a crash of this process, or of the
// node. A certificate whose renewal had begun is validated as the run would have done,
// and kept or put back; everything later is left to the next look, which finds stale
// components whoever made them so.
//
// It is called when the daemon starts and at the beginning of every run. Whatever it
// finds it does not fail for long: a record that cannot be read is set aside. An error
// means that a certificate is neither as it was nor usable, and could not be put back.
func (n *Node) Recover(ctx context.Context) error {
	if last, err := n.State.last(); err == nil && last.Outcome != Unfinished {
		return nil // without a lock that would be in another's way
	}
	unlock, err := n.State.lockRun()
	if locked := (*LockedError)(nil); errors.As(err, &locked) {
		return nil // a run is under way: it was not cut off
	}
	if err != nil {
		return err
	}
	defer unlock()
	return n.recoverLocked(ctx)
}

func (n *Node) recoverLocked(context.Context) error {
	last, err := n.State.last()
	id := last.ID
	if err == nil && last.Outcome != Unfinished {
		return nil
	}
	// Nothing is put back behind the back of a person, nor of a kubeadm: it may be the
	// one of the run that was cut off, which has outlived it and still writes.
	if closed := excluded(n.State.Paused(n.Now()), n.Host.kubeadms()); len(closed) > 0 {
		return &BlockedError{closed}
	}
	switch {
	case err != nil:
		return n.setAside(last, err)
	case len(last.Entries) == 0:
		// Cut off before its first line was on disk, and so before anything was changed.
		return os.Remove(n.State.path("runs", id+".jsonl"))
	}
	log := n.Log.With(zap.String("run_id", id))
	again := n.told == id
	if n.told = id; !again {
		log.Warn("the last run was cut off", event(EventCutOff), zap.Time("began", last.Began),
			zap.String("step", last.Entries[len(last.Entries)-1].Step))
	}
	recorder, err := n.State.reopen(n.Now, id)
	if err != nil {
		return err
	}
	defer func() { _ = recorder.close() }()
	defer func() { n.ended(recorder) }()
	r := &run{Node: n, recorder: recorder, log: log, again: again}
	found, err := r.recover(last)
	if err != nil {
		return err // and tried again the next time
	}
	log.Warn("the cut-off run was ended", event(EventRecovered), zap.String("found", found))
	return r.end("run", "", "", fmt.Errorf("it was cut off: %s", found))
}

// last is the newest run; one that is done where there is none.
func (s State) last() (Run, error) {
	ids := s.runIDs()
	if len(ids) == 0 {
		return Run{Outcome: Done}, nil
	}
	return s.run(ids[len(ids)-1])
}

// setAside takes a record that cannot be read out of the way. What it would have said
// is taken from the newest snapshot: what kubeadm renews and cannot be used now is put
// back.
func (n *Node) setAside(last Run, why error) error {
	from := n.State.path("runs", last.ID+".jsonl")
	to := strings.TrimSuffix(from, ".jsonl") + ".unreadable"
	n.Log.Error("a record cannot be read and is set aside", event(EventCutOff),
		zap.String("path", to), zap.Error(why))
	var failed error
	if snap, err := n.State.newest(); err == nil {
		recorder, err := n.State.record(n.Now, "a record that could not be read", Plan{At: n.Now()})
		if err != nil {
			return err
		}
		defer func() { _ = recorder.close() }()
		defer func() { n.ended(recorder) }()
		if err := recorder.write(Entry{Step: "snapshot", Event: "end", Snapshot: snap.ID}); err != nil {
			return err
		}
		r := &run{Node: n, recorder: recorder, log: n.Log.With(zap.String("run_id", recorder.id)), snapshot: snap}
		layout, _ := n.Locate()
		var found string
		found, failed = r.settle(layout, snap, unusable(layout.Read(n.Now())))
		if err := r.end("run", "", "", errors.Join(fmt.Errorf("the record before could not be read: %s", found), failed)); err != nil {
			return err
		}
	}
	return errors.Join(failed, os.Rename(from, to), syncDir(n.State.path("runs")))
}

// unusable are the certificates that kubeadm renews and that nobody can use now. The
// others may have been changed by somebody else since the snapshot.
func unusable(certificates []pki.Certificate) []string {
	var list []string
	for _, c := range certificates {
		if (c.Renewer == pki.Kubeadm || c.Renewer == pki.Restart) && c.State == pki.Invalid && c.Kind != pki.Memory {
			list = append(list, c.Name)
		}
	}
	return list
}

// recover ends the renewals of a run that was cut off, and says what it found.
func (r *run) recover(last Run) (found string, err error) {
	id, begun := "", []string(nil)
	for _, e := range last.Entries {
		if e.Step == "snapshot" && e.Event == "end" && e.Error == "" {
			id = e.Snapshot
		}
		for _, kind := range []string{"renew ", "put back ", "restore "} {
			if name, ok := strings.CutPrefix(e.Step, kind); ok && e.Event == "begin" && !slices.Contains(begun, name) {
				begun = append(begun, name)
			}
		}
	}
	if len(begun) == 0 {
		return "no certificate had been touched", nil
	}
	snap, err := r.State.Snapshot(id)
	if err != nil {
		// What is left of it may still hold what is needed; each copy is checked again.
		r.log.Error("the snapshot of the run is damaged", event(EventNotice), zap.Error(err))
	}
	layout, _ := r.Locate()
	return r.settle(layout, snap, begun)
}

// settle judges each certificate against what it was in the snapshot: what is as it
// was, or was renewed well, stays; anything else is put back.
func (r *run) settle(layout pki.Layout, snap Snapshot, certificates []string) (found string, err error) {
	r.snapshot = snap
	before, now := Observation{Certificates: snap.certificates(layout)}, Observation{Certificates: layout.Read(r.Now())}
	var kept, back, alone, lost []string
	var failed []error
	failed = append(failed, os.RemoveAll(r.State.path(workshop)))
	for _, f := range snap.Files {
		failed = append(failed, sweep(layout.Resolve(f.Path)))
	}
	for _, name := range certificates {
		was, _ := before.Certificate(name)
		if unchanged(snap, layout, name) {
			failed = append(failed, r.keep(layout, name))
			continue
		}
		if is, _ := now.Certificate(name); is.State == pki.OK && !snap.has(name) {
			// Whether it is the old one or the new one nobody can tell, and it works.
			failed = append(failed, durable(layout, is))
			alone = append(alone, name)
			continue
		}
		r.snapshot = snap
		if name == kubeletClient {
			r.snapshot = snap.sparing(layout, r.Now())
		}
		why := r.check(layout, was)
		if why == nil {
			kept = append(kept, name)
			continue
		}
		switch err := r.putBack(layout, name, why.Error(), false); {
		case err == nil:
			back = append(back, name)
		case errors.Is(err, errNoCopy):
			// Nothing can be done about it here. Nobody will be made to read it, and every
			// look says what is wrong with it.
			lost = append(lost, name)
		default:
			failed = append(failed, err)
		}
	}
	found = fmt.Sprintf("%d of the %d certificates it had begun to renew are new and valid%s, %d were put back%s",
		len(kept), len(certificates), list(kept), len(back), list(back))
	if len(alone) > 0 {
		found += fmt.Sprintf(", %d are valid and of these there is no good copy to compare them with%s", len(alone), list(alone))
	}
	if len(lost) > 0 {
		found += fmt.Sprintf(", %d cannot be used and there is no good copy%s", len(lost), list(lost))
	}
	return found, errors.Join(failed...)
}

// keep makes durable what is as it was. A run that was killed may have just put it
// back, and what can be read again need not be on disk yet.
func (r *run) keep(layout pki.Layout, certificate string) error {
	var failed []error
	for _, f := range r.snapshot.of(certificate) {
		file := layout.Resolve(f.Path)
		if f.Absent {
			failed = append(failed, syncGone(file))
			continue
		}
		failed = append(failed, r.keepOwner(file, f), syncFile(file))
	}
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("%s is as it was, but not surely on disk: %w", certificate, err)
	}
	return nil
}

// durable returns when the files of a certificate are on disk.
func durable(layout pki.Layout, c pki.Certificate) error {
	var failed []error
	for _, file := range []string{c.Path, keyFile(c)} {
		if file != "" {
			failed = append(failed, syncFile(layout.Resolve(file)))
		}
	}
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("%s is valid, but not surely on disk: %w", c.Name, err)
	}
	return nil
}

func list(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return " (" + strings.Join(names, ", ") + ")"
}

// unchanged says that the files of a certificate are those of the snapshot.
func unchanged(snap Snapshot, layout pki.Layout, certificate string) bool {
	copies := snap.of(certificate)
	for _, f := range copies {
		content, _, err := pki.ReadFile(layout.Resolve(f.Path))
		if f.Absent != errors.Is(err, os.ErrNotExist) || (!f.Absent && (err != nil || checksum(content) != f.SHA256)) {
			return false
		}
	}
	return len(copies) > 0
}

// reopen opens the record of a run that was cut off, without the line that may have
// been torn.
func (s State) reopen(now func() time.Time, id string) (*recorder, error) {
	file := s.path("runs", id+".jsonl")
	content, _, err := pki.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("record of run %s: %s: %w", id, file, err)
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("record of run %s: %w", id, err)
	}
	if whole := int64(bytes.LastIndexByte(content, '\n') + 1); whole < int64(len(content)) {
		if err := f.Truncate(whole); err != nil {
			return nil, errors.Join(fmt.Errorf("record of run %s: %w", id, err), f.Close())
		}
	}
	run, _ := parseRun(id, content) // what can be read of it is told
	return &recorder{id: id, file: f, now: now, run: run}, nil
}
