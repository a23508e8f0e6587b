package pki_test

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/pki/pkitest"
)

const (
	manifests = "/etc/kubernetes/manifests/"
	apiserver = manifests + "kube-apiserver.yaml"
)

// edit replaces text in a file of the node.
func edit(t *testing.T, n *pkitest.Node, file string, oldnew ...string) {
	t.Helper()
	content, err := os.ReadFile(n.Path(file))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(oldnew); i += 2 {
		if !strings.Contains(string(content), oldnew[i]) {
			t.Fatalf("%s does not say %q", file, oldnew[i])
		}
	}
	n.Write(file, strings.NewReplacer(oldnew...).Replace(string(content)))
}

// move moves a directory of the node.
func move(t *testing.T, n *pkitest.Node, from, to string) {
	t.Helper()
	if err := os.Rename(n.Path(from), n.Path(to)); err != nil {
		t.Fatal(err)
	}
}

// The manifests are the truth about where certificates are.
func TestLocateFollowsManifests(t *testing.T) {
	n := pkitest.New(t, now)
	move(t, n, "/etc/kubernetes/pki", "/etc/kubernetes/certs")
	for _, name := range []string{"kube-apiserver", "etcd"} {
		edit(t, n, manifests+name+".yaml", "/etc/kubernetes/pki", "/etc/kubernetes/certs")
	}
	for name, c := range read(t, n, now) {
		if c.State != pki.OK {
			t.Errorf("%s (%s) is %s: %s", name, c.Path, c.State, c.Reason)
		}
	}
	l, _ := pki.Locate(pki.Options{Root: n.Root})
	if l.CertificatesDir != "/etc/kubernetes/certs" {
		t.Errorf("certificates directory %s", l.CertificatesDir)
	}
	if !slices.Contains(l.Directories(), n.Path("/etc/kubernetes/certs/etcd")) {
		t.Errorf("watched: %q", l.Directories())
	}
}

// A container may see the directory at another path than the host.
func TestLocateMapsContainerPathsToTheHost(t *testing.T) {
	n := pkitest.New(t, now)
	edit(t, n, apiserver,
		"--tls-cert-file=/etc/kubernetes/pki/", "--tls-cert-file=/certs/",
		"--tls-private-key-file=/etc/kubernetes/pki/", "--tls-private-key-file=/certs/",
		"{mountPath: /etc/kubernetes/pki, name", "{mountPath: /certs, name")
	c := read(t, n, now)["apiserver"]
	if c.State != pki.OK || c.Path != "/etc/kubernetes/pki/apiserver.crt" {
		t.Errorf("apiserver (%s) is %s: %s", c.Path, c.State, c.Reason)
	}
}

// Flags may stand in args, and as two words.
func TestLocateReadsArgs(t *testing.T) {
	n := pkitest.New(t, now)
	edit(t, n, apiserver, "    - --secure-port=6443\n", "    args: [--secure-port, \"7443\"]\n    env:\n")
	edit(t, n, apiserver, "    env:\n    - --tls-cert-file=/etc/kubernetes/pki/apiserver.crt\n    - --tls-private-key-file=/etc/kubernetes/pki/apiserver.key\n", "")
	l, problems := pki.Locate(pki.Options{Root: n.Root})
	if got := l.Address("kube-apiserver"); got != "127.0.0.1:7443" || len(problems) > 0 {
		t.Errorf("address %s, problems %v", got, problems)
	}
}

// A manifest that cannot be read takes no certificate off the list: a node that
// was a control plane a minute ago is still one, and its certificates run out all
// the same.
func TestLocateOneBrokenManifest(t *testing.T) {
	for _, component := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		for name, content := range map[string]string{"empty": "", "no YAML": "{", "another kind": "kind: Service\n", "no containers": "kind: Pod\n"} {
			n := pkitest.New(t, now)
			n.Write(manifests+component+".yaml", content)
			l, problems := pki.Locate(pki.Options{Root: n.Root})
			if len(problems) != 1 || !strings.Contains(problems[0].Error(), manifests+component+".yaml") {
				t.Errorf("%s %s: problems %v, want one that names the file", component, name, problems)
			}
			if !l.ControlPlane || !l.LocalEtcd {
				t.Errorf("%s %s: control plane %v, local etcd %v", component, name, l.ControlPlane, l.LocalEtcd)
			}
			certificates := l.Read(now)
			if len(certificates) != 16 {
				t.Errorf("%s %s: %d certificates, want all 16", component, name, len(certificates))
			}
			for _, c := range certificates {
				if c.State != pki.OK || (c.Renewer == pki.Nobody) != (c.Kind == pki.CA) || (c.Renewer == pki.Restart) != (c.Name == "kubelet-server") {
					t.Errorf("%s %s: %s is %s, renewed by %s: %s", component, name, c.Name, c.State, c.Renewer, c.Reason)
				}
			}
		}
	}
}

