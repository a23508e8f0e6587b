package renew

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubecertd/kubecertd/pki"
)

// validate says what is wrong with what kubeadm wrote, given what was there
// before; nil when nothing is. That kubeadm ended well is no evidence: it does so
// too when it renewed nothing (kubeadm: cmd/certs.go).
func validate(before, after pki.Certificate) error {
	if after.State != pki.OK {
		return fmt.Errorf("%s is %s after the renewal: %s", after.Path, after.State, after.Reason)
	}
	if after.SHA256 == before.SHA256 {
		return fmt.Errorf("%s is unchanged on disk although kubeadm reported no error", after.Path)
	}
	if before.Leaf == nil {
		return nil
	}
	if !after.NotAfter.After(before.NotAfter) && before.State == pki.OK {
		return fmt.Errorf("%s: the new certificate ends %s, not later than the old one (%s): is certificateValidityPeriod in the cluster configuration as intended?",
			after.Path, after.NotAfter.UTC().Format(pki.TimeLayout), before.NotAfter.UTC().Format(pki.TimeLayout))
	}
	if after.Subject != before.Subject {
		return fmt.Errorf("%s: the subject changed from %q to %q", after.Path, before.Subject, after.Subject)
	}
	for _, lost := range []struct {
		what          string
		before, after []string
	}{
		{"DNS names", before.DNSNames, after.DNSNames},
		{"IP addresses", before.IPs, after.IPs},
		{"usages", before.Usages, after.Usages},
	} {
		if gone := minus(lost.before, lost.after); len(gone) > 0 {
			return fmt.Errorf("%s: the new certificate lost %s: %s", after.Path, lost.what, strings.Join(gone, ", "))
		}
	}
	return nil
}

func minus(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}
