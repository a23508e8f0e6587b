package pki_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/pki/pkitest"
)

// watched shows what a configuration that names these paths adds to a node, as
// "name state".
func watched(t *testing.T, n *pkitest.Node, paths ...string) []string {
	t.Helper()
	var list []string
	for _, c := range look(t, n, paths...).Read(now) {
		if !c.Watched || c.Renewer != pki.Nobody || c.Leaf != nil || c.Path == "" {
			t.Errorf("%s is not as a watched certificate should be: %+v", c.Name, c)
		}
		list = append(list, fmt.Sprintf("%s %s", c.Name, c.State))
	}
	return list
}

func look(t *testing.T, n *pkitest.Node, paths ...string) pki.Watch {
	t.Helper()
	l, problems := pki.Locate(pki.Options{Root: n.Root, Watch: paths})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return l.FindWatched()
}

// pems are a leaf of a year, its key, and a CA of ten years.
func pems(t *testing.T, n *pkitest.Node) (leaf, key, ca string) {
	t.Helper()
	return contentOf(t, n.Certificate("apiserver")), contentOf(t, n.Key("apiserver")), contentOf(t, n.Certificate("ca"))
}

func contentOf(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// What a file holds, found in a directory and named itself.
func TestWatchedFiles(t *testing.T) {
	n := pkitest.New(t, now)
	leaf, key, ca := pems(t, n)
	other := contentOf(t, n.Key("etcd-server"))
	short := contentOf(t, issued(n, "etcd-peer", 10*pkitest.Day))
	gone := contentOf(t, issued(n, "etcd-server", -pkitest.Day))
	admin := contentOf(t, n.Certificate("admin.conf"))
	for _, row := range []struct {
		name, content string
		found, named  string // states; empty is not shown
	}{
		{"leaf.crt", leaf, "ok", "ok"},
		{"expired.pem", gone, "expired", "expired"},
		{"with-key.pem", leaf + key, "ok", "ok"},
		{"key-first.pem", key + leaf, "ok", "ok"},
		{"foreign-key.pem", leaf + other, "invalid", "invalid"},
		{"chain.cer", leaf + ca, "ok", "ok"},
		{"kube.conf", admin, "ok", "ok"},
		{"der.cer", der(t, leaf), "ok", "ok"},
		{"torn.crt", leaf[:200], "invalid", "invalid"},
		{"mangled.crt", strings.Replace(leaf, "\nMII", "\nMIX", 1), "invalid", "invalid"},
		{"torn.conf", admin[:strings.Index(admin, "users:")] + "# client-certificate-data", "invalid", "invalid"},
		{"key.pem", key, "", "invalid"},
		{"nginx.conf", "server {}\n", "", "invalid"},
		{"empty.pem", "", "", "invalid"},
		{"token.conf", "users:\n- name: a\n  user: {token: x}\n", "", "invalid"},
		{"README.md", leaf, "", "ok"},
		{"huge.pem", leaf + strings.Repeat("#", 1<<20), "invalid", "invalid"},
		{"short.pem", short, "ok", "ok"}, // due is the policy's word
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := "/watch/" + row.name + ".d"
			file := dir + "/" + row.name
			n.Write(file, row.content)
			want := []string{file + " " + row.found}
			if row.found == "" {
				want = []string{dir + " missing"}
			}
			if diff := cmp.Diff(want, watched(t, n, dir)); diff != "" {
				t.Errorf("found in a directory (-want +got)\n%s", diff)
			}
			if diff := cmp.Diff([]string{file + " " + row.named}, watched(t, n, file)); diff != "" {
				t.Errorf("named itself (-want +got)\n%s", diff)
			}
		})
	}
}

func issued(n *pkitest.Node, name string, left time.Duration) string {
	n.Issue(name, now.Add(left-365*pkitest.Day), now.Add(left))
	return n.Certificate(name)
}

func der(t *testing.T, text string) string {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(text), "\n")
	content, err := base64.StdEncoding.DecodeString(strings.Join(lines[1:len(lines)-1], ""))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// Of a bundle the leaf is shown, and what ends before it; of CAs what ends first.
func TestWatchedBundles(t *testing.T) {
	n := pkitest.New(t, now)
	leaf, _, ca := pems(t, n)
	n.CA("etcd-ca", now, now.Add(50*pkitest.Day))
	early := contentOf(t, n.Certificate("etcd-ca"))
	type shown struct {
		name string
		left time.Duration
	}
	for name, row := range map[string]struct {
		content string
		want    []shown
	}{
		"chain":       {leaf + ca, []shown{{"", 365 * pkitest.Day}}},
		"short chain": {leaf + ca + early, []shown{{"", 365 * pkitest.Day}, {"#3", 50 * pkitest.Day}}},
		"CAs":         {ca + early, []shown{{"", 50 * pkitest.Day}}},
		"twice":       {leaf + leaf, []shown{{"", 365 * pkitest.Day}}},
	} {
		t.Run(name, func(t *testing.T) {
			n.Write("/watch/bundle.pem", row.content)
			var got []shown
			for _, c := range look(t, n, "/watch/bundle.pem").Read(now) {
				got = append(got, shown{strings.TrimPrefix(c.Name, "/watch/bundle.pem"), c.Remaining(now)})
			}
			if diff := cmp.Diff(row.want, got, cmp.AllowUnexported(shown{})); diff != "" {
				t.Error(diff)
			}
		})
	}
	n.Write("/watch/bundle.pem", ca+early)
	c := look(t, n, "/watch/bundle.pem").Read(now)[0]
	if want := "certificate 2 of 2 in it, CN=etcd-ca, expires in 50d"; !strings.HasPrefix(c.Reason, want) || c.Kind != pki.CA {
		t.Errorf("got %s: %s, want %s", c.Kind, c.Reason, want)
	}
}

