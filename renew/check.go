package renew

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/pki"
)

// check says what is wrong with a certificate that kubeadm has written, given what
// there was before. What can be put right without another renewal is: a kubeconfig's
// CAs, owners and modes. When it returns nil the certificate is good, and on disk:
// kubeadm itself syncs nothing.
func (r *run) check(layout pki.Layout, before pki.Certificate) error {
	if before.Name == kubeletClient {
		return r.checkKubelet(layout, before)
	}
	if before.Renewer == pki.Restart {
		return r.awaitMade(layout, before)
	}
	if damaged(before, r.Now()) {
		return r.checkRepaired(layout, before, false)
	}
	if before.Kind == pki.Kubeconfig && before.Path == before.KeyPath {
		if err := r.checkKubeconfig(layout, before); err != nil {
			return err
		}
	}
	now := Observation{Certificates: layout.Read(r.Now())}
	after, _ := now.Certificate(before.Name)
	ca, _ := now.Certificate(before.CA)
	cluster, err := r.configuration()
	if err != nil {
		// After a crash it may be gone; what depends on it is not judged then.
		cluster = clusterConfig{}
	}
	if err := validate(before, after, ca, cluster); err != nil {
		return err
	}
	if again := r.Policy.Decide(after, r.Now()); again.Renew {
		// Renewing it at every look would help nobody.
		return fmt.Errorf("%s would be due again at once (%s): is certificateValidityPeriod in the cluster configuration as intended?", after.Path, again.Reason)
	}
	return r.settleFiles(layout, before.Name)
}

// settleFiles gives the files of a certificate the owner and mode that they had, and
// returns when they are on disk.
func (r *run) settleFiles(layout pki.Layout, certificate string) error {
	for _, f := range r.snapshot.of(certificate) {
		file := layout.Resolve(f.Path)
		if err := errors.Join(r.keepOwner(file, f), syncFile(file)); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	return nil
}

// checkKubeconfig says what kubeadm changed in a kubeconfig that it should not have,
// and gives it back the CAs that it had.
func (r *run) checkKubeconfig(layout pki.Layout, before pki.Certificate) error {
	copies := r.snapshot.of(before.Name)
	if len(copies) == 0 || copies[0].Absent {
		return nil // there is nothing to compare it with
	}
	was, err := r.snapshot.content(copies[0])
	if err != nil {
		return err
	}
	file := layout.Resolve(before.Path)
	is, _, err := pki.ReadFile(file)
	if err != nil {
		return fmt.Errorf("%s: %w", before.Path, err)
	}
	repaired, err := compareKubeconfigs(was, is)
	if err != nil {
		return fmt.Errorf("%s: %w", before.Path, err)
	}
	if repaired == nil {
		return nil
	}
	r.log.Warn("kubeadm had left only the first CA in a kubeconfig; it has all of them again",
		event(EventRepaired), zap.String("certificate", before.Name), zap.String("path", before.Path))
	// In place, like all that a container may have mounted.
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(repaired, 0)
	if err == nil {
		err = f.Truncate(int64(len(repaired)))
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// keepOwner gives a file the owner and mode that it had.
func (r *run) keepOwner(file string, was Copied) error {
	if was.Absent {
		return nil
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if info.Mode().Perm() == was.Mode && (!ok || (owner.Uid == was.UID && owner.Gid == was.GID)) {
		return nil
	}
	r.log.Warn("owner and mode are as before again", event(EventRepaired), zap.String("path", was.Path),
		zap.String("mode", was.Mode.String()), zap.Uint32("uid", was.UID), zap.Uint32("gid", was.GID))
	return errors.Join(os.Chown(file, int(was.UID), int(was.GID)), os.Chmod(file, was.Mode))
}

// syncFile returns when a file and its name are on disk.
func syncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close(), syncDir(filepath.Dir(name)))
}
