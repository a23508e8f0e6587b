package renew

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/pki"
)

// renewOrRepair does what is planned for one certificate, and says what is on disk then.
func (r *run) renewOrRepair(ctx context.Context, layout pki.Layout, renewal Renewal, o Observation) (pki.Certificate, error) {
	r.alive()
	before, _ := o.Certificate(renewal.Certificate)
	switch {
	case renewal.Cure != "":
		return r.mendKubelet(ctx, layout, renewal, o)
	case renewal.Repair == nil:
		return r.renewOne(ctx, layout, renewal, before)
	case renewal.Repair.Snapshot == "":
		return r.makeAnew(ctx, layout, renewal, o)
	}
	if err := r.restoreSpare(layout, renewal, before); err != nil {
		return before, err
	}
	after, _ := Observation{Certificates: layout.Read(r.Now())}.Certificate(renewal.Certificate)
	if !renewal.Repair.Renew {
		return after, nil
	}
	// From here on it is a renewal like any other, and what it goes back to is what was
	// restored.
	o.Certificates = layout.Read(r.Now())
	if err := r.takeSnapshot(layout, o); err != nil {
		return after, err
	}
	return r.renewOne(ctx, layout, renewal, after)
}

// restoreSpare puts the copy of a snapshot in the place of what is damaged.
func (r *run) restoreSpare(layout pki.Layout, renewal Renewal, before pki.Certificate) error {
	id := renewal.Repair.Snapshot
	step := "restore " + renewal.Certificate
	if err := r.begin(step, fmt.Sprintf("from snapshot %s: %s", id, before.Reason)); err != nil {
		return fmt.Errorf("%s: %w", step, err)
	}
	// Of its other copies some may be damaged.
	snap, err := r.State.manifest(id)
	if err == nil {
		err = snap.putBack(layout, renewal.Certificate, true)
	}
	if err == nil {
		err = r.checkRepaired(layout, before, renewal.Repair.Renew)
	}
	if err = errors.Join(err, r.end(step, "", "", err)); err != nil {
		return err
	}
	r.log.Info("certificate restored", event(EventRestored), zap.String("certificate", renewal.Certificate),
		zap.String("path", before.Path), zap.String("snapshot", id), zap.String("reason", before.Reason))
	return nil
}

// checkRepaired says what is wrong with what was put in the place of a damaged
// certificate; worn allows that it has run out. When it returns nil that is on disk.
func (r *run) checkRepaired(layout pki.Layout, before pki.Certificate, worn bool) error {
	after, _ := Observation{Certificates: layout.Read(r.Now())}.Certificate(before.Name)
	if after.State != pki.OK && after.State != pki.External && (after.State != pki.Expired || !worn) {
		return fmt.Errorf("%s is %s after it was repaired: %s", before.Path, after.State, after.Reason)
	}
	return durable(layout, after)
}

// workshop is where kubeadm makes certificates anew: beside the state, for root alone.
// kubeadm takes what it finds in a certificate's place for the certificate, and fails on
// it when it is damaged (kubeadm: cmd/phases/init/certs.go, phases/kubeconfig). Here it
// finds nothing but the CA, and the node only ever sees what was found to be good.
const workshop = "workshop"

// makeAnew has kubeadm make a certificate as `kubeadm init` did, and puts it in its
// place when it is good.
func (r *run) makeAnew(ctx context.Context, layout pki.Layout, renewal Renewal, o Observation) (made pki.Certificate, err error) {
	before, _ := o.Certificate(renewal.Certificate)
	step := "renew " + renewal.Certificate
	if err := r.begin(step, renewal.Reason); err != nil {
		return before, fmt.Errorf("%s: %w", step, err)
	}
	shop := layout
	shop.Root = r.State.path(workshop)
	defer func() { err = errors.Join(err, os.RemoveAll(shop.Root)) }()
	output, err := r.makeIn(ctx, layout, shop, before, o)
	if err == nil {
		err = r.moveIn(layout, shop, before)
	}
	if err == nil {
		err = r.checkRepaired(layout, before, false)
	}
	made, _ = Observation{Certificates: layout.Read(r.Now())}.Certificate(before.Name)
	if err != nil {
		err = fmt.Errorf("%s could not be made anew: %w", before.Path, err)
	}
	return made, errors.Join(err, r.end(step, made.Reason, output, err))
}

