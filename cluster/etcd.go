package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// Etcd is the etcd member on this node, asked with the node's own certificates
// and without the API server.
type Etcd struct {
	// Endpoint is the local member's client URL, such as "https://127.0.0.1:2379".
	Endpoint string
	// Certificate, Key and CA are PEM files that etcd accepts from a client
	// (kubeadm's etcd/healthcheck-client and etcd/ca).
	Certificate, Key, CA string
}

// etcdDeadline bounds all questions to etcd together, a member's own answer
// included.
const etcdDeadline = 5 * time.Second

// Peers names the voting members besides this one, and says of each that cannot be
// relied on why: it does not answer, it is a learner, it reports errors. An error
// means that the local member itself could not be asked.
func (e Etcd) Peers(ctx context.Context) (peers []string, unhealthy map[string]string, err error) {
	ctx, cancel := context.WithTimeout(ctx, etcdDeadline)
	defer cancel()
	client, err := e.dial(e.Endpoint)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = client.Close() }()
	self, err := client.Status(ctx, e.Endpoint)
	if err != nil {
		return nil, nil, fmt.Errorf("etcd does not answer on %s: %w", e.Endpoint, err)
	}
	if len(self.Errors) > 0 {
		return nil, nil, fmt.Errorf("etcd on %s reports: %v", e.Endpoint, self.Errors)
	}
	// MemberList is answered only with a quorum (linearizable since etcd 3.5).
	list, err := client.MemberList(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("etcd on %s does not list its members, which takes a quorum: %w", e.Endpoint, err)
	}
	unhealthy = map[string]string{}
	for _, member := range list.Members {
		if member.ID == self.Header.MemberId {
			continue
		}
		name := member.Name
		switch {
		case name == "" || len(member.ClientURLs) == 0:
			name = fmt.Sprintf("%x", member.ID)
			unhealthy[name] = "was added and has never started"
		case member.IsLearner:
			unhealthy[name] = "is a learner that has not caught up"
		default:
			if err := e.healthy(ctx, member.ClientURLs); err != nil {
				unhealthy[name] = err.Error()
			}
		}
		peers = append(peers, name)
	}
	return peers, unhealthy, nil
}

// healthy asks one member at the addresses it advertises.
func (e Etcd) healthy(ctx context.Context, urls []string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var failed []error
	for _, url := range urls {
		client, err := e.dial(url)
		if err != nil {
			return err
		}
		status, err := client.Status(ctx, url)
		_ = client.Close()
		switch {
		case err != nil:
			failed = append(failed, fmt.Errorf("does not answer on %s: %w", url, err))
		case len(status.Errors) > 0:
			return fmt.Errorf("reports %v", status.Errors)
		default:
			return nil
		}
	}
	return errors.Join(failed...)
}

func (e Etcd) dial(endpoint string) (*clientv3.Client, error) {
	pair, err := tls.LoadX509KeyPair(e.Certificate, e.Key)
	if err != nil {
		return nil, fmt.Errorf("etcd client certificate %s: %w", e.Certificate, err)
	}
	authorities, err := pool(e.CA)
	if err != nil {
		return nil, fmt.Errorf("etcd CA: %w", err)
	}
	return clientv3.New(clientv3.Config{
		Endpoints:   []string{endpoint},
		DialTimeout: 2 * time.Second,
		TLS:         &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: authorities, MinVersion: tls.VersionTLS12},
		Logger:      zap.NewNop(),
	})
}

// pool reads the CA certificates of a PEM file.
func pool(path string) (*x509.CertPool, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(content) {
		return nil, fmt.Errorf("%s holds no certificate", path)
	}
	return authorities, nil
}
