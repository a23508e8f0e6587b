package renew_test

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// copying makes a fake node refresh copies of admin.conf.
func copying(n *fakeNode, paths ...string) {
	n.Locate = func() (pki.Layout, []error) {
		return pki.Locate(pki.Options{Root: n.files.Root, Copies: paths})
	}
}

// mine is a kubeconfig as a person has it: admin.conf with a second context and remarks.
func mine(admin string) string {
	admin = strings.Replace(admin, "contexts:\n", "contexts:\n# the lab\n- name: lab\n  context: {cluster: lab, user: lab, namespace: \"x\"}\n", 1)
	admin = strings.Replace(admin, "clusters:\n", "clusters:\n- name: lab\n  cluster: {server: 'https://lab:6443'}\n", 1)
	return "# mine\n" + admin + "- name: lab\n  user:\n    token: abc # of the lab\n"
}

func credentials(t *testing.T, kubeconfig string) (certificate, key string) {
	t.Helper()
	_, rest, _ := strings.Cut(kubeconfig, "client-certificate-data: ")
	certificate, rest, _ = strings.Cut(rest, "\n")
	_, rest, found := strings.Cut(rest, "client-key-data: ")
	key, _, _ = strings.Cut(rest, "\n")
	if !found {
		t.Fatalf("no credentials in %q", kubeconfig)
	}
	return certificate, key
}

