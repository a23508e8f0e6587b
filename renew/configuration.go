package renew

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"sigs.k8s.io/yaml"

	"github.com/kubecertd/kubecertd/pki"
)

// configurationFile is the cluster's own ClusterConfiguration, remembered while
// the API server could be asked for it.
const configurationFile = "cluster-configuration.yaml"

// Remember asks the cluster for kubeadm's ClusterConfiguration and keeps it on
// disk, so that a renewal needs no API server. Nothing is lost when the cluster
// does not answer: what was remembered stays.
func (n *Node) Remember(ctx context.Context) error {
	fetched, err := n.Cluster.Configuration(ctx)
	if err != nil {
		return fmt.Errorf("cluster configuration: %w", err)
	}
	n.rememberServers(ctx)
	layout, _ := n.Locate()
	content, err := pinned(fetched, layout.CertificatesDir)
	if err != nil {
		return fmt.Errorf("cluster configuration (kube-system/kubeadm-config): %w", err)
	}
	content = append(header(layout.Read(n.Now()), "Remembered from the cluster (kube-system/kubeadm-config)"), content...)
	if old, err := os.ReadFile(n.State.path(configurationFile)); err == nil && bytes.Equal(old, content) {
		return nil
	}
	if err := n.State.write(configurationFile, content); err != nil {
		return fmt.Errorf("cluster configuration could not be remembered: %w", err)
	}
	n.Log.Info("cluster configuration remembered", event(EventConfiguration),
		zap.String("path", n.State.path(configurationFile)))
	return nil
}

// pinned is the configuration with this node's own certificate directory: the
// node's manifests are the truth about where its certificates lie.
func pinned(content []byte, certificatesDir string) ([]byte, error) {
	var configuration map[string]any
	if err := yaml.Unmarshal(content, &configuration); err != nil {
		return nil, err
	}
	if kind := configuration["kind"]; kind != "ClusterConfiguration" {
		return nil, fmt.Errorf("holds kind %v, not ClusterConfiguration", kind)
	}
	if version, _ := configuration["kubernetesVersion"].(string); version == "" {
		return nil, errors.New("has no kubernetesVersion, which kubeadm would look up on the internet")
	}
	if certificatesDir != "" {
		configuration["certificatesDir"] = certificatesDir
	}
	return yaml.Marshal(configuration)
}

// clusterConfig is what matters here of the remembered ClusterConfiguration.
type clusterConfig struct {
	// Path is the file.
	Path string
	// Algorithm of the keys that kubeadm makes, such as RSA-2048.
	Algorithm string
	// Validity of the leaves that kubeadm issues.
	Validity time.Duration
	// Caps says that the validity can be set, and a leaf so be kept from outliving its
	// CA: since v1beta4 (kubeadm: apis/kubeadm/v1beta4/types.go).
	Caps bool

	content map[string]any
}

// configuration is what kubeadm is given: what was remembered, or what was rebuilt.
func (n *Node) configuration() (clusterConfig, error) {
	layout, _ := n.Locate()
	certificates := layout.Read(n.Now())
	c, err := n.remembered(certificates)
	if err == nil {
		return c, nil
	}
	if rebuilt, impossible := n.readConfiguration(rebuiltFile, certificates); impossible == nil {
		return rebuilt, nil
	}
	return c, err
}

// remembered reads what was remembered.
func (n *Node) remembered(certificates []pki.Certificate) (clusterConfig, error) {
	return n.readConfiguration(configurationFile, certificates)
}

func (n *Node) readConfiguration(name string, certificates []pki.Certificate) (clusterConfig, error) {
	c := clusterConfig{Path: n.State.path(name), Algorithm: "RSA-2048", Validity: 365 * 24 * time.Hour}
	content, err := os.ReadFile(c.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, errors.New("the cluster configuration is not known: it was never read from the API server")
	}
	if err != nil {
		return c, fmt.Errorf("the remembered cluster configuration cannot be read: %w", err)
	}
	if _, err := pinned(content, ""); err != nil {
		return c, fmt.Errorf("the remembered cluster configuration %s is damaged: %w", c.Path, err)
	}
	ca, _ := Observation{Certificates: certificates}.Certificate("ca")
	if _, of := headed(content); of != "" && ca.SHA256 != "" && of != ca.SHA256 {
		return c, fmt.Errorf("the remembered cluster configuration %s is of another cluster: its CA was %.12s…, and %s is %.12s…", c.Path, of, ca.Path, ca.SHA256)
	}
	var fields struct {
		APIVersion   string          `json:"apiVersion"`
		Algorithm    string          `json:"encryptionAlgorithm"`
		Validity     string          `json:"certificateValidityPeriod"`
		FeatureGates map[string]bool `json:"featureGates"`
	}
	if err := errors.Join(yaml.Unmarshal(content, &fields), yaml.Unmarshal(content, &c.content)); err != nil {
		return c, fmt.Errorf("the remembered cluster configuration %s is damaged: %w", c.Path, err)
	}
	switch {
	case fields.Algorithm != "":
		c.Algorithm = fields.Algorithm
	case fields.FeatureGates["PublicKeysECDSA"]: // until v1beta3
		c.Algorithm = "ECDSA-P256"
	}
	if d, err := time.ParseDuration(fields.Validity); err == nil && d > 0 {
		c.Validity = d
	}
	_, version, _ := strings.Cut(fields.APIVersion, "/")
	c.Caps = !slices.Contains([]string{"v1beta1", "v1beta2", "v1beta3"}, version)
	return c, nil
}

// cappedFile is the configuration with which kubeadm issues leaves that end before
// their CA does.
const cappedFile = "cluster-configuration-capped.yaml"

// cappedBy is the configuration for a leaf of this CA: as it is, unless the leaf would
// outlive the CA, which kubeadm does not look at.
func (n *Node) cappedBy(c clusterConfig, ca pki.Certificate) (clusterConfig, error) {
	// What kubeadm needs to start comes on top of the time left.
	left := ca.NotAfter.Sub(n.Now()) - n.Kubeadm.Timeout
	if ca.Leaf == nil || !c.Caps || c.Validity <= left || left <= 0 {
		return c, nil
	}
	c.content["certificateValidityPeriod"] = left.Truncate(time.Second).String()
	content, err := yaml.Marshal(c.content)
	if err != nil {
		return c, err
	}
	if err := n.State.write(cappedFile, content); err != nil {
		return c, fmt.Errorf("configuration for a leaf that ends with its CA: %w", err)
	}
	c.Path = n.State.path(cappedFile)
	return c, nil
}
