package renew

import (
	"cmp"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/kubecertd/kubecertd/pki"
)

// identity is who this node is to kubeadm: what it would find out for itself when it is
// not told, by the default route and the host's name, whatever the cluster knows the node
// by.
type identity struct{ node, address, port string }

// whoIs reads it from where `kubeadm init` or `join` has written it.
func whoIs(layout pki.Layout, o Observation) (identity, error) {
	api, etcd := layout.Manifests[APIServer], layout.Manifests[Etcd]
	id := identity{port: "6443"}
	if c, _ := o.Certificate("kubelet-client"); c.Leaf != nil {
		id.node, _ = strings.CutPrefix(c.Leaf.Subject.CommonName, "system:node:")
	}
	if name, _ := etcd.Flag("name"); id.node == "" {
		id.node = name
	}
	for _, c := range o.Components {
		if name, ok := strings.CutPrefix(c.Pod, c.Name+"-"); ok && id.node == "" {
			id.node = name
		}
	}
	id.address, _ = api.Flag("advertise-address")
	if id.address == "" {
		id.address = firstAddress(etcd, "advertise-client-urls")
	}
	if port, ok := api.Flag("secure-port"); ok {
		id.port = port
	}
	switch {
	case id.node == "":
		return id, errors.New("the name of this node is not known: neither the kubelet's certificate nor etcd's manifest (--name) says it")
	case id.address == "":
		return id, fmt.Errorf("the address of this node is not known: no manifest in %s says it (--advertise-address)", layout.ManifestsDir)
	}
	return id, nil
}

// firstAddress is the first address in a flag's list of URLs that others could reach.
func firstAddress(m pki.Manifest, flag string) string {
	value, _ := m.Flag(flag)
	for _, address := range addresses(value) {
		if ip, err := netip.ParseAddr(address); err == nil && !ip.IsLoopback() && !ip.IsUnspecified() {
			return address
		}
	}
	return ""
}

// addresses are the addresses in a list of URLs.
func addresses(urls string) []string {
	var list []string
	for text := range strings.SplitSeq(urls, ",") {
		if u, err := url.Parse(text); err == nil && net.ParseIP(u.Hostname()) != nil {
			list = append(list, u.Hostname())
		}
	}
	return list
}

// altNames are names and addresses that a certificate is for.
type altNames struct{ dns, ips []string }

func (n *altNames) add(c pki.Certificate) {
	n.dns, n.ips = append(n.dns, c.DNSNames...), append(n.ips, c.IPs...)
}

// namesFor are the names that a serving certificate must have: what clients on this node
// and others are known to ask for, and what the one before had as far as a snapshot or a
// port still shows it.
func namesFor(layout pki.Layout, o Observation, certificate string) altNames {
	id, _ := whoIs(layout, o)
	api, etcd := layout.Manifests[APIServer], layout.Manifests[Etcd]
	var n altNames
	switch certificate {
	case "apiserver":
		n.dns = []string{id.node, "kubernetes", "kubernetes.default", "kubernetes.default.svc"}
		n.ips = []string{id.address}
		services, _ := api.Flag("service-cluster-ip-range")
		first, _, _ := strings.Cut(services, ",")
		if prefix, err := netip.ParsePrefix(first); err == nil {
			n.ips = append(n.ips, prefix.Masked().Addr().Next().String())
		}
	case "etcd-server", "etcd-peer":
		n.dns = []string{id.node, "localhost"}
		flag := map[string]string{"etcd-server": "advertise-client-urls", "etcd-peer": "initial-advertise-peer-urls"}[certificate]
		urls, _ := etcd.Flag(flag)
		n.ips = append(addresses(urls), "127.0.0.1")
	default:
		return n
	}
	before := knownBefore(o, certificate)
	n.dns, n.ips = append(n.dns, before.dns...), append(n.ips, before.ips...)
	slices.Sort(n.dns)
	slices.Sort(n.ips)
	return altNames{slices.Compact(n.dns), slices.Compact(n.ips)}
}

// knownBefore are the names that a damaged certificate had, by the newest copy of it and
// by what is still served of it.
func knownBefore(o Observation, certificate string) altNames {
	var n altNames
	for _, s := range o.Spares[certificate] {
		if s.Certificate.Leaf != nil {
			n.add(s.Certificate)
			break
		}
	}
	c, _ := o.Certificate(certificate)
	ca, _ := o.Certificate(c.CA)
	for _, s := range o.Served {
		if s.Endpoint.Certificate != certificate || s.Leaf == nil || ca.Leaf == nil || s.Leaf.CheckSignatureFrom(ca.Leaf) != nil {
			continue
		}
		n.dns = append(n.dns, s.Leaf.DNSNames...)
		for _, ip := range s.Leaf.IPAddresses {
			n.ips = append(n.ips, ip.String())
		}
	}
	return n
}

