package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Options are the operator's overrides. Zero values mean "find out".
type Options struct {
	// Root is put in front of every path, so that another file system than the
	// host's own can be looked at.
	Root string
	// KubernetesDir is /etc/kubernetes; kubeadm has no flag to change it.
	KubernetesDir string
	// CertificatesDir is kubeadm's certificatesDir; by default it is taken from
	// kube-apiserver's manifest.
	CertificatesDir string
	// KubeletDir is /var/lib/kubelet.
	KubeletDir string
}

// Layout says where the certificates of one node lie and where they are served.
// Its paths are those of the host, without the root.
type Layout struct {
	Root            string
	KubernetesDir   string
	CertificatesDir string
	ManifestsDir    string
	KubeletDir      string
	// KubeletConfig is the kubelet's configuration file, KubeletKubeconfig its
	// kubeconfig.
	KubeletConfig, KubeletKubeconfig string
	// ControlPlane says that this node has a kube-apiserver, LocalEtcd that it has an
	// etcd.
	ControlPlane, LocalEtcd bool
	// Manifests are the static pods by name.
	Manifests map[string]Manifest

	kubelet kubeletConfig
	sources []source
}

// kubeletConfig is what matters here of a KubeletConfiguration (kubelet.config.k8s.io/v1beta1).
type kubeletConfig struct {
	ServerTLSBootstrap bool   `json:"serverTLSBootstrap"`
	TLSCertFile        string `json:"tlsCertFile"`
	TLSPrivateKeyFile  string `json:"tlsPrivateKeyFile"`
	StaticPodPath      string `json:"staticPodPath"`
	Address            string `json:"address"`
	Port               int    `json:"port"`
}

// Locate finds out where everything is: from the manifests of the static pods and
// the kubelet's configuration, where the truth is, and from kubeadm's defaults
// otherwise. It never fails as a whole; what could not be read is said, and the
// default used.
func Locate(o Options) (Layout, []error) {
	l := Layout{
		Root:          o.Root,
		KubernetesDir: or(o.KubernetesDir, "/etc/kubernetes"),
		KubeletDir:    or(o.KubeletDir, "/var/lib/kubelet"),
		Manifests:     map[string]Manifest{},
	}
	l.KubeletConfig = path.Join(l.KubeletDir, "config.yaml")
	l.KubeletKubeconfig = path.Join(l.KubernetesDir, "kubelet.conf")
	l.ManifestsDir = path.Join(l.KubernetesDir, "manifests")

	var problems []error
	if content, err := readFile(l.host(l.KubeletConfig)); err == nil {
		if err := yaml.Unmarshal(content, &l.kubelet); err != nil {
			problems = append(problems, fmt.Errorf("kubelet configuration %s: %w: defaults are used", l.KubeletConfig, err))
		}
		l.ManifestsDir = or(l.kubelet.StaticPodPath, l.ManifestsDir)
	} else if !errors.Is(err, fs.ErrNotExist) {
		problems = append(problems, fmt.Errorf("kubelet configuration %s: %w: defaults are used", l.KubeletConfig, err))
	}
	problems = append(problems, l.readManifests()...)

	_, l.ControlPlane = l.Manifests["kube-apiserver"]
	_, l.LocalEtcd = l.Manifests["etcd"]
	l.CertificatesDir = o.CertificatesDir
	if l.CertificatesDir == "" {
		api := l.Manifests["kube-apiserver"]
		// The CA is always kubeadm's own; the serving certificate may be somebody else's.
		l.CertificatesDir = path.Dir(api.file("client-ca-file", path.Join(l.KubernetesDir, "pki", "ca.crt")))
	}
	l.sources = l.list()
	return l, problems
}

// readManifests reads the manifests that the kubelet would run: every file whose
// name does not begin with a dot (kubelet: config/file.go).
func (l *Layout) readManifests() []error {
	entries, err := os.ReadDir(l.host(l.ManifestsDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return []error{fmt.Errorf("static pod manifests: %w", err)}
	}
	var problems []error
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		name := path.Join(l.ManifestsDir, e.Name())
		content, err := readFile(l.host(name))
		if err == nil {
			var m Manifest
			if m, err = parseManifest(content); err == nil {
				l.Manifests[m.Name] = m
				continue
			}
		}
		if !errors.Is(err, fs.ErrNotExist) { // moved away between listing and reading
			problems = append(problems, fmt.Errorf("static pod manifest %s: %w", name, err))
		}
	}
	return problems
}

// host is the path under the root.
func (l Layout) host(p string) string { return filepath.Join(l.Root, p) }

// Directories are the directories in which a change of a certificate, kubeconfig
// or manifest shows, as paths under the root. They need not exist.
func (l Layout) Directories() []string {
	var dirs []string
	add := func(p string) {
		if dir := l.host(p); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	add(l.KubernetesDir)
	add(l.ManifestsDir)
	for _, s := range l.sources {
		add(path.Dir(s.path))
	}
	add(path.Join(l.KubeletDir, "pki"))
	return dirs
}

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}
