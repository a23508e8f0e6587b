package renew

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"sigs.k8s.io/yaml"

	"github.com/kubecertd/kubecertd/pki"
)

// rebuiltFile is a ClusterConfiguration made from what is on this node, for when the
// cluster's own was never read.
const rebuiltFile = "cluster-configuration-rebuilt.yaml"

// backdate is by how much kubeadm sets the start of what it issues back (kubeadm:
// constants.go, CertificateBackdate).
const backdate = 5 * time.Minute

// secureConfiguration makes sure that there is a ClusterConfiguration to give to this
// kubeadm: the cluster's own as it is now, else as it was remembered, else rebuilt.
// Without one kubeadm would fall back to its defaults, silently.
func (n *Node) secureConfiguration(ctx context.Context, kubeadm string) error {
	if n.ReadOnly {
		return n.configurationAtHand(ctx, kubeadm)
	}
	asked := n.Remember(ctx)
	layout, _ := n.Locate()
	certificates := layout.Read(n.Now())
	known, err := n.remembered(certificates)
	if err == nil {
		return n.keepAccepted(known, kubeadm)
	}
	if asked == nil {
		return err
	}
	content, impossible := rebuilt(layout, n.withSpares(certificates), kubeadm)
	if impossible != nil {
		return fmt.Errorf("%w; %w; it cannot be rebuilt from this node: %w", err, asked, impossible)
	}
	content = append(header(certificates, "Rebuilt from the static pods and certificates of this node"), content...)
	if old, readable := os.ReadFile(n.State.path(rebuiltFile)); readable == nil && string(old) == string(content) {
		return nil
	}
	if err := n.State.write(rebuiltFile, content); err != nil {
		return fmt.Errorf("rebuilt cluster configuration: %w", err)
	}
	n.Log.Warn("cluster configuration rebuilt from this node", event(EventConfiguration),
		zap.String("path", n.State.path(rebuiltFile)), zap.NamedError("remembered", err), zap.NamedError("asked", asked))
	return nil
}

// configurationAtHand says what secureConfiguration would, and writes nothing.
func (n *Node) configurationAtHand(ctx context.Context, kubeadm string) error {
	layout, _ := n.Locate()
	certificates := layout.Read(n.Now())
	_, err := n.remembered(certificates)
	if err == nil {
		return nil
	}
	_, impossible := rebuilt(layout, certificates, kubeadm)
	if impossible == nil {
		return nil
	}
	fetched, asked := n.Cluster.Configuration(ctx)
	if asked == nil {
		_, asked = pinned(fetched, layout.CertificatesDir)
	}
	if asked == nil {
		return nil
	}
	return fmt.Errorf("%w; cluster configuration: %w; it cannot be rebuilt from this node: %w", err, asked, impossible)
}

// keepAccepted raises the version in what was remembered when kubeadm has been upgraded
// beyond it: kubeadm refuses clusters that are more than one minor version older than
// itself (kubeadm: util/config/common.go), also for a renewal, which does not depend on
// it.
func (n *Node) keepAccepted(c clusterConfig, kubeadm string) error {
	version, _ := c.content["kubernetesVersion"].(string)
	cluster, ours := minor(version), minor(kubeadm)
	if cluster < 0 || ours < 0 || cluster >= ours-1 {
		return nil
	}
	old, err := os.ReadFile(c.Path)
	if err != nil {
		return err
	}
	comment, _ := headed(old)
	c.content["kubernetesVersion"] = kubeadm
	content, err := yaml.Marshal(c.content)
	if err != nil {
		return err
	}
	if err := n.State.write(configurationFile, append([]byte(comment), content...)); err != nil {
		return fmt.Errorf("cluster configuration for a newer kubeadm: %w", err)
	}
	n.Log.Info("the remembered cluster configuration has the version of kubeadm now, which refuses the one before", event(EventConfiguration),
		zap.String("path", c.Path), zap.String("version", kubeadm), zap.String("was", version))
	return nil
}

// minor is the minor version in "v1.36.3"; -1 when there is none.
func minor(version string) int {
	var n int
	if _, err := fmt.Sscanf(strings.TrimPrefix(version, "v"), "1.%d", &n); err != nil {
		return -1
	}
	return n
}

// header says in a remembered configuration of which cluster it is: one that was made
// anew on the same hosts has another CA.
func header(certificates []pki.Certificate, what string) []byte {
	ca, _ := Observation{Certificates: certificates}.Certificate("ca")
	if ca.SHA256 == "" {
		return nil
	}
	return []byte("# " + what + ".\n" + clusterMark + ca.SHA256 + "\n")
}

// clusterMark is in front of the SHA-256 of the cluster's CA.
const clusterMark = "# The cluster's CA: "

// headed are the comments at the beginning of a configuration, and the CA that they
// name; empty when they name none.
func headed(content []byte) (comments, ca string) {
	for line := range strings.Lines(string(content)) {
		if !strings.HasPrefix(line, "#") {
			break
		}
		comments += line
		if sum, ok := strings.CutPrefix(strings.TrimSpace(line), clusterMark); ok {
			ca = sum
		}
	}
	return comments, ca
}

