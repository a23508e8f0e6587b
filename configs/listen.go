package configs

import (
	"net"
	"path/filepath"
	"strconv"
	"strings"
)

// listen allows an address of this host. A name would be looked up, in a DNS that may be
// broken.
func (p *Problems) listen(key, address string) {
	if address == "" {
		return
	}
	const do = "write an address and a port, such as 127.0.0.1:9643, [::1]:9643, or :9643 for all addresses"
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		p.add(key, "must be an address with a port "+got(address), do)
		return
	}
	host, _, _ = strings.Cut(host, "%") // the zone of a link-local one
	if host != "" && host != "localhost" && net.ParseIP(host) == nil {
		p.add(key, "must be an address and no name "+got(address), do)
	}
	// The unit grants no capability for the ports below.
	if n, err := strconv.Atoi(port); err != nil || n < 1024 || n > 65535 {
		p.add(key, "must have a port between 1024 and 65535 "+got(address), do)
	}
}

// textfile allows what node_exporter reads: files in one directory that end in .prom.
func (p *Problems) textfile(key, path string) {
	if path != "" && (!filepath.IsAbs(path) || filepath.Ext(path) != ".prom" || filepath.Base(path) == ".prom" || strings.ContainsAny(path, "\x00\n")) {
		p.add(key, "must be the absolute path of a file that ends in .prom "+got(path),
			"write a file in the directory that node_exporter reads (--collector.textfile.directory), such as /var/lib/prometheus/node-exporter/kubecertd.prom")
	}
}