func file(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// After a renewal a copy has the new credentials, and everything else that it had: other
// contexts, remarks, owner and mode. One that holds another's is not touched.
func TestCopiesAreRefreshed(t *testing.T) {
	n := newFakeNode(t)
	copying(n, "/root/.kube/config", "/home/*/.kube/config")
	core, logs := observer.New(zap.InfoLevel)
	n.Log = zap.New(core)
	old := file(t, n.files.Certificate("admin.conf"))
	foreign := strings.ReplaceAll(mine(file(t, n.files.Certificate("scheduler.conf"))), "lab", "other")
	n.files.Write("/root/.kube/config", mine(old))
	n.files.Write("/home/a/.kube/config", mine(old))
	n.files.Write("/home/b/.kube/config", foreign)
	root, alice := n.files.Path("/root/.kube/config"), n.files.Path("/home/a/.kube/config")
	if os.Geteuid() == 0 {
		for _, name := range []string{alice, filepath.Dir(alice), filepath.Dir(filepath.Dir(alice))} {
			if err := os.Chown(name, 4711, 4712); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Chmod(alice, 0o640); err != nil {
		t.Fatal(err)
	}

	look := n.Look(t.Context(), renew.Wish{})
	if got := len(look.Plan.Copies); got != 2 {
		t.Fatalf("%d copies are planned, want 2: %+v", got, look.Plan.Copies)
	}
	id, _, err := n.Act(t.Context(), renew.Wish{}, "test")
	if err != nil {
		t.Fatal(err)
	}
	fresh := file(t, n.files.Certificate("admin.conf"))
	if fresh == old {
		t.Fatal("admin.conf was not renewed")
	}
	for _, name := range []string{root, alice} {
		oldCertificate, oldKey := credentials(t, old)
		newCertificate, newKey := credentials(t, fresh)
		want := strings.NewReplacer(oldCertificate, newCertificate, oldKey, newKey).Replace(mine(old))
		if diff := cmp.Diff(want, file(t, name)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
	if diff := cmp.Diff(foreign, file(t, n.files.Path("/home/b/.kube/config"))); diff != "" {
		t.Errorf("another's was touched:\n%s", diff)
	}
	info, err := os.Stat(alice)
	if err != nil {
		t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t); info.Mode() != 0o640 || (os.Geteuid() == 0 && (owner.Uid != 4711 || owner.Gid != 4712)) {
		t.Errorf("owner and mode are %d, %d, %s", owner.Uid, owner.Gid, info.Mode())
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(alice), ".config*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if got := logs.FilterField(zap.String("message_id", renew.EventCopied)).Len(); got != 2 {
		t.Errorf("the journal tells of %d copies, want 2", got)
	}
	if steps := record(t, n, id); !strings.Contains(steps, "end copy /root/.kube/config ;") {
		t.Errorf("the record has no step of it: %s", steps)
	}
	if again := n.Look(t.Context(), renew.Wish{}).Plan; again.Work() {
		t.Errorf("there is still something to do: %+v", again)
	}
}

func record(t *testing.T, n *fakeNode, id string) string {
	t.Helper()
	runs, err := n.State.History()
	if err != nil {
		t.Fatal(err)
	}
	var steps strings.Builder
	for _, r := range runs {
		for _, e := range r.Entries {
			if r.ID == id {
				fmt.Fprintf(&steps, "%s %s %s;", e.Event, e.Step, e.Error)
			}
		}
	}
	return steps.String()
}

// A copy that appears later with what was in admin.conf before is found by a look and
// refreshed, with nothing renewed or restarted for it; and so is one that failed.
func TestStaleCopyIsFoundByALook(t *testing.T) {
	n := newFakeNode(t)
	copying(n, "/root/.kube/config")
	old := file(t, n.files.Certificate("admin.conf"))
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "test"); err != nil {
		t.Fatal(err)
	}
	n.files.Write("/root/.kube/config", mine(old))
	n.files.Write("/root/.kube/config.lock", "")
	done := len(n.done())
	n.kubeletHealthy = func() error { return fmt.Errorf("sick: of no concern to a copy") }

	id, look, err := n.Act(t.Context(), renew.Wish{}, "test")
	if err != nil || len(look.Plan.Copies) != 1 || len(look.Plan.Renew)+len(look.Plan.Restart) > 0 {
		t.Fatalf("%v: %+v", err, look.Plan)
	}
	if steps := record(t, n, id); !strings.Contains(steps, "kubectl is writing it") || !strings.HasSuffix(steps, "end run ;") {
		t.Errorf("the record does not say that the copy alone failed: %s", steps)
	}
	plan := n.Look(t.Context(), renew.Wish{}).Plan
	if plan.Work() || !strings.Contains(plan.Notices.String(), "failed once and is tried again") || plan.Next.IsZero() {
		t.Errorf("what failed is not tried again later: %+v", plan)
	}
	n.files.Remove(n.files.Path("/root/.kube/config.lock"))
	n.later(2 * time.Minute)
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "test"); err != nil {
		t.Fatal(err)
	}
	got, _ := credentials(t, file(t, n.files.Path("/root/.kube/config")))
	if want, _ := credentials(t, file(t, n.files.Certificate("admin.conf"))); got != want {
		t.Error("it does not hold the new certificate")
	}
	if steps := n.done(); len(steps) != done {
		t.Errorf("something was done to the node for a copy: %v", steps[done:])
	}
}

// Each copy is shown with what it holds; only a configured one is touched.
func TestCopyVerdicts(t *testing.T) {
	n := newFakeNode(t)
	old := file(t, n.files.Certificate("admin.conf"))
	if _, _, err := n.Act(t.Context(), renew.Wish{}, "test"); err != nil {
		t.Fatal(err)
	}
	fresh := file(t, n.files.Certificate("admin.conf"))
	_, oldKey := credentials(t, old)
	_, freshKey := credentials(t, fresh)
	other := file(t, n.files.Certificate("scheduler.conf"))
	for name, row := range map[string]struct {
		content    string
		configured bool
		state      renew.CopyState
		refresh    bool
		reason     string
	}{
		"current":                 {fresh, true, renew.CopyCurrent, false, "holds the certificate of admin.conf"},
		"stale":                   {mine(old), true, renew.CopyStale, true, "was in admin.conf before"},
		"stale, not configured":   {old, false, renew.CopyStale, false, "if renew.copies names it"},
		"without its key":         {strings.Replace(old, "client-key-data: "+oldKey, "x: y", 1), true, renew.CopyStale, false, "the key of that certificate is not in it"},
		"with another key":        {strings.Replace(old, oldKey, freshKey, 1), true, renew.CopyStale, false, "the key of that certificate is not in it"},
		"foreign":                 {other, true, renew.CopyForeign, false, "no certificate that is or was"},
		"certificate elsewhere":   {file(t, n.files.Path("/etc/kubernetes/kubelet.conf")), true, renew.CopyForeign, false, "no certificate"},
		"empty":                   {"", true, renew.CopyForeign, false, "no certificate"},
		"no YAML":                 {"{", true, renew.CopyUnreadable, false, "no YAML"},
		"missing":                 {"-", true, renew.CopyMissing, false, "no such file"},
		"missing, not configured": {"-", false, "", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_ = os.Remove(n.files.Path("/root/.kube/config"))
			if row.content != "-" {
				n.files.Write("/root/.kube/config", row.content)
			}
			copying(n)
			if row.configured {
				copying(n, "/root/.kube/config")
			}
			look := n.Look(t.Context(), renew.Wish{})
			verdicts := look.Observation.Verdicts()
			if row.state == "" {
				if len(verdicts) > 0 {
					t.Errorf("got %+v, want none", verdicts)
				}
				return
			}
			if v := verdicts[0]; v.State != row.state || v.Refresh != row.refresh || !strings.Contains(v.Reason, row.reason) {
				t.Errorf("got %+v, want %s, refresh %t, %s", v, row.state, row.refresh, row.reason)
			}
			if got := len(look.Plan.Copies) == 1; got != row.refresh {
				t.Errorf("planned: %+v", look.Plan.Copies)
			}
		})
	}
	_ = os.Remove(n.files.Path("/root/.kube/config"))
	if err := os.Symlink("/etc/kubernetes/admin.conf", n.files.Path("/root/.kube/config")); err != nil {
		t.Fatal(err)
	}
	copying(n, "/root/.kube/config")
	if got := n.Look(t.Context(), renew.Wish{}).Observation.Copies; len(got) > 0 {
		t.Errorf("a link to admin.conf is no copy of it: %+v", got)
	}
}

// However a kubeconfig is written, it is given new credentials and nothing else.
func TestKubeconfigIsRewritten(t *testing.T) {
	n := newFakeNode(t)
	old, other := file(t, n.files.Certificate("admin.conf")), file(t, n.files.Certificate("scheduler.conf"))
	oldCertificate, oldKey := credentials(t, old)
	n.renewAgain("admin.conf")
	certificate, key := credentials(t, file(t, filepath.Join(n.dir, "new/admin.conf/etc/kubernetes/admin.conf")))
	json := fmt.Sprintf(`{"users": [{"name": "ü", "user": {"client-certificate-data": %q, "client-key-data": %q}}]}`, oldCertificate, oldKey)
	for name, content := range map[string]string{
		"as kubeadm writes it": old,
		"with more in it":      mine(old),
		"JSON":                 json,
		"quoted":               strings.Replace(old, oldKey, "'"+oldKey+"'", 1),
		"windows line ends":    strings.ReplaceAll(old, "\n", "\r\n"),
		"not ASCII":            "# für später\n" + json,
		"twice":                old + strings.ReplaceAll(old[strings.Index(old, "- name: user\n  user:"):], "name: user", "name: again"),
		"beside another":       old + strings.ReplaceAll(other[strings.Index(other, "- name: user\n  user:"):], "name: user", "name: again"),
	} {
		t.Run(name, func(t *testing.T) {
			got, users, err := renew.Rewrite([]byte(content), sha256Of(t, oldCertificate), certificate, key)
			if err != nil {
				t.Fatal(err)
			}
			want := strings.NewReplacer(oldCertificate, certificate, oldKey, key).Replace(content)
			if diff := cmp.Diff(want, string(got)); diff != "" || len(users) == 0 {
				t.Errorf("users %v (-want +got)\n%s", users, diff)
			}
		})
	}
	// Folded, it is written anew as a whole, with its comments.
	folded := "# mine\n" + strings.Replace(old, oldCertificate, ">-\n      "+oldCertificate, 1)
	got, _, err := renew.Rewrite([]byte(folded), sha256Of(t, oldCertificate), certificate, key)
	if err != nil || !strings.Contains(string(got), certificate) || !strings.HasPrefix(string(got), "# mine\n") || strings.Contains(string(got), oldKey) {
		t.Errorf("%v\n%s", err, got)
	}
	for name, content := range map[string]string{
		"another's":          other,
		"nothing":            "",
		"no users":           "users: {}",
		"half of a pair":     strings.Replace(old, "client-key-data: "+oldKey, "x: y", 1),
		"behind an anchor":   strings.Replace(old, oldKey, "&k "+oldKey, 1) + "- name: again\n  user: {client-key-data: *k, client-certificate-data: *c}\n",
		"the same key twice": strings.Replace(old, "client-key-data: ", "client-key-data: "+oldKey+"\n    client-key-data: ", 1),
	} {
		if got, _, err := renew.Rewrite([]byte(content), sha256Of(t, oldCertificate), certificate, key); err == nil {
			t.Errorf("%s: rewritten\n%s", name, got)
		} else if strings.Contains(err.Error(), oldKey[:30]) {
			t.Errorf("%s: the error shows a key: %v", name, err)
		}
	}
}

func sha256Of(t *testing.T, certificate string) string {
	t.Helper()
	content, err := base64.StdEncoding.DecodeString(certificate)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(content)
	return renew.Checksum(block.Bytes)
}
