package renew

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/kubecertd/kubecertd/pki"
)

// kubeletServer is the name of what the kubelet serves. Where it signed that itself, it
// goes on with it when it has run out, also after a restart: a new one is made only when
// neither file is there (kubelet: cmd/kubelet/app/server.go).
const kubeletServer = "kubelet-server"

// replaces says that a restart of this run is to replace a certificate.
func (r *run) replaces(name string) bool {
	return slices.ContainsFunc(r.replaced, func(was renewal) bool { return was.name == name })
}

// remakeKubeletServer takes the kubelet's self-signed serving certificate away and
// restarts the kubelet, which makes another. If it does not come back, or not with a
// good one, it gets the old one back.
//
// The record names it like a renewal, so that what a crash leaves, at worst one of the
// two files and a kubelet that could not start, is put right like one. It is ended when
// the new one is proven.
func (r *run) remakeKubeletServer(ctx context.Context) error {
	if err := r.kubeletCanStart(); err != nil {
		return err
	}
	layout, _ := r.Locate()
	o := Observation{Certificates: layout.Read(r.Now())}
	before, _ := o.Certificate(kubeletServer)
	if before.Renewer != pki.Restart {
		return fmt.Errorf("%s is not the kubelet's own any more: it is left as it is", before.Path)
	}
	step := "renew " + kubeletServer
	if err := r.canRemake(layout, before); err != nil {
		err = fmt.Errorf("%s is not made anew: %w", before.Path, err)
		return errors.Join(err, r.end(step, "", "", err))
	}
	if !unchanged(r.snapshot, layout, kubeletServer) {
		if err := r.takeSnapshot(layout, o); err != nil {
			return err
		}
	}
	if err := r.begin(step, r.reason(Kubelet)); err != nil {
		return fmt.Errorf("%s: %w", step, err)
	}
	err := r.takeAway(layout)
	if err == nil {
		err = r.restartKubelet(ctx)
	}
	if err == nil {
		err = r.awaitMade(layout, before)
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%s could not be made anew: %w", before.Path, err)
	r.log.Error("certificate not renewed", event(EventRenewFailed), zap.String("certificate", kubeletServer), zap.Error(err))
	err = errors.Join(err, r.end(step, "", "", err))
	if unchanged(r.snapshot, layout, kubeletServer) {
		return err // nothing was removed
	}
	if back := r.putBack(layout, kubeletServer, "the kubelet did not make a good one", true); back != nil {
		return errors.Join(err, back)
	}
	return errors.Join(err, r.bringKubeletBack(ctx))
}

// canRemake says why the files could be taken away and not be put back, or the new ones
// not be written.
func (r *run) canRemake(layout pki.Layout, c pki.Certificate) error {
	dir := filepath.Dir(layout.Resolve(c.Path))
	if err := unix.Access(dir, unix.W_OK); err != nil {
		return fmt.Errorf("%s cannot be written: %w: kubecertd.service needs ReadWritePaths= for it, and a start after it was made", dir, err)
	}
	return r.roomFor([]Copied{{Certificate: c.Name, Path: c.Path}, {Certificate: c.Name, Path: c.KeyPath}})
}

// takeAway removes the files of the kubelet's serving certificate, of which the
// snapshot has copies.
func (r *run) takeAway(layout pki.Layout) error {
	var failed []error
	for _, f := range r.snapshot.of(kubeletServer) {
		file := layout.Resolve(f.Path)
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, err)
		}
		failed = append(failed, syncDir(filepath.Dir(file)))
	}
	return errors.Join(failed...)
}

const (
	// madeWithin is how long the kubelet, once it has started, may take to write what it
	// made: certificate first, then key.
	madeWithin = 3 * time.Second
	lookAgain  = 50 * time.Millisecond
)

// awaitMade waits until the kubelet has made a good certificate in the place of one that
// was taken away, and says otherwise what is wrong. When it returns nil that is on disk.
func (r *run) awaitMade(layout pki.Layout, before pki.Certificate) error {
	for left := madeWithin; ; left -= lookAgain {
		r.alive()
		after, _ := Observation{Certificates: layout.Read(r.Now())}.Certificate(before.Name)
		err := validateMade(before, after)
		if err == nil {
			return r.settleFiles(layout, before.Name)
		}
		if left <= 0 {
			return err
		}
		time.Sleep(lookAgain)
	}
}

// validateMade says what is wrong with a certificate that its component made for
// itself, given the one before; nil when nothing is. That it parses, that the key is
// its own and that it is valid now is what makes its state ok.
func validateMade(before, after pki.Certificate) error {
	host := func(c pki.Certificate) string {
		name, _, _ := strings.Cut(c.Leaf.Subject.CommonName, "@")
		return name
	}
	switch {
	case after.Name == "":
		return fmt.Errorf("%s and its key are not there: the kubelet has not made them", before.Path)
	case after.State != pki.OK:
		return fmt.Errorf("%s is %s: %s", after.Path, after.State, after.Reason)
	case after.SHA256 == before.SHA256:
		return fmt.Errorf("%s is the one from before", after.Path)
	case after.Renewer != pki.Restart:
		return fmt.Errorf("%s was not made by the kubelet for itself", after.Path)
	case before.Leaf == nil:
		return nil
	case host(after) != host(before):
		return fmt.Errorf("%s: the name changed from %q to %q", after.Path, before.Subject, after.Subject)
	case !after.NotAfter.After(before.NotAfter):
		return fmt.Errorf("%s: the new certificate ends %s, not later than the old one (%s): is the clock right?",
			after.Path, after.NotAfter.UTC().Format(pki.TimeLayout), before.NotAfter.UTC().Format(pki.TimeLayout))
	}
	return nil
}
