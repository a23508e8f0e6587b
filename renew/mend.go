package renew

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubecertd/kubecertd/pki"
)

// mendKubelet gives the kubelet a client certificate with which it can start, and which
// it rotates, and says what is on disk afterwards. It needs no API server.
//
// kubeadm's documented way is a kubeconfig with the certificate in it, a kubelet that
// makes its own of it with the help of the API server and kube-controller-manager, and
// then a kubeconfig that names that. Here the new certificate goes at once where the
// kubelet would have put it: it starts with it, and rotates it when its time comes.
func (r *run) mendKubelet(ctx context.Context, layout pki.Layout, renewal Renewal, o Observation) (pki.Certificate, error) {
	r.alive()
	before, _ := o.Certificate(kubeletClient)
	step := "renew " + kubeletClient
	if err := r.begin(step, renewal.Reason); err != nil {
		return before, fmt.Errorf("%s: %w", step, err)
	}
	err := r.mend(ctx, layout, renewal.Cure, before, FindKubeletFault(o, r.Policy).Node)
	r.alive()
	if err == nil {
		err = r.check(layout, before)
	}
	if err != nil {
		r.snapshot = r.snapshot.sparing(layout, r.Now())
	}
	after, _ := Observation{Certificates: layout.Read(r.Now())}.Certificate(kubeletClient)
	return after, errors.Join(err, r.end(step, after.Reason, "", err))
}

func (r *run) mend(ctx context.Context, layout pki.Layout, cure Cure, before pki.Certificate, node string) error {
	var given credential
	var err error
	switch cure {
	case CureStart:
		return nil
	case CurePoint:
		return r.point(layout, before.Kubelet, node)
	case CureMove:
		given, err = embeddedIn(layout.Resolve(before.Kubelet.Kubeconfig), before)
	case CureMake:
		given, err = r.makeCredential(ctx, layout, node)
	default:
		err = fmt.Errorf("%s: there is no cure %q", kubeletClient, cure)
	}
	if err != nil {
		return err
	}
	if err := r.give(layout, before.Kubelet.Rotating.Path, given); err != nil {
		return fmt.Errorf("%s: %w", before.Kubelet.Rotating.Path, err)
	}
	return r.point(layout, before.Kubelet, node)
}

// embeddedIn is the credential that a kubeconfig holds, if it is the one that was read.
func embeddedIn(file string, was pki.Certificate) (credential, error) {
	content, _, err := pki.ReadFile(file)
	if err != nil {
		return credential{}, err
	}
	generic, err := parseGeneric(content)
	if err != nil {
		return credential{}, fmt.Errorf("%s %w", was.Path, err)
	}
	for _, user := range usersOf(generic) {
		found := credentialOf(user)
		if leaf, err := found.leaf(); err == nil && leaf == was.SHA256 {
			return found, nil
		}
	}
	return credential{}, fmt.Errorf("%s does not hold its certificate with its key any more", was.Path)
}

// makeCredential has kubeadm make a client certificate for this node's kubelet, for as
// long as the cluster's certificates live, and not longer than the CA.
func (r *run) makeCredential(ctx context.Context, layout pki.Layout, node string) (credential, error) {
	configuration, err := r.configuration()
	if err != nil {
		return credential{}, err
	}
	ca, _ := Observation{Certificates: layout.Read(r.Now())}.Certificate("ca")
	// What kubeadm needs to start comes on top of the time left.
	validity := min(configuration.Validity, ca.NotAfter.Sub(r.Now())-r.Kubeadm.Timeout).Truncate(time.Second)
	if validity <= 0 {
		return credential{}, fmt.Errorf("the CA ends %s, and so would a new certificate: replace the CA", ca.NotAfter.UTC().Format(pki.TimeLayout))
	}
	kubeconfig, err := r.Kubeadm.NodeKubeconfig(ctx, node, configuration.Path, validity)
	if err != nil {
		return credential{}, err
	}
	generic, err := parseGeneric(kubeconfig)
	if err != nil {
		return credential{}, fmt.Errorf("what kubeadm printed %w", err)
	}
	for _, user := range usersOf(generic) {
		made := credentialOf(user)
		if _, err := made.leaf(); err == nil {
			return made, nil
		}
	}
	return credential{}, errors.New("kubeadm printed no client certificate with its key")
}

// give puts a credential where the kubelet keeps its own: in a file named after the
// time, certificate and key, behind a link, without which the kubelet does not rotate
// (client-go: util/certificate/certificate_store.go). When it returns nil that is on disk.
func (r *run) give(layout pki.Layout, rotating string, c credential) error {
	certificate, err := base64.StdEncoding.DecodeString(c.certificate)
	if err != nil {
		return errors.New("the certificate is no base64")
	}
	key, err := base64.StdEncoding.DecodeString(c.key)
	if err != nil {
		return errors.New("the key is no base64")
	}
	content := slices.Concat([]byte(pki.GivenMark+" in run "+r.id+". It rotates it by itself.\n"), certificate, key)
	dir := layout.Resolve(path.Dir(rotating))
	// On disk before anything names a file in it.
	if err := errors.Join(os.MkdirAll(dir, 0o755), syncDir(filepath.Dir(dir))); err != nil {
		return err
	}
	if err := unix.Access(dir, unix.W_OK); err != nil {
		return fmt.Errorf("%s cannot be written: %w: kubecertd.service needs ReadWritePaths= for it, and a start after it was made", path.Dir(rotating), err)
	}
	name, at := "", r.Now()
	for {
		name = "kubelet-client-" + at.Format("2006-01-02-15-04-05") + ".pem"
		err := writeSynced(filepath.Join(dir, name), content)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrExist) {
			return errors.Join(err, os.Remove(filepath.Join(dir, name)))
		}
		at = at.Add(time.Second)
	}
	link := filepath.Join(dir, path.Base(rotating))
	if err := sweep(link); err != nil {
		return err
	}
	next := filepath.Join(dir, "."+path.Base(rotating)+".kubecertd-link")
	if err := os.Symlink(path.Join(path.Dir(rotating), name), next); err != nil {
		return err
	}
	return errors.Join(os.Rename(next, link), syncDir(dir))
}

