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
	// Watch are further files, directories and patterns to look at.
	Watch []string
	// Cache remembers what they held, from one Layout to the next; nil remembers
	// nothing.
	Cache *Cache
	// Copies are paths and patterns of kubeconfigs that may be copies of admin.conf.
	Copies []string
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
	watch   []string
	cache   *Cache
	copies  []string
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

func parseKubeletConfig(content []byte) (kubeletConfig, error) {
	var c kubeletConfig
	if err := yaml.Unmarshal(content, &c); err != nil {
		return kubeletConfig{}, err
	}
	return c, nil
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
		watch:         o.Watch,
		cache:         o.Cache,
		copies:        o.Copies,
	}
	l.KubeletConfig = path.Join(l.KubeletDir, "config.yaml")
	l.KubeletKubeconfig = path.Join(l.KubernetesDir, "kubelet.conf")
	l.ManifestsDir = path.Join(l.KubernetesDir, "manifests")

	var problems []error
	if content, _, err := l.read(l.KubeletConfig); err == nil {
		if l.kubelet, err = l.cache.kubeletConfig(content); err != nil {
			problems = append(problems, fmt.Errorf("kubelet configuration %s: %w: defaults are used", l.KubeletConfig, err))
		}
		l.ManifestsDir = or(l.kubelet.StaticPodPath, l.ManifestsDir)
	} else if !errors.Is(err, fs.ErrNotExist) {
		problems = append(problems, fmt.Errorf("kubelet configuration %s: %w: defaults are used", l.KubeletConfig, err))
	}
	problems = append(problems, l.readManifests()...)

	l.ControlPlane, l.LocalEtcd = l.runs("kube-apiserver"), l.runs("etcd")
	l.CertificatesDir = or(o.CertificatesDir, l.certificatesDir())
	l.sources = l.list()
	return l, problems
}

// runs says whether a component is to run here. Where its manifest is, but cannot be
// read, it is: its certificates must not fall off the list with it.
func (l Layout) runs(component string) bool {
	_, read := l.Manifests[component]
	return read || l.exists(path.Join(l.ManifestsDir, component+".yaml"))
}

// certificatesDir is kubeadm's certificatesDir: where most of the files are that
// kubeadm has kube-apiserver take from there (kubeadm:
// phases/controlplane/manifests.go). Single ones may have been replaced by files of
// another's making.
func (l Layout) certificatesDir() string {
	best, count := path.Join(l.KubernetesDir, "pki"), map[string]int{}
	api := l.Manifests["kube-apiserver"]
	for _, flag := range []string{"tls-cert-file", "client-ca-file", "kubelet-client-certificate", "proxy-client-cert-file", "requestheader-client-ca-file"} {
		if file := api.file(flag, ""); file != "" {
			dir := path.Dir(file)
			if count[dir]++; count[dir] > count[best] {
				best = dir
			}
		}
	}
	return best
}

// readManifests reads the manifests that the kubelet would run: every file whose
// name does not begin with a dot (kubelet: config/file.go).
func (l *Layout) readManifests() []error {
	entries, err := os.ReadDir(l.follow(l.ManifestsDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return []error{fmt.Errorf("static pod manifests in %s: %w", l.ManifestsDir, unwrapPath(err))}
	}
	var problems []error
	taken := map[string]string{} // by pod, the file that counts
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		name := path.Join(l.ManifestsDir, e.Name())
		if err := l.readManifest(name, taken); err != nil {
			problems = append(problems, fmt.Errorf("static pod manifest %s: %w", name, err))
		}
	}
	return problems
}

// readManifest adds one manifest. Of two with a pod of the same name the one whose
// file is called after the pod counts, as kubeadm calls them, else the first.
func (l *Layout) readManifest(name string, taken map[string]string) error {
	content, _, err := l.read(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNoFile) {
		return nil // moved away since the listing; or nothing that the kubelet reads
	}
	if err != nil {
		return err
	}
	m, err := l.cache.manifest(name, content)
	if err != nil {
		return err
	}
	other, again := taken[m.Name]
	if !again || path.Base(name) == m.Name+".yaml" {
		l.Manifests[m.Name], taken[m.Name] = m, name
	}
	if again {
		return fmt.Errorf("is of pod %s, as %s is, and the kubelet may run either: move the copy out of the directory", m.Name, other)
	}
	return nil
}

// host is the path under the root.
func (l Layout) host(p string) string { return filepath.Join(l.Root, p) }

// read reads a file of the node.
func (l Layout) read(file string) (content []byte, info fs.FileInfo, err error) {
	return ReadFile(l.follow(file))
}

// MountedAlone says that a static pod mounts this very file, not a directory that it
// lies in. The container goes on seeing the old file when another is renamed over it.
func (l Layout) MountedAlone(file string) bool {
	for _, m := range l.Manifests {
		for _, c := range m.containers {
			if slices.ContainsFunc(c.paths, func(p mount) bool { return p.host == file }) {
				return true
			}
		}
	}
	return false
}

func (l Layout) exists(p string) bool {
	_, err := os.Stat(l.follow(p))
	return err == nil
}

// maxLinks is how many symbolic links are followed, as many as Linux follows
// (path_resolution(7)).
const maxLinks = 40

// follow is where a path of the node lies: under the root, and behind symbolic links
// on the way, whose absolute targets are the node's (kubelet-client-current.pem is
// one).
func (l Layout) follow(p string) string {
	if l.Root == "" || l.Root == "/" {
		return p // the kernel does the same
	}
	return l.Resolve(p)
}

// Resolve is where a path of the node really lies: under the root, and behind every
// link.
func (l Layout) Resolve(p string) string {
	done, links := "/", 0
	for rest := strings.Split(p, "/"); len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		next := path.Join(done, name) // "" and ".." too
		target, err := os.Readlink(l.host(next))
		if err != nil || links == maxLinks { // no link; or a loop of them, which shows on reading
			done = next
			continue
		}
		links++
		if path.IsAbs(target) {
			done = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return l.host(done)
}

// Directories are the directories in which a change of a certificate, kubeconfig
// or manifest shows, as paths under the root. They need not exist.
func (l Layout) Directories() []string {
	var dirs []string
	add := func(p string) {
		if dir := l.follow(p); !slices.Contains(dirs, dir) {
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
