package main

import (
	"context"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kubecertd/kubecertd/cluster"
	"github.com/kubecertd/kubecertd/configs"
	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// asking is how the API server is asked: by whom, and where.
type asking struct {
	locate     func() (pki.Layout, []error)
	kubeconfig string // what the configuration names; empty for kubeadm's own
	state      renew.State
}

// Kubeadm's kubeconfigs. What a node may do is enough for some of it.
const (
	adminConf      = "admin.conf"
	superAdminConf = "super-admin.conf"
	kubeletConf    = "kubelet.conf"
)

// api is the API with the kubeconfig that is configured, or with the first of these of
// kubeadm that works.
func (a asking) api(kubeconfigs ...string) cluster.API {
	layout, _ := a.locate()
	api := cluster.API{Address: apiServer(layout), Others: a.state.APIServers()}
	if a.kubeconfig != "" {
		kubeconfigs = []string{a.kubeconfig}
	}
	for _, name := range kubeconfigs {
		switch name {
		case adminConf, superAdminConf:
			name = path.Join(layout.KubernetesDir, name)
		case kubeletConf:
			name = layout.KubeletKubeconfig
		}
		api.Kubeconfigs = append(api.Kubeconfigs, filepath.Join(layout.Root, name))
	}
	return api
}

// Configuration is what kubeadm stored. Every node may read it.
func (a asking) Configuration(ctx context.Context) ([]byte, error) {
	return a.api(adminConf, kubeletConf).Configuration(ctx)
}

// APIServers are those of the cluster.
func (a asking) APIServers(ctx context.Context) ([]string, error) {
	return a.api(adminConf, superAdminConf).APIServers(ctx)
}

// neighbours are the control-plane nodes of the cluster.
type neighbours struct {
	asking
	kured string
}

func (n neighbours) Neighbours(ctx context.Context) (renew.Neighbours, error) {
	seen, err := n.api(adminConf, superAdminConf).Neighbours(ctx, n.kured)
	all := renew.Neighbours{KuredNonsense: seen.KuredNonsense, KuredSet: n.kured}
	for _, node := range seen.Nodes {
		all.Nodes = append(all.Nodes, renew.Neighbour(node))
	}
	for _, hold := range seen.Kured {
		all.Kured = append(all.Kured, renew.KuredHold(hold))
	}
	return all, err
}

// Mark is something that each node may do on its own.
func (n neighbours) Mark(ctx context.Context, node, text string) error {
	return n.api(adminConf, superAdminConf, kubeletConf).Mark(ctx, node, text)
}

// spread keeps this node apart from all others: those of other clusters have another CA,
// and those of its own another name, or at least another id.
func spread(root string, layout pki.Layout) renew.Spread {
	ca, _ := os.ReadFile(filepath.Join(root, layout.CertificatesDir, "ca.crt"))
	name, _ := os.Hostname()
	id, _ := os.ReadFile(filepath.Join(root, "/etc/machine-id"))
	return renew.NewSpread(string(ca), name+" "+strings.TrimSpace(string(id)))
}

// watched are the files that are only watched: what the administrator names, and the
// kubeconfig with which we ask, which nobody else would miss in time.
func watched(c configs.Config) []string {
	files := slices.Clone(c.Watch.Files)
	if c.Cluster.Kubeconfig != "" {
		files = append(files, c.Cluster.Kubeconfig)
	}
	return files
}

// remedies are what to do about files that are only watched, by path, where that is
// known.
func remedies(c configs.Config) map[string]string {
	file := c.Cluster.Kubeconfig
	if file == "" {
		return nil
	}
	return map[string]string{file: strings.NewReplacer("FILE", file, "CONFIG", filepath.Join(c.Paths.State, "cluster-configuration.yaml")).
		Replace("umask 077; kubeadm kubeconfig user --client-name kubecertd --config CONFIG >FILE.new && mv FILE.new FILE")}
}
