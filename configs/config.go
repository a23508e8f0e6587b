// Package configs is what an administrator can set: the configuration as users get
// it, and the only code that reads it.
//
// Values come from four places, each overriding the one before: the defaults, the
// file, the environment (KUBECERTD_RENEW_BEFORE for renew.before) and the flags
// (--renew-before). Loading has no side effects, and it is strict: what is not
// understood is refused, because a misspelled key in a file that guards
// certificates would otherwise be found out on the day they expire.
package configs

import (
	_ "embed"
	"time"
)

// File is where the configuration lies when the command line names no other. It
// may be missing.
const File = "/etc/kubecertd/kubecertd.yaml"

// Example is the configuration file as users get it: every key with its default
// and why one would change it.
//
//go:embed kubecertd.yaml
var Example string

// Config is the whole configuration. The mapstructure tags are the keys; durations
// are written as 90s, 1h30m or 30d.
type Config struct {
	Renew     Renew     `mapstructure:"renew"`
	Check     Check     `mapstructure:"check"`
	Clock     Clock     `mapstructure:"clock"`
	Watch     Watch     `mapstructure:"watch"`
	Restart   Restart   `mapstructure:"restart"`
	Cluster   Cluster   `mapstructure:"cluster"`
	Turn      Turn      `mapstructure:"turn"`
	Snapshots Snapshots `mapstructure:"snapshots"`
	Runtime   Runtime   `mapstructure:"runtime"`
	Kubelet   Kubelet   `mapstructure:"kubelet"`
	Paths     Paths     `mapstructure:"paths"`
	Node      Node      `mapstructure:"node"`
	Metrics   Metrics   `mapstructure:"metrics"`
	Hooks     Hooks     `mapstructure:"hooks"`
	Log       Log       `mapstructure:"log"`
	// Notify is who is told of events. Only the file can set it.
	Notify []Target `mapstructure:"-"`
}

// Renew says when certificates are renewed and with what.
type Renew struct {
	// Before is how long before its end a certificate is renewed.
	Before Threshold `mapstructure:"before"`
	// Critical is how near its end a certificate waits for nobody any more.
	Critical Threshold `mapstructure:"critical"`
	// Windows are the maintenance windows to which renewals and restarts are held while
	// nothing is critical; none means always.
	Windows List `mapstructure:"windows"`
	// Timezone is the IANA name of the zone by whose clock they open.
	Timezone string `mapstructure:"timezone"`
	// Kubeadm is the program, a path or a name looked up in PATH.
	Kubeadm string `mapstructure:"kubeadm"`
	// Timeout is the deadline of one `kubeadm certs renew NAME`.
	Timeout time.Duration `mapstructure:"timeout"`
	// Copies are paths and patterns of kubeconfigs into which admin.conf was copied.
	Copies List `mapstructure:"copies"`
}

// Check says when the daemon looks.
type Check struct {
	// Interval is the longest time between two looks.
	Interval time.Duration `mapstructure:"interval"`
	// Retry is the time to the next look after one that was blocked, never more than
	// Interval, and to the second attempt of what failed; it doubles from then on.
	Retry time.Duration `mapstructure:"retry"`
	// RetryLimit is the longest time to the next attempt of what keeps failing.
	RetryLimit time.Duration `mapstructure:"retryLimit"`
	// Settle is how long files must be quiet after a change before it is looked at.
	Settle time.Duration `mapstructure:"settle"`
}

// Clock says what is asked of the host's clock.
type Clock struct {
	// RequireSync holds back what is not critical while no time server keeps the clock.
	RequireSync bool `mapstructure:"requireSync"`
}

// Watch says what is looked at besides the node's own certificates, and never changed.
type Watch struct {
	// Files are files, directories and patterns of paths with certificates or
	// kubeconfigs in them.
	Files List `mapstructure:"files"`
}

// Restart says what is restarted, and how long each step of it may take.
type Restart struct {
	// Policy is always, auto or never.
	Policy string `mapstructure:"policy"`
	// Override is another policy for single components.
	Override Override `mapstructure:"override"`
	// Grace is how long each component has between SIGTERM and SIGKILL.
	Grace Grace `mapstructure:"grace"`
	// GraceAlone is kube-apiserver's grace on the only control-plane node. Parts of a
	// second count where the runtime is containerd.
	GraceAlone time.Duration `mapstructure:"graceAlone"`
	// ReleaseLeases gives up the leader lease of a stopped controller-manager or
	// scheduler for it.
	ReleaseLeases bool `mapstructure:"releaseLeases"`
	// Timeout is how long the kubelet may take to bring a container back.
	Timeout time.Duration `mapstructure:"timeout"`
	// Healthy is how long a container that is back may take to become healthy.
	Healthy time.Duration `mapstructure:"healthy"`
}

// Override is a restart policy for each component; empty means that of all.
type Override struct {
	Etcd              string `mapstructure:"etcd"`
	APIServer         string `mapstructure:"kube-apiserver"`
	ControllerManager string `mapstructure:"kube-controller-manager"`
	Scheduler         string `mapstructure:"kube-scheduler"`
	Kubelet           string `mapstructure:"kubelet"`
	// Others are static pods of others, by their names (pki.Holder.Name). Only the file
	// can set them.
	Others map[string]string `mapstructure:"-"`
}

// Grace is a time for each static pod, in whole seconds as CRI counts them.
type Grace struct {
	Etcd              time.Duration `mapstructure:"etcd"`
	APIServer         time.Duration `mapstructure:"kube-apiserver"`
	ControllerManager time.Duration `mapstructure:"kube-controller-manager"`
	Scheduler         time.Duration `mapstructure:"kube-scheduler"`
}