// rebuilt is the ClusterConfiguration that would have made this node what it is, as far
// as the renewal of certificates depends on it: the certificate directory, an external
// etcd, the names of the API server, and algorithm and validity of the keys and
// certificates there are.
func rebuilt(layout pki.Layout, certificates []pki.Certificate, kubeadm string) ([]byte, error) {
	api, here := layout.Manifests["kube-apiserver"]
	if !here {
		return nil, fmt.Errorf("there is no manifest of kube-apiserver in %s", layout.ManifestsDir)
	}
	o := Observation{Certificates: certificates}
	serving, _ := o.Certificate("apiserver")
	like := serving.Leaf
	for _, other := range certificates {
		if like == nil && other.Kind == pki.PEM && other.Renewer == pki.Kubeadm {
			like = other.Leaf
		}
	}
	if like == nil {
		return nil, fmt.Errorf("%s is %s: %s; nor is there another certificate of this node to go by", serving.Path, serving.State, serving.Reason)
	}
	// Without it, what clients on this node ask for.
	names := append(append([]string{}, serving.DNSNames...), serving.IPs...)
	if serving.Leaf == nil {
		names = servers(certificates)
	}
	c := map[string]any{
		"kind":              "ClusterConfiguration",
		"apiVersion":        "kubeadm.k8s.io/" + apiVersion(minor(kubeadm)),
		"kubernetesVersion": kubeadm,
		"certificatesDir":   layout.CertificatesDir,
		"apiServer":         map[string]any{"certSANs": names},
	}
	if !layout.LocalEtcd {
		external := map[string]any{}
		if servers, ok := api.Flag("etcd-servers"); ok {
			external["endpoints"] = strings.Split(servers, ",")
		}
		for flag, field := range map[string]string{"etcd-cafile": "caFile", "etcd-certfile": "certFile", "etcd-keyfile": "keyFile"} {
			if file, ok := api.Flag(flag); ok {
				external[field] = api.HostPath(file)
			}
		}
		if external["endpoints"] == nil {
			return nil, errors.New("there is no etcd here, and kube-apiserver's manifest names none (--etcd-servers)")
		}
		c["etcd"] = map[string]any{"external": external}
	}
	if admin, ok := o.Certificate("admin.conf"); ok && admin.Server != "" {
		c["controlPlaneEndpoint"] = strings.TrimPrefix(admin.Server, "https://")
	}
	networking := map[string]any{}
	if services, ok := api.Flag("service-cluster-ip-range"); ok {
		networking["serviceSubnet"] = services
	}
	// The only place on a node where kubeadm writes the domain of services (kubeadm:
	// phases/controlplane/manifests.go).
	issuer, _ := api.Flag("service-account-issuer")
	if domain, ok := strings.CutPrefix(issuer, "https://kubernetes.default.svc."); ok {
		networking["dnsDomain"] = domain
	}
	if len(networking) > 0 {
		c["networking"] = networking
	}
	algorithm := keyAlgorithm(like)
	if minor(kubeadm) >= 31 {
		c["encryptionAlgorithm"] = algorithm
		c["certificateValidityPeriod"] = validityOf(certificates).String()
	} else if strings.HasPrefix(algorithm, "ECDSA") {
		c["featureGates"] = map[string]bool{"PublicKeysECDSA": true}
	}
	return yaml.Marshal(c)
}

// servers are the hosts that the kubeconfigs of this node name as API servers.
func servers(certificates []pki.Certificate) []string {
	var hosts []string
	for _, c := range certificates {
		if u, err := url.Parse(c.Server); err == nil && u.Hostname() != "" && !c.Watched && !slices.Contains(hosts, u.Hostname()) {
			hosts = append(hosts, u.Hostname())
		}
	}
	return hosts
}

// withSpares are the certificates with the newest copy in the place of each that cannot
// be read.
func (n *Node) withSpares(certificates []pki.Certificate) []pki.Certificate {
	o := Observation{At: n.Now(), Certificates: certificates}
	n.observeSpares(&o)
	list := slices.Clone(certificates)
	for i, c := range list {
		for _, s := range o.Spares[c.Name] {
			if list[i].Leaf == nil && s.Certificate.Leaf != nil {
				list[i] = s.Certificate
			}
		}
	}
	return list
}

// apiVersion is the newest version of ClusterConfiguration that kubeadm 1.minor has
// (kubeadm: apis/kubeadm; v1beta4 came with 1.31, v1beta3 with 1.22).
func apiVersion(minor int) string {
	switch {
	case minor >= 31:
		return "v1beta4"
	case minor >= 22:
		return "v1beta3"
	default:
		return "v1beta2"
	}
}

// validityOf is how long kubeadm issues certificates of this cluster for: as long as
// most of what it signed here, which it backdates by five minutes.
func validityOf(certificates []pki.Certificate) time.Duration {
	count, best := map[time.Duration]int{}, time.Duration(0)
	for _, c := range certificates {
		if c.Kind != pki.PEM || c.Renewer != pki.Kubeadm || c.Leaf == nil {
			continue
		}
		validity := c.NotAfter.Sub(c.NotBefore)
		if whole := validity - backdate; whole%time.Hour == 0 {
			validity = whole
		}
		if count[validity]++; count[validity] > count[best] || best == 0 {
			best = validity
		}
	}
	if best <= 0 {
		return 365 * 24 * time.Hour
	}
	return best
}
