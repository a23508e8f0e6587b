package configs

import (
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// silent is the longest that one step may take without a sign of life: systemd
// restarts a daemon that gives none for WatchdogSec, ten minutes.
const silent = 2 * time.Minute

// Validate checks the values against each other and against what can work at all.
// The error is of type Problems and holds all that is wrong. Whether the threshold
// fits the certificates of a node is for the node to say (renew.Policy.Unfit).
func (c Config) Validate() error {
	var p Problems
	p.threshold("renew.before", c.Renew.Before)
	p.threshold("renew.critical", c.Renew.Critical)
	p.windows("renew.windows", c.Renew.Windows)
	p.zone("renew.timezone", c.Renew.Timezone)
	p.program("renew.kubeadm", c.Renew.Kubeadm)
	p.between("renew.timeout", c.Renew.Timeout, time.Second, silent)

	p.paths("renew.copies", c.Renew.Copies)

	p.between("check.interval", c.Check.Interval, time.Second, day)
	p.between("check.retry", c.Check.Retry, time.Second, day)
	p.between("check.retryLimit", c.Check.RetryLimit, time.Second, 7*day)
	if c.Check.RetryLimit < c.Check.Retry {
		p.add("check.retryLimit", fmt.Sprintf("is shorter than check.retry, %s (got %s)", FormatDuration(c.Check.Retry), FormatDuration(c.Check.RetryLimit)),
			"set it to more than that")
	}
	p.between("check.settle", c.Check.Settle, 0, time.Minute)

	p.paths("watch.files", c.Watch.Files)

	p.oneOf("restart.policy", c.Restart.Policy, "always", "auto", "never")
	for key, policy := range map[string]string{
		"etcd": c.Restart.Override.Etcd, "kube-apiserver": c.Restart.Override.APIServer, "kube-scheduler": c.Restart.Override.Scheduler,
		"kube-controller-manager": c.Restart.Override.ControllerManager, "kubelet": c.Restart.Override.Kubelet,
	} {
		if policy != "" {
			p.oneOf("restart.override."+key, policy, "always", "auto", "never")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Restart.Override.Others)) {
		p.oneOf(override+"."+name, c.Restart.Override.Others[name], "always", "auto", "never")
	}
	p.grace("restart.grace.etcd", c.Restart.Grace.Etcd)
	p.grace("restart.grace.kube-apiserver", c.Restart.Grace.APIServer)
	p.grace("restart.grace.kube-controller-manager", c.Restart.Grace.ControllerManager)
	p.grace("restart.grace.kube-scheduler", c.Restart.Grace.Scheduler)
	p.between("restart.graceAlone", c.Restart.GraceAlone, 100*time.Millisecond, silent)
	p.between("restart.timeout", c.Restart.Timeout, time.Second, time.Hour)
	p.between("restart.healthy", c.Restart.Healthy, time.Second, time.Hour)

	p.file("cluster.kubeconfig", c.Cluster.Kubeconfig, "to use kubeadm's own")
	p.object("cluster.kured", c.Cluster.Kured)
	p.oneOf("turn.twoMembers", c.Turn.TwoMembers, "accept", "refuse")

	if keep := c.Snapshots.Keep; keep < 1 || keep > 1000 {
		p.add("snapshots.keep", fmt.Sprintf("is out of range (got %d)", keep), "set it between 1 and 1000")
	}
	p.between("snapshots.age", c.Snapshots.Age, 0, 100*365*day)

	p.socket("runtime.endpoint", c.Runtime.Endpoint)

	if u := c.Kubelet.Unit; !strings.HasSuffix(u, ".service") || strings.ContainsAny(u, "/ \t\n") || u == ".service" {
		p.add("kubelet.unit", "must be the name of a systemd service "+got(u), "write it as systemctl shows it, such as kubelet.service")
	}
	p.address("kubelet.healthz", c.Kubelet.Healthz)
	p.between("kubelet.timeout", c.Kubelet.Timeout, time.Second, silent)

	p.directory("paths.root", c.Paths.Root, true)
	p.directory("paths.kubernetes", c.Paths.Kubernetes, false)
	p.directory("paths.certificates", c.Paths.Certificates, true)
	p.directory("paths.kubelet", c.Paths.Kubelet, false)
	p.directory("paths.state", c.Paths.State, false)
	// The kubelet takes every file there for a pod.
	if manifests := filepath.Join(c.Paths.Kubernetes, "manifests"); within(c.Paths.State, manifests) {
		p.add("paths.state", "must not lie in "+manifests+" "+got(c.Paths.State), "choose a directory of its own, such as "+Default().Paths.State)
	}

	p.listen("metrics.listen", c.Metrics.Listen)
	p.file("metrics.webConfig", c.Metrics.WebConfig, "for neither TLS nor users")
	if c.Metrics.WebConfig != "" && c.Metrics.Listen == "" {
		p.add("metrics.webConfig", "is for metrics.listen, which is empty "+got(c.Metrics.WebConfig), "set metrics.listen, or remove the line")
	}
	p.textfile("metrics.textfile", c.Metrics.Textfile)

	p.argv("hooks.beforeRenewal", c.Hooks.BeforeRenewal, false)
	p.argv("hooks.afterProof", c.Hooks.AfterProof, false)
	p.between("hooks.timeout", c.Hooks.Timeout, time.Second, silent)
	p.targets(c.Notify)

	p.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	p.oneOf("log.format", c.Log.Format, "auto", "journal", "console", "json")
	return p.err()
}

func (p *Problems) add(key, what, do string) {
	*p = append(*p, Problem{Key: key, What: what, Do: do})
}

func (p *Problems) threshold(key string, t Threshold) {
	inRange := t.Before >= 0 && t.Share >= 0 && t.Share < 1 // false for a share that is not a number
	if !inRange || (t.Before == 0 && t.Share == 0) {
		p.add(key, "must be more than nothing, and a share less than 100% (got "+t.String()+")", thresholdForms)
	}
}

func (p *Problems) between(key string, d, least, most time.Duration) {
	if d < least || d > most {
		p.add(key, fmt.Sprintf("is out of range (got %s)", FormatDuration(d)),
			fmt.Sprintf("set it between %s and %s", FormatDuration(least), FormatDuration(most)))
	}
}

// grace refuses what CRI cannot carry: it counts whole seconds, and 0 means SIGKILL
// at once (cri-api: StopContainerRequest.Timeout).
func (p *Problems) grace(key string, d time.Duration) {
	const least, most = time.Second, silent
	if d < least || d > most || d%time.Second != 0 {
		p.add(key, fmt.Sprintf("must be whole seconds (got %s)", FormatDuration(d)),
			fmt.Sprintf("set it between %s and %s", FormatDuration(least), FormatDuration(most)))
	}
}

func (p *Problems) program(key, name string) {
	const do = "write a path such as /usr/bin/kubeadm, or a name that is in PATH"
	switch {
	case name == "" || strings.ContainsAny(name, "\x00\n"):
		p.add(key, "must name a program "+got(name), do)
	case strings.Contains(name, "/") && !filepath.IsAbs(name):
		p.add(key, "must be an absolute path, for a daemon has no directory of its own "+got(name), do)
	case !strings.Contains(name, "/") && strings.ContainsAny(name, " \t"):
		p.add(key, "must be a program without arguments "+got(name), do)
	}
}

// socket allows what the kubelet allows on Linux
// (kubelet: cri-client/pkg/util/util_unix.go).
func (p *Problems) socket(key, endpoint string) {
	path := strings.TrimPrefix(endpoint, "unix://")
	if endpoint != "" && (!filepath.IsAbs(path) || path == "/") {
		p.add(key, "must be a unix socket "+got(endpoint), "write unix:///run/containerd/containerd.sock, or nothing to use the kubelet's")
	}
}

func (p *Problems) address(key, address string) {
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.User != nil {
		p.add(key, "must be the address of a health endpoint "+got(address), "write it as "+Default().Kubelet.Healthz)
	}
}

func (p *Problems) directory(key, path string, empty bool) {
	switch {
	case path == "" && empty:
	case path == "":
		p.add(key, "must name a directory "+got(path), "write an absolute path, or remove the line for its default")
	case !filepath.IsAbs(path) || strings.Contains(path, "\x00"):
		p.add(key, "must be an absolute path "+got(path), "begin it with /")
	case filepath.Clean(path) == "/" && key != "paths.root":
		p.add(key, "must not be the root directory "+got(path), "name the directory itself")
	}
}

// file allows one file, or none; nothing says what that is for.
func (p *Problems) file(key, path, nothing string) {
	if path != "" && (!filepath.IsAbs(path) || filepath.Clean(path) == "/" || strings.ContainsAny(path, "\x00\n*?[\\")) {
		p.add(key, "must be the absolute path of one file "+got(path), "write it in full, or nothing "+nothing)
	}
}

// object allows the names that an object in a namespace can have.
func (p *Problems) object(key, name string) {
	if name != "" && !objectName.MatchString(name) {
		p.add(key, "must be NAMESPACE/NAME "+got(name), "write it as kubectl shows it, such as "+Default().Cluster.Kured+", or nothing where there is none")
	}
}

var objectName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)

func (p *Problems) oneOf(key, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		p.add(key, "is not one of the words for it "+got(value), "write one of "+strings.Join(allowed, ", "))
	}
}

// within says whether path is dir or below it.
func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}