// Directories are looked into, and nothing that lies there hangs or is seen twice.
func TestWatchedDirectories(t *testing.T) {
	n := pkitest.New(t, now)
	leaf, _, _ := pems(t, n)
	n.Write("/srv/tls/a.crt", leaf)
	n.Write("/srv/tls/deep/er/b.crt", leaf)
	n.Write("/srv/tls/.kube/config", contentOf(t, n.Certificate("admin.conf")))
	n.Write("/srv/elsewhere/c.crt", leaf)
	n.Write("/srv/tls/..2026/d.crt", leaf)
	for link, target := range map[string]string{
		"loop": "/srv/tls", "up": "..", "away.crt": "/srv/elsewhere/c.crt", "again.crt": "a.crt", "nowhere.crt": "/no/such",
		"self.crt": "self.crt", "..data": "..2026", "d.crt": "..data/d.crt", "elsewhere": "/srv/elsewhere",
	} {
		if err := os.Symlink(target, n.Path("/srv/tls/"+link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(n.Path("/srv/tls/pipe.pem"), 0o600); err != nil {
		t.Fatal(err)
	}
	deep := "/srv/tls" + strings.Repeat("/d", 17)
	n.Write(deep+"/z.crt", leaf)

	want := []string{"/srv/tls/.kube/config ok", "/srv/tls/a.crt ok", "/srv/tls/away.crt ok", "/srv/tls/d.crt ok",
		"/srv/tls/deep/er/b.crt ok", "/srv/tls" + strings.Repeat("/d", 16) + " invalid"}
	if diff := cmp.Diff(want, watched(t, n, "/srv/tls")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	directories := look(t, n, "/srv/tls").Directories
	for _, dir := range []string{"/srv/tls", "/srv/tls/deep/er", "/srv/elsewhere", "/srv/tls/..2026"} {
		if !slices.Contains(directories, n.Path(dir)) {
			t.Errorf("a change in %s would not be noticed: %v", dir, directories)
		}
	}
}

// What is named and is not there, or cannot be read, is said; the node's own are not
// shown twice.
func TestWatchedPaths(t *testing.T) {
	n := pkitest.New(t, now)
	leaf, _, _ := pems(t, n)
	n.Write("/home/a/.kube/config", contentOf(t, n.Certificate("admin.conf")))
	n.Write("/home/b/.kube/config", contentOf(t, n.Certificate("admin.conf")))
	n.Write("/srv/a.crt", leaf)
	n.Write("/empty/README", "")
	if err := syscall.Mkfifo(n.Path("/srv/pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/srv/a.crt", n.Path("/srv/b.crt")); err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct{ paths, want []string }{
		"missing":           {[]string{"/no/such/file.pem"}, []string{"/no/such/file.pem missing"}},
		"pattern":           {[]string{"/home/*/.kube/config"}, []string{"/home/a/.kube/config ok", "/home/b/.kube/config ok"}},
		"pattern of none":   {[]string{"/opt/*.pem"}, []string{"/opt/*.pem missing"}},
		"named and matched": {[]string{"/home/*/.kube/config", "/home/b/.kube/config"}, []string{"/home/a/.kube/config ok", "/home/b/.kube/config ok"}},
		"empty":             {[]string{"/empty"}, []string{"/empty missing"}},
		"a pipe":            {[]string{"/srv/pipe"}, []string{"/srv/pipe invalid"}},
		"both names":        {[]string{"/srv/a.crt", "/srv/b.crt"}, []string{"/srv/a.crt ok", "/srv/b.crt ok"}},
		"a file above":      {[]string{"/srv/a.crt/b"}, []string{"/srv/a.crt/b invalid"}},
		"the node's own":    {[]string{"/etc/kubernetes/pki", "/etc/kubernetes/admin.conf", "/srv/a.crt"}, []string{"/srv/a.crt ok"}},
		"nothing":           {nil, nil},
		"external certificate": {[]string{"/etc/kubernetes/kubelet-copy.conf"},
			[]string{"/etc/kubernetes/kubelet-copy.conf ok"}},
	} {
		t.Run(name, func(t *testing.T) {
			n.Write("/etc/kubernetes/kubelet-copy.conf", contentOf(t, n.Path("/etc/kubernetes/kubelet.conf")))
			if diff := cmp.Diff(row.want, watched(t, n, row.paths...)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	if got := look(t, n, "/no/such/file.pem").Directories; !slices.Contains(got, filepath.Join(n.Root, "no/such")) {
		t.Errorf("it would not be noticed when it comes: %v", got)
	}
	l, _ := pki.Locate(pki.Options{Root: n.Root, Watch: []string{"/srv"}})
	for _, c := range l.Read(now) {
		if c.Watched {
			t.Errorf("%s is among the node's own", c.Name)
		}
	}
}