// point has the kubelet's kubeconfig name the file that the kubelet rotates, and returns
// when that is on disk. One that cannot be used is made anew.
func (r *run) point(layout pki.Layout, k *pki.KubeletClient, node string) error {
	file := layout.Resolve(k.Kubeconfig)
	content, _, err := pki.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", k.Kubeconfig, err)
	}
	result := []byte(nil)
	if k.Damaged == "" {
		result, err = pointed(content, k.Rotating.Path)
	} else {
		result, err = r.kubeconfigAnew(layout, content, k, node)
	}
	if err != nil {
		return fmt.Errorf("%s %w", k.Kubeconfig, err)
	}
	if bytes.Equal(result, content) {
		return nil
	}
	as := Copied{Path: k.Kubeconfig, Mode: 0o600}
	for _, f := range r.snapshot.of(kubeletClient) {
		if f.Path == k.Kubeconfig && !f.Absent {
			as = f
		}
	}
	write := as.replace
	if layout.MountedAlone(k.Kubeconfig) {
		write = as.overwrite
	}
	if err := write(file, result, true); err != nil {
		return fmt.Errorf("%s: %w", k.Kubeconfig, err)
	}
	return nil
}

// checkKubelet says what is wrong with the kubelet's client certificate after it was
// mended, given what there was before; nil when nothing is, and it is on disk.
func (r *run) checkKubelet(layout pki.Layout, before pki.Certificate) error {
	o := Observation{At: r.Now(), Certificates: layout.Read(r.Now())}
	after, _ := o.Certificate(kubeletClient)
	fault := KubeletFault{}
	switch {
	case after.Kubelet == nil:
		return fmt.Errorf("%s is gone", kubeletClient)
	case after.Kubelet.Damaged != "":
		return fmt.Errorf("%s cannot be used: %s", after.Kubelet.Kubeconfig, after.Kubelet.Damaged)
	case after.State != pki.OK:
		return fmt.Errorf("%s is %s: %s", after.Path, after.State, after.Reason)
	case after.Kubelet.Embedded || after.Path != after.Kubelet.Rotating.Path || after.KeyPath != after.Path:
		return fmt.Errorf("%s does not name %s", after.Kubelet.Kubeconfig, after.Kubelet.Rotating.Path)
	case fault.misfit(after) != "":
		return errors.New(fault.misfit(after))
	case before.Server != "" && before.Kubelet != nil && before.Kubelet.Damaged == "" && before.Server != after.Server:
		return fmt.Errorf("%s names the API server %s and not %s any more", after.Kubelet.Kubeconfig, after.Server, before.Server)
	}
	return errors.Join(syncFile(layout.Resolve(after.Path)), syncDir(layout.Resolve(path.Dir(after.Path))), syncFile(layout.Resolve(after.Kubelet.Kubeconfig)))
}

// sparing is the snapshot without its copy of the file that the kubelet rotates, where
// what is there now is good: it may be the kubelet's own, or just given to it, and the
// one before is no better.
func (s Snapshot) sparing(layout pki.Layout, now time.Time) Snapshot {
	c, _ := Observation{Certificates: layout.Read(now)}.Certificate(kubeletClient)
	if c.Kubelet == nil || c.Kubelet.Rotating.State != pki.OK {
		return s
	}
	s.Files = slices.DeleteFunc(slices.Clone(s.Files), func(f Copied) bool { return f.Path == c.Kubelet.Rotating.Path })
	return s
}

// mended says that this run has given the kubelet its client certificate.
func (r *run) mended() bool { return slices.Contains(r.renewed, kubeletClient) }

// restartMended starts the kubelet with what it was given. Where it ran before with what
// it had, and does not now, it gets that back.
func (r *run) restartMended(ctx context.Context) error {
	err := r.restartKubelet(ctx)
	layout, _ := r.Locate()
	was, _ := Observation{Certificates: r.snapshot.certificates(layout)}.Certificate(kubeletClient)
	if err == nil || was.State != pki.OK || was.Kubelet.Damaged != "" || unchanged(r.snapshot, layout, kubeletClient) {
		return err
	}
	// It counts as a repair that failed.
	err = errors.Join(err, r.end("renew "+kubeletClient, "", "", fmt.Errorf("the kubelet did not start with it: %w", err)))
	if back := r.putBack(layout, kubeletClient, "the kubelet did not start with it", true); back != nil {
		return errors.Join(err, back)
	}
	return errors.Join(err, r.bringKubeletBack(ctx))
}
