package packaging_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// files are the files of every package with their modes; docs/ and the manual pages are
// added to them.
func files(t *testing.T, license, zsh string) []string {
	t.Helper()
	want := []string{
		"-rwxr-xr-x root/root /usr/bin/kubecertd",
		"-rw-r--r-- root/root /usr/lib/systemd/system/kubecertd.service",
		"-rw-r--r-- root/root /usr/lib/systemd/catalog/kubecertd.catalog",
		"-rw-r--r-- root/root /etc/kubecertd/kubecertd.yaml",
		"-rw-r--r-- root/root /usr/share/doc/kubecertd/README.md",
		"-rw-r--r-- root/root /usr/share/kubecertd/rbac.yaml",
		"-rw-r--r-- root/root /usr/share/bash-completion/completions/kubecertd",
		"-rw-r--r-- root/root /usr/share/fish/vendor_completions.d/kubecertd.fish",
		"-rw-r--r-- root/root " + zsh,
		"-rw-r--r-- root/root /usr/share/kubecertd/prometheus/kubecertd.rules.yaml",
		"-rw-r--r-- root/root /usr/share/kubecertd/grafana/kubecertd.json",
		"-rw-r--r-- root/root " + license,
	}
	docs, err := filepath.Glob("../docs/*.md")
	if err != nil || len(docs) == 0 {
		t.Fatalf("no documents in docs: %v", err)
	}
	for _, doc := range docs {
		want = append(want, "-rw-r--r-- root/root /usr/share/doc/kubecertd/"+filepath.Base(doc))
	}
	for _, page := range pages(t) {
		want = append(want, "-rw-r--r-- root/root /usr/share/man/"+filepath.Base(filepath.Dir(page))+"/"+filepath.Base(page))
	}
	slices.Sort(want)
	return want
}

func TestDeb(t *testing.T) {
	need(t, "dpkg-deb")
	deb := built(t, "deb", oldVersion, host)
	var got []string
	for _, line := range strings.Split(strings.TrimSpace(run(t, nil, "dpkg-deb", "--contents", deb)), "\n") {
		fields := strings.Fields(line) // mode owner size date time path
		mode, owner, path := fields[0], fields[1], strings.TrimPrefix(fields[5], ".")
		if mode[0] == 'd' {
			if mode != "drwxr-xr-x" || owner != "root/root" {
				t.Errorf("directory %s is %s of %s", path, mode, owner)
			}
			continue
		}
		got = append(got, mode+" "+owner+" "+path)
	}
	slices.Sort(got)
	if diff := cmp.Diff(files(t, "/usr/share/doc/kubecertd/copyright", "/usr/share/zsh/vendor-completions/_kubecertd"), got); diff != "" {
		t.Errorf("files (-want +got)\n%s", diff)
	}
	if got := run(t, nil, "dpkg-deb", "--info", deb, "conffiles"); got != "/etc/kubecertd/kubecertd.yaml\n" {
		t.Errorf("conffiles are %q", got)
	}
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		if diff := cmp.Diff(read(t, script+".sh"), run(t, nil, "dpkg-deb", "--info", deb, script)); diff != "" {
			t.Errorf("%s (-ours +packaged)\n%s", script, diff)
		}
	}
	for field, want := range map[string]string{"Package": "kubecertd", "Version": oldVersion, "Architecture": host,
		"Suggests": "kubeadm", "Depends": "", "Recommends": "", "Section": "admin"} {
		if got := strings.TrimSpace(run(t, nil, "dpkg-deb", "--field", deb, field)); got != want {
			t.Errorf("%s is %q, want %q", field, got, want)
		}
	}
	if got := strings.TrimSpace(run(t, nil, "dpkg-deb", "--field", built(t, "deb", oldVersion, "arm64"), "Architecture")); got != "arm64" {
		t.Errorf("the package for arm64 is for %q", got)
	}
}

func TestRpm(t *testing.T) {
	need(t, "rpm")
	rpm := built(t, "rpm", oldVersion, host)
	const format = `[%{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} %{FILENAMES} %{FILEFLAGS:fflags}\n]`
	flags := map[string]string{}
	var got []string
	for _, line := range strings.Split(strings.TrimSpace(run(t, nil, "rpm", "-qp", "--nosignature", "--qf", format, rpm)), "\n") {
		fields := strings.Fields(line)
		if fields[0][0] == 'd' {
			t.Errorf("the package owns the directory %s, which others may use too", fields[2])
			continue
		}
		got = append(got, strings.Join(fields[:3], " "))
		if len(fields) > 3 {
			flags[fields[2]] = fields[3]
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(files(t, "/usr/share/licenses/kubecertd/LICENSE", "/usr/share/zsh/site-functions/_kubecertd"), got); diff != "" {
		t.Errorf("files (-want +got)\n%s", diff)
	}
	// c: configuration, n: noreplace, l: license.
	for path, want := range map[string]string{"/etc/kubecertd/kubecertd.yaml": "cn", "/usr/share/licenses/kubecertd/LICENSE": "l", "/usr/bin/kubecertd": "", "/usr/lib/systemd/system/kubecertd.service": ""} {
		if flags[path] != want {
			t.Errorf("%s has the flags %q, want %q", path, flags[path], want)
		}
	}
	for tag, script := range map[string]string{"POSTIN": "postinst", "PREUN": "prerm", "POSTUN": "postrm"} {
		got := run(t, nil, "rpm", "-qp", "--nosignature", "--qf", "%{"+tag+"}", rpm)
		if diff := cmp.Diff(strings.TrimSpace(read(t, script+".sh")), strings.TrimSpace(got)); diff != "" {
			t.Errorf("%s (-ours +packaged)\n%s", script, diff)
		}
	}
	machine := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}
	for arch, name := range machine {
		got := run(t, nil, "rpm", "-qp", "--nosignature", "--qf", "%{NAME} %{VERSION} %{ARCH} %{LICENSE} %{BUILDHOST}", built(t, "rpm", oldVersion, arch))
		if want := "kubecertd " + oldVersion + " " + name + " Apache-2.0 localhost"; got != want {
			t.Errorf("the package for %s is %q, want %q", arch, got, want)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