// forInit is a configuration with which kubeadm makes a certificate of this node in dir.
func forInit(cluster clusterConfig, layout pki.Layout, o Observation, certificate, dir string) ([]byte, error) {
	id, err := whoIs(layout, o)
	if err != nil {
		return nil, err
	}
	cluster.content["certificatesDir"] = dir
	before := knownBefore(o, certificate)
	where := map[string][]string{"apiserver": {"apiServer", "certSANs"}, "etcd-server": {"etcd", "local", "serverCertSANs"}, "etcd-peer": {"etcd", "local", "peerCertSANs"}}[certificate]
	if more := append(before.dns, before.ips...); where != nil && len(more) > 0 {
		extend(cluster.content, where, more)
	}
	first, err := yaml.Marshal(cluster.content)
	if err != nil {
		return nil, err
	}
	second, err := yaml.Marshal(map[string]any{
		"apiVersion":       cluster.content["apiVersion"],
		"kind":             "InitConfiguration",
		"localAPIEndpoint": map[string]any{"advertiseAddress": id.address, "bindPort": asNumber(id.port)},
		// The socket is not used here, but looked for when it is not given, and two are an
		// error (kubeadm: util/runtime/runtime.go).
		"nodeRegistration": map[string]any{"name": id.node, "criSocket": "unix:///run/containerd/containerd.sock"},
	})
	if err != nil {
		return nil, err
	}
	return slices.Concat(first, []byte("---\n"), second), nil
}

// extend adds to a list of a configuration what is not in it yet.
func extend(content map[string]any, path []string, more []string) {
	for _, key := range path[:len(path)-1] {
		next, ok := content[key].(map[string]any)
		if !ok {
			next = map[string]any{}
			content[key] = next
		}
		content = next
	}
	key := path[len(path)-1]
	list, _ := content[key].([]any)
	for _, name := range more {
		if !slices.Contains(list, any(name)) {
			list = append(list, name)
		}
	}
	content[key] = list
}

func asNumber(text string) int {
	var n int
	_, _ = fmt.Sscanf(text, "%d", &n) // 0 is kubeadm's default
	return n
}

// siblings are kubeconfigs whose API server is the same (kubeadm:
// phases/kubeconfig/kubeconfig.go: the one of this node for the components, the cluster's
// for people).
var siblings = map[string]string{
	"controller-manager.conf": "scheduler.conf", "scheduler.conf": "controller-manager.conf",
	adminConf: "super-admin.conf", "super-admin.conf": adminConf,
}

// completeKubeconfig gives a kubeconfig that kubeadm has made the API server that it
// had, where that is known, and every CA of ca.crt, of which kubeadm takes the first: while
// a CA is being replaced there are two.
func completeKubeconfig(layout, shop pki.Layout, o Observation, before, ca pki.Certificate) error {
	file := filepath.Join(shop.Root, before.Path)
	content, _, err := pki.ReadFile(file)
	if err != nil {
		return fmt.Errorf("kubeadm has ended without an error and not made it: %w", err)
	}
	made, err := parseGeneric(content)
	if err != nil || len(clusters(made)) != 1 {
		return errors.New("what kubeadm has made is no kubeconfig of one cluster")
	}
	server := ""
	for _, s := range o.Spares[before.Name] {
		server = cmp.Or(server, s.Certificate.Server)
	}
	sibling, _ := o.Certificate(siblings[before.Name])
	// A password in it was left out when it was read.
	if server = cmp.Or(server, sibling.Server); server != "" && !strings.Contains(server, "@") {
		clusters(made)[0]["server"] = server
	}
	authorities, _, err := pki.ReadFile(layout.Resolve(ca.Path))
	if err != nil {
		return fmt.Errorf("%s: %w", ca.Path, err)
	}
	if all := certificatesOf(authorities); len(blocks(base64.StdEncoding.EncodeToString(all))) > 1 {
		clusters(made)[0][caData] = base64.StdEncoding.EncodeToString(all)
	}
	if content, err = yaml.Marshal(made); err != nil {
		return errors.New("what kubeadm has made cannot be written as YAML again")
	}
	return os.WriteFile(file, content, 0o600)
}

// certificatesOf are the certificates of a PEM file, without what else is in it.
func certificatesOf(content []byte) []byte {
	var all []byte
	for {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil {
			return all
		}
		if block.Type == "CERTIFICATE" {
			all = append(all, pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})...)
		}
	}
}
