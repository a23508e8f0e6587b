package pki

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"
)

// KubeletClient is how the kubelet of this node comes by its client certificate. At its
// start it reads its kubeconfig, and does not go on when what it finds there has run out
// (kubelet: certificate/bootstrap/bootstrap.go). While it runs it rotates a file of its
// own (client-go: util/certificate/certificate_store.go), which kubeadm has the
// kubeconfig name. Where the certificate is in the kubeconfig itself, the two part.
type KubeletClient struct {
	Kubeconfig string `json:"kubeconfig"`
	// Damaged says why the kubeconfig cannot be used, whatever its certificate is;
	// empty when it can.
	Damaged string `json:"damaged,omitempty"`
	// Embedded says that the certificate is in the kubeconfig itself.
	Embedded bool `json:"embedded,omitempty"`
	// Rotating is the file that the kubelet rotates.
	Rotating Certificate `json:"rotating"`
	// Given says that kubecertd has written what is in that file (GivenMark), and the
	// kubelet has not rotated it since.
	Given bool `json:"given,omitempty"`
	// Bootstrap is the kubeconfig with which the kubelet can ask for a first certificate,
	// where there is one: kubeadm removes it once the node has joined.
	Bootstrap string `json:"bootstrap,omitempty"`
	// Override is the node's name as the kubelet was told it, Hostname the host's, in lower
	// case. kubeadm tells it where the two differ (kubeadm: phases/kubelet/flags.go).
	Override string `json:"override,omitempty"`
	Hostname string `json:"hostname,omitempty"`
}

// GivenMark begins a file with a client certificate that was given to the kubelet. What
// stands before the first PEM block is read by nobody, and the kubelet writes another
// file when it rotates.
const GivenMark = "# Given to the kubelet by kubecertd"

// rotatingName is the name of the file that the kubelet rotates, in its certificate
// directory.
const rotatingName = "kubelet-client-current.pem"

// kubeletClientOf says how the kubelet comes by its client certificate, given what was
// read of its kubeconfig.
func (l Layout) kubeletClientOf(c Certificate, authorities map[string]authority, now time.Time) *KubeletClient {
	k := &KubeletClient{Kubeconfig: l.KubeletKubeconfig, Hostname: l.hostname(), Override: l.hostnameOverride()}
	file := path.Join(l.KubeletDir, "pki", rotatingName)
	switch content, _, err := l.read(l.KubeletKubeconfig); {
	case errors.Is(err, fs.ErrNotExist):
		k.Damaged = "there is no such file"
	case err != nil:
		k.Damaged = "it cannot be read: " + unwrapPath(err).Error()
	default:
		conf, err := parseKubeconfig(content, path.Dir(l.KubeletKubeconfig))
		switch {
		case err != nil:
			k.Damaged = "it " + err.Error()
		case conf.server == "":
			k.Damaged = "it names no API server"
		case !conf.trusts(authorities[c.CA].trusted):
			k.Damaged = "it trusts another CA than this cluster's"
		}
		k.Embedded = len(conf.certificate) > 0
		if path.Base(conf.certificatePath) == rotatingName {
			file = conf.certificatePath // of a kubelet with a certificate directory of its own
		}
	}
	k.Rotating = l.readLeaf(source{name: c.Name, kind: PEM, renewer: Kubelet, path: file, key: file, ca: c.CA}, authorities, now)
	if content, _, err := l.read(file); err == nil {
		k.Given = bytes.HasPrefix(content, []byte(GivenMark))
	}
	if bootstrap := path.Join(l.KubernetesDir, "bootstrap-kubelet.conf"); l.exists(bootstrap) {
		k.Bootstrap = bootstrap
	}
	return k
}

// hostname is what the kubelet would call this node by itself (kubernetes:
// cmd/kubelet/app/server.go, pkg/util/node).
func (l Layout) hostname() string {
	name, err := "", error(nil)
	if l.Root == "" || l.Root == "/" {
		name, err = os.Hostname()
	} else {
		var content []byte
		content, _, err = l.read("/etc/hostname")
		name = string(content)
	}
	if err != nil {
		return ""
	}
	return strings.ToLower(strings.TrimSpace(name))
}

// hostnameOverride is the name that the kubelet was told, by kubeadm or by the operator in
// one of the files that the kubelet's unit of the packages reads.
func (l Layout) hostnameOverride() string {
	for _, file := range []string{"/etc/default/kubelet", "/etc/sysconfig/kubelet", path.Join(l.KubeletDir, "kubeadm-flags.env")} {
		content, _, err := l.read(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(content)) {
			if strings.HasPrefix(strings.TrimSpace(line), "#") {
				continue
			}
			_, after, found := strings.Cut(line, "--hostname-override")
			if !found {
				continue
			}
			fields := strings.FieldsFunc(after, func(r rune) bool { return strings.ContainsRune(" =\"'\t\r\n", r) })
			if len(fields) > 0 {
				return strings.ToLower(fields[0])
			}
		}
	}
	return ""
}