// The kubelet runs whatever lies there, a forgotten copy too; which of the two pods
// of one name then runs is chance (kubernetes.io: tasks/configure-pod-container/static-pod).
func TestLocateCopyOfManifest(t *testing.T) {
	n := pkitest.New(t, now)
	content, err := os.ReadFile(n.Path(apiserver))
	if err != nil {
		t.Fatal(err)
	}
	n.Write(apiserver+".old", strings.ReplaceAll(string(content), "--secure-port=6443", "--secure-port=7443"))
	l, problems := pki.Locate(pki.Options{Root: n.Root})
	if len(problems) != 1 || !strings.Contains(problems[0].Error(), apiserver+".old") {
		t.Errorf("problems %v, want one that names the copy", problems)
	}
	if got := l.Address("kube-apiserver"); got != "127.0.0.1:6443" {
		t.Errorf("the copy counts: %s", got)
	}
}

// The kubelet passes over what is no file (kubelet: config/file.go).
func TestLocateNoFileAmongManifests(t *testing.T) {
	n := pkitest.New(t, now)
	if err := os.Symlink("/etc/kubernetes/pki", n.Path(manifests+"linked")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(n.Path(manifests+"fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, problems := pki.Locate(pki.Options{Root: n.Root}); len(problems) > 0 || len(l.Manifests) != 4 {
		t.Errorf("problems %v, manifests %d", problems, len(l.Manifests))
	}
}

// A directory that is a link with an absolute target is the node's, not the host's
// that looks at it.
func TestLocateLinkedDirectory(t *testing.T) {
	n := pkitest.New(t, now)
	if err := os.MkdirAll(n.Path("/data/kubernetes"), 0o755); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"/etc/kubernetes/pki": "/data/kubernetes/pki", "/etc/kubernetes/manifests": "/data/kubernetes/manifests"} {
		move(t, n, link, target)
		if err := os.Symlink(target, n.Path(link)); err != nil {
			t.Fatal(err)
		}
	}
	certificates := read(t, n, now)
	if len(certificates) != 16 {
		t.Errorf("%d certificates, want 16", len(certificates))
	}
	for name, c := range certificates {
		if c.State != pki.OK || strings.HasPrefix(c.Path, "/data") {
			t.Errorf("%s (%s) is %s: %s", name, c.Path, c.State, c.Reason)
		}
	}
	l, _ := pki.Locate(pki.Options{Root: n.Root})
	if !slices.Contains(l.Directories(), n.Path("/data/kubernetes/pki")) {
		t.Errorf("watched: %q, want where the files are written", l.Directories())
	}
	if err := os.Symlink("loop", n.Path("/etc/kubernetes/loop")); err != nil {
		t.Fatal(err)
	}
	edit(t, n, "/data/kubernetes/manifests/kube-apiserver.yaml", "--tls-cert-file=/etc/kubernetes/pki/apiserver.crt", "--tls-cert-file=/etc/kubernetes/loop")
	if c := read(t, n, now)["apiserver"]; c.State != pki.Invalid {
		t.Errorf("a link to itself is %s: %s", c.State, c.Reason)
	}
}

// The kubelet passes over files whose name begins with a dot, and so do we.
func TestLocateHiddenManifest(t *testing.T) {
	n := pkitest.New(t, now)
	n.Write(manifests+".kube-scheduler.yaml.swp", "{")
	if _, problems := pki.Locate(pki.Options{Root: n.Root}); len(problems) > 0 {
		t.Errorf("problems %v", problems)
	}
}

func TestLocateKubelet(t *testing.T) {
	const config = "/var/lib/kubelet/config.yaml"
	t.Run("static pods elsewhere", func(t *testing.T) {
		n := pkitest.New(t, now)
		move(t, n, "/etc/kubernetes/manifests", "/etc/kubernetes/static")
		edit(t, n, config, "/etc/kubernetes/manifests", "/etc/kubernetes/static")
		if l, _ := pki.Locate(pki.Options{Root: n.Root}); !l.ControlPlane {
			t.Error("the API server's manifest was not found")
		}
	})
	t.Run("its own serving certificate", func(t *testing.T) {
		n := pkitest.New(t, now)
		n.Write(config, "tlsCertFile: /etc/kubernetes/pki/apiserver.crt\ntlsPrivateKeyFile: /etc/kubernetes/pki/apiserver.key\n")
		if c := read(t, n, now)["kubelet-server"]; c.Path != "/etc/kubernetes/pki/apiserver.crt" || c.State != pki.OK {
			t.Errorf("kubelet-server (%s) is %s: %s", c.Path, c.State, c.Reason)
		}
	})
	t.Run("serverTLSBootstrap before the certificate was approved", func(t *testing.T) {
		n := pkitest.New(t, now)
		n.Write(config, "serverTLSBootstrap: true\n")
		if c := read(t, n, now)["kubelet-server"]; c.State != pki.Missing || !c.Optional || c.Renewer != pki.Kubelet {
			t.Errorf("kubelet-server is listed: %+v", c)
		}
	})
	t.Run("a kubelet that has not signed its own yet", func(t *testing.T) {
		n := pkitest.New(t, now)
		n.Remove(n.Certificate("kubelet-server"))
		n.Remove(n.Key("kubelet-server"))
		if c, listed := read(t, n, now)["kubelet-server"]; listed {
			t.Errorf("kubelet-server is listed: %+v", c)
		}
	})
	t.Run("broken configuration", func(t *testing.T) {
		n := pkitest.New(t, now)
		n.Write(config, "{")
		_, problems := pki.Locate(pki.Options{Root: n.Root})
		if len(problems) != 1 || !strings.Contains(problems[0].Error(), config) {
			t.Errorf("problems %v", problems)
		}
	})
}

func TestLocateWorker(t *testing.T) {
	n := pkitest.New(t, now)
	for _, dir := range []string{"/etc/kubernetes/manifests", "/etc/kubernetes/pki/etcd"} {
		if err := os.RemoveAll(n.Path(dir)); err != nil {
			t.Fatal(err)
		}
	}
	n.Remove(n.Key("ca"))
	var names []string
	for _, c := range read(t, n, now) {
		names = append(names, c.Name)
		if c.State != pki.OK {
			t.Errorf("%s is %s: %s", c.Name, c.State, c.Reason)
		}
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"ca", "kubelet-client", "kubelet-server"}, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func TestLocateNothing(t *testing.T) {
	l, problems := pki.Locate(pki.Options{Root: t.TempDir()})
	if got := l.Read(now); len(problems) > 0 || len(got) > 0 || len(l.Endpoints()) > 0 {
		t.Errorf("an empty host has %v, %v, %v", problems, got, l.Endpoints())
	}
	if len(l.Directories()) == 0 {
		t.Error("nothing is watched, so a node that is made later would be found late")
	}
}

func TestEndpoints(t *testing.T) {
	n := pkitest.New(t, now)
	edit(t, n, manifests+"kube-scheduler.yaml", "--bind-address=127.0.0.1", "--bind-address=0.0.0.0")
	edit(t, n, apiserver, "--secure-port=6443", "--bind-address=192.0.2.11")
	l, _ := pki.Locate(pki.Options{Root: n.Root})
	got := map[string]string{}
	for _, e := range l.Endpoints() {
		got[e.Component+" "+e.Name] = e.Address + " " + e.ServerName + " " + e.Certificate
	}
	want := map[string]string{
		"kube-apiserver apiserver":                           "192.0.2.11:6443 kubernetes apiserver",
		"kube-apiserver apiserver-loopback":                  "192.0.2.11:6443 apiserver-loopback-client ",
		"kube-controller-manager controller-manager-serving": "127.0.0.1:10257  ",
		"kube-scheduler scheduler-serving":                   "127.0.0.1:10259  ",
		"etcd etcd-server":                                   "127.0.0.1:2379 localhost etcd-server",
		"etcd etcd-peer":                                     "127.0.0.2:2380  etcd-peer",
		"kubelet kubelet-server":                             "127.0.0.1:10250  kubelet-server",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("endpoints (-want +got):\n%s", diff)
	}
	for component, want := range map[string]string{
		"kube-apiserver": "https://192.0.2.11:6443/readyz", "etcd": "http://127.0.0.1:2381/health",
		"kube-scheduler": "https://127.0.0.1:10259/healthz", "kube-controller-manager": "https://127.0.0.1:10257/healthz", "kubelet": "",
	} {
		if got := l.HealthURL(component); got != want {
			t.Errorf("health of %s at %q, want %q", component, got, want)
		}
	}
}

// The serving certificate may be the operator's own; the rest stays kubeadm's.
func TestLocateForeignServingCertificate(t *testing.T) {
	n := pkitest.New(t, now)
	if err := os.MkdirAll(n.Path("/etc/ssl/ours"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{".crt", ".key"} {
		move(t, n, "/etc/kubernetes/pki/apiserver"+suffix, "/etc/ssl/ours/apiserver"+suffix)
	}
	edit(t, n, apiserver, "/etc/kubernetes/pki/apiserver.crt", "/etc/ssl/ours/apiserver.crt", "/etc/kubernetes/pki/apiserver.key", "/etc/ssl/ours/apiserver.key")
	for name, c := range read(t, n, now) {
		if c.State != pki.OK {
			t.Errorf("%s (%s) is %s: %s", name, c.Path, c.State, c.Reason)
		}
	}
}