// makeIn has kubeadm make a certificate in the workshop, and says what is wrong with it.
func (r *run) makeIn(ctx context.Context, layout, shop pki.Layout, before pki.Certificate, o Observation) (output string, err error) {
	dir := shop.Resolve(layout.CertificatesDir)
	if err := errors.Join(os.RemoveAll(shop.Root), os.MkdirAll(filepath.Join(dir, "etcd"), 0o700),
		os.MkdirAll(shop.Resolve(layout.KubernetesDir), 0o700)); err != nil {
		return "", err
	}
	// Only its own CA: another without its key is one that kubeadm wants to see complete
	// (kubeadm: cmd/init.go, UsingExternalFrontProxyCA). Keys of CAs are never copied.
	ca, _ := o.Certificate(before.CA)
	for _, file := range []string{ca.Path, ca.KeyPath} {
		place := filepath.Join(shop.Root, file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(place), 0o700), os.Symlink(layout.Resolve(file), place)); err != nil {
			return "", err
		}
	}
	cluster, err := r.configuration()
	if err != nil {
		return "", err
	}
	if cluster, err = r.cappedBy(cluster, ca); err != nil {
		return "", err
	}
	config, err := forInit(cluster, layout, o, before.Name, dir)
	if err != nil {
		return "", err
	}
	file := filepath.Join(shop.Root, "kubeadm.yaml")
	if err := writeSynced(file, config); err != nil {
		return "", err
	}
	output, err = r.Kubeadm.Make(ctx, before.Name, file, shop.Resolve(layout.KubernetesDir))
	r.alive()
	if err != nil {
		return output, err
	}
	if before.Kind == pki.Kubeconfig {
		if err := completeKubeconfig(layout, shop, o, before, ca); err != nil {
			return output, err
		}
	}
	made, _ := Observation{Certificates: layout.ReadCopies(shop.Root, r.Now())}.Certificate(before.Name)
	if err := validate(pki.Certificate{}, made, ca, cluster); err != nil {
		return output, err
	}
	if again := r.Policy.Decide(made, r.Now()); again.Renew {
		return output, fmt.Errorf("it would be due again at once (%s): is certificateValidityPeriod in the cluster configuration as intended?", again.Reason)
	}
	return output, lacking(namesFor(layout, o, before.Name), made)
}

// moveIn puts what was made in the workshop in its place, as a snapshot's copy is put
// back. What is damaged there has lent it its owner and mode, as far as others could not
// read a key by it.
func (r *run) moveIn(layout, shop pki.Layout, before pki.Certificate) error {
	made, _ := Observation{Certificates: layout.ReadCopies(shop.Root, r.Now())}.Certificate(before.Name)
	parts := Snapshot{ID: workshop, dir: shop.Root}
	for _, path := range slices.Compact([]string{made.Path, made.KeyPath}) {
		content, _, err := pki.ReadFile(filepath.Join(shop.Root, path))
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		f := Copied{Certificate: made.Name, Path: path, Mode: 0o644, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()),
			SHA256: checksum(content), Size: int64(len(content))}
		if path == made.KeyPath {
			f.Mode = 0o600
		}
		if info, err := os.Stat(layout.Resolve(path)); err == nil && info.Mode().IsRegular() {
			f.Mode = info.Mode().Perm()
			if path == made.KeyPath {
				f.Mode &^= 0o007
			}
			if owner, ok := info.Sys().(*syscall.Stat_t); ok {
				f.UID, f.GID = owner.Uid, owner.Gid
			}
		}
		parts.Files = append(parts.Files, f)
	}
	return parts.putBack(layout, made.Name, true)
}

// lacking says which names a certificate should have been made for and was not.
func lacking(want altNames, made pki.Certificate) error {
	if gone := append(minus(want.dns, made.DNSNames), minus(want.ips, made.IPs)...); len(gone) > 0 {
		return fmt.Errorf("it was not made for %s: look at certSANs in the cluster configuration", strings.Join(gone, ", "))
	}
	return nil
}
