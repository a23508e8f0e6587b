//go:build linux

package controlplane

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"strings"
	"text/template"
	"time"

	"github.com/kubecertd/kubecertd/test/lab/machine"
)

//go:embed node
var nodeFiles embed.FS

// place says where a file of the folder node goes.
type place struct {
	file string
	path string
	mode fs.FileMode
}

var places = []place{
	{"containerd.service", "/etc/systemd/system/containerd.service", 0o644},
	{"containerd.toml", "/etc/containerd/config.toml", 0o644},
	{"kubelet.service", "/usr/lib/systemd/system/kubelet.service", 0o644},
	{"10-kubeadm.conf", "/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf", 0o644},
	{"lab-prepare.service", "/etc/systemd/system/lab-prepare.service", 0o644},
	{"lab-prepare", "/usr/local/lib/lab-prepare", 0o755},
	{"journald.conf", "/etc/systemd/journald.conf.d/lab.conf", 0o644},
	{"system.conf", "/etc/systemd/system.conf.d/lab.conf", 0o644},
}

// enabled are the units that a node starts, by the target that wants them.
var enabled = map[string]string{
	"containerd.service":  "multi-user.target.wants",
	"kubelet.service":     "multi-user.target.wants",
	"lab-prepare.service": "sysinit.target.wants",
}

// masked are units that a control plane does not need, or that would reach
// for what is the host's.
var masked = []string{
	"apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer",
	"console-getty.service", "getty.target", "systemd-logind.service", "systemd-networkd.service",
	"systemd-resolved.service", "systemd-timesyncd.service", "systemd-update-utmp.service",
	"systemd-modules-load.service", "systemd-sysctl.service", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
}

// values fill the templates.
type values struct {
	Name, Address         string
	Kubernetes, Pause     string
	CgroupDriver          string
	SystemdCgroup         bool
	Validity              string // empty for kubeadm's own, as are the next two
	CertificatesDir       string
	Algorithm             string
	Token, CertificateKey string
	CAHash                string
}

// files are what makes a Debian a node of the lab.
func files(v values, hosts string) ([]machine.File, error) {
	out := []machine.File{
		{Path: "/etc/hostname", Text: v.Name + "\n"},
		{Path: "/etc/hosts", Text: hosts},
		{Path: "/etc/resolv.conf", Text: "# no name server: nothing leaves this machine\n"},
		{Path: "/etc/machine-id", Text: randomHex(16) + "\n"},
	}
	for _, p := range places {
		text, err := render(p.file, v)
		if err != nil {
			return nil, err
		}
		out = append(out, machine.File{Path: p.path, Text: text, Mode: p.mode})
	}
	const units = "/etc/systemd/system/"
	for unit, wants := range enabled {
		target := units + unit
		if unit == "kubelet.service" {
			target = "/usr/lib/systemd/system/" + unit
		}
		out = append(out, machine.File{Path: units + wants + "/" + unit, Link: target})
	}
	for _, unit := range masked {
		out = append(out, machine.File{Path: units + unit, Link: "/dev/null"})
	}
	return out, nil
}

func render(file string, v values) (string, error) {
	t, err := template.ParseFS(nodeFiles, "node/"+file)
	if err != nil {
		return "", fmt.Errorf("read the lab's own file %s: %w", file, err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, v); err != nil {
		return "", fmt.Errorf("fill in %s: %w", file, err)
	}
	return b.String(), nil
}

// hostsFile names every node, and the API server's name for all of them: a
// client that is refused by the first goes on to the next, as with a load
// balancer.
func hostsFile(nodes []string, address func(n int) string) string {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n")
	for i, name := range nodes {
		fmt.Fprintf(&b, "%s %s\n", address(i), name)
	}
	for i := range nodes {
		fmt.Fprintf(&b, "%s api\n", address(i))
	}
	return b.String()
}

// validity is d as kubeadm reads it; none means kubeadm's own, a year.
func validity(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}