// Cluster says how the rest of the cluster is asked and seen.
type Cluster struct {
	// Kubeconfig is used for all that the API server is asked; empty means kubeadm's own.
	Kubeconfig string `mapstructure:"kubeconfig"`
	// Kured is the DaemonSet that holds kured's lock, as NAMESPACE/NAME; empty means that
	// nobody looks for it.
	Kured string `mapstructure:"kured"`
}

// Turn says how the control-plane nodes of a cluster take turns.
type Turn struct {
	// TwoMembers is accept or refuse: whether a member of an etcd of two is restarted.
	TwoMembers string `mapstructure:"twoMembers"`
}

// Snapshots says how long the copies of what runs changed are kept. The newest good
// one always is.
type Snapshots struct {
	Keep int `mapstructure:"keep"`
	// Age removes those that are older; 0 keeps them for ever.
	Age time.Duration `mapstructure:"age"`
}

// Runtime names the container runtime.
type Runtime struct {
	// Endpoint is the CRI socket; empty means the one that the kubelet uses.
	Endpoint string `mapstructure:"endpoint"`
}

// Kubelet names the kubelet's unit and the address of its health.
type Kubelet struct {
	Unit    string `mapstructure:"unit"`
	Healthz string `mapstructure:"healthz"`
	// Timeout is how long the kubelet may take to restart and become healthy.
	Timeout time.Duration `mapstructure:"timeout"`
	// ApproveServing approves what this node's own kubelet asks of the cluster for its
	// serving certificate, with serverTLSBootstrap.
	ApproveServing bool `mapstructure:"approveServing"`
}

// Paths says where things lie. All but Root are paths as seen under Root.
type Paths struct {
	// Root is the directory under which the node's file system is seen; empty means /.
	Root string `mapstructure:"root"`
	// Kubernetes holds the kubeconfigs and the manifests.
	Kubernetes string `mapstructure:"kubernetes"`
	// Certificates holds the PKI; empty means where kube-apiserver's manifest says.
	Certificates string `mapstructure:"certificates"`
	// Kubelet is the kubelet's own directory.
	Kubelet string `mapstructure:"kubelet"`
	// State is where run records and remembered facts are kept.
	State string `mapstructure:"state"`
}

// Node says what the cluster is told of this node.
type Node struct {
	// Condition writes condition CertificateProblem, and what `kubecertd fleet` reads.
	Condition bool `mapstructure:"condition"`
	// Events makes events of the node.
	Events bool `mapstructure:"events"`
}

// Metrics says where the metrics for Prometheus are given out.
type Metrics struct {
	// Listen is an address for Prometheus; empty listens nowhere.
	Listen string `mapstructure:"listen"`
	// WebConfig is a file of exporter-toolkit with TLS and users; empty is neither.
	WebConfig string `mapstructure:"webConfig"`
	// Textfile is a file for node_exporter's textfile collector; empty writes none.
	Textfile string `mapstructure:"textfile"`
	// X509 adds the metrics of x509-certificate-exporter.
	X509 bool `mapstructure:"x509"`
}

// Hooks are programs of the administrator's that a run calls.
type Hooks struct {
	// BeforeRenewal may keep a run from touching anything.
	BeforeRenewal List `mapstructure:"beforeRenewal"`
	// AfterProof is told how a run has ended.
	AfterProof List `mapstructure:"afterProof"`
	// Timeout is after what time one is killed.
	Timeout time.Duration `mapstructure:"timeout"`
}

// Log says what is logged and how.
type Log struct {
	// Level is debug, info, warn or error.
	Level string `mapstructure:"level"`
	// Format is auto, journal, console or json.
	Format string `mapstructure:"format"`
}

// Default is the configuration of a host without a file.
func Default() Config {
	return Config{
		Renew: Renew{
			Before:   Threshold{Before: 30 * day, Share: 0.33},
			Critical: Threshold{Before: 3 * day, Share: 0.1},
			Timezone: "UTC",
			Kubeadm:  "kubeadm",
			Timeout:  time.Minute,
		},
		Check: Check{Interval: time.Hour, Retry: time.Minute, RetryLimit: 4 * time.Hour, Settle: time.Second},
		Clock: Clock{RequireSync: true},
		Restart: Restart{
			Policy: "always",
			Grace: Grace{
				Etcd:              30 * time.Second,
				APIServer:         10 * time.Second,
				ControllerManager: 10 * time.Second,
				Scheduler:         10 * time.Second,
			},
			GraceAlone:    300 * time.Millisecond,
			ReleaseLeases: true,
			Timeout:       2 * time.Minute,
			Healthy:       4 * time.Minute,
		},
		Cluster:   Cluster{Kured: "kube-system/kured"},
		Turn:      Turn{TwoMembers: "accept"},
		Snapshots: Snapshots{Keep: 10, Age: 400 * day},
		Kubelet: Kubelet{
			Unit:    "kubelet.service",
			Healthz: "http://127.0.0.1:10248/healthz",
			Timeout: 90 * time.Second,
		},
		Paths: Paths{
			Kubernetes: "/etc/kubernetes",
			Kubelet:    "/var/lib/kubelet",
			State:      "/var/lib/kubecertd",
		},
		Node:  Node{Condition: true, Events: true},
		Hooks: Hooks{Timeout: time.Minute},
		Log:   Log{Level: "info", Format: "auto"},
	}
}
