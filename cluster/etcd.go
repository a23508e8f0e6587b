package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
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

// Membership is who shares this node's etcd.
type Membership struct {
	// Self is this member's name.
	Self string
	// Peers are the other members, in the order in which etcd lists them.
	Peers []Member
}

// Member is another member of this node's etcd.
type Member struct {
	Name string
	// Hosts are those at which it serves its clients.
	Hosts []string
	// Problem is why it cannot be relied on: it does not answer, it is a learner, it is
	// behind, it reports errors. Empty when it can.
	Problem string
}

// Members asks every member how it is. An error means that the local member itself could
// not be asked, or that there is no quorum (ErrNoQuorum).
func (e Etcd) Members(ctx context.Context) (Membership, error) {
	ctx, cancel := context.WithTimeout(ctx, etcdDeadline)
	defer cancel()
	client, err := e.dial(e.Endpoint)
	if err != nil {
		return Membership{}, err
	}
	defer func() { _ = client.Close() }()
	self, err := client.Status(ctx, e.Endpoint)
	if err != nil {
		return Membership{}, fmt.Errorf("etcd does not answer on %s: %w", e.Endpoint, err)
	}
	if self.Leader == 0 {
		return Membership{}, fmt.Errorf("%w: etcd on %s has no leader", ErrNoQuorum, e.Endpoint)
	}
	if len(self.Errors) > 0 {
		return Membership{}, fmt.Errorf("etcd on %s reports: %v", e.Endpoint, self.Errors)
	}
	// MemberList is answered only with a quorum (linearizable since etcd 3.5).
	list, err := client.MemberList(ctx)
	if err != nil {
		return Membership{}, e.whether(ctx, client, fmt.Errorf("etcd on %s does not list its members, which takes a quorum: %w", e.Endpoint, err))
	}
	var all Membership
	for _, member := range list.Members {
		if member.ID == self.Header.MemberId {
			all.Self = member.Name
			if member.IsLearner {
				return Membership{}, fmt.Errorf("etcd on %s is a learner that has not caught up", e.Endpoint)
			}
			continue
		}
		m := Member{Name: member.Name, Hosts: hosts(member.ClientURLs)}
		switch {
		case m.Name == "" || len(member.ClientURLs) == 0:
			m.Name = fmt.Sprintf("%x", member.ID)
			m.Problem = "was added and has never started"
		case member.IsLearner:
			m.Problem = "is a learner that has not caught up"
		default:
			if err := e.healthy(ctx, member.ClientURLs, self); err != nil {
				m.Problem = err.Error()
			}
		}
		all.Peers = append(all.Peers, m)
	}
	return all, nil
}

// Peers names the other members, and says of each that cannot be relied on why.
func (e Etcd) Peers(ctx context.Context) (peers []string, unhealthy map[string]string, err error) {
	all, err := e.Members(ctx)
	if err != nil {
		return nil, nil, err
	}
	unhealthy = map[string]string{}
	for _, m := range all.Peers {
		peers = append(peers, m.Name)
		if m.Problem != "" {
			unhealthy[m.Name] = m.Problem
		}
	}
	return peers, unhealthy, nil
}

// hosts are those of URLs.
func hosts(urls []string) []string {
	var list []string
	for _, text := range urls {
		if u, err := url.Parse(text); err == nil && u.Hostname() != "" && !slices.Contains(list, u.Hostname()) {
			list = append(list, u.Hostname())
		}
	}
	return list
}

// farBehind is how many entries of the log a member may have applied less than another.
// From 5,000 on etcd itself takes no more proposals (etcd: server/etcdserver/v3_server.go,
// maxGapBetweenApplyAndCommitIndex).
const farBehind = 5000

// healthy asks one member at the addresses it advertises, and compares it with this one,
// which was asked before.
func (e Etcd) healthy(ctx context.Context, urls []string, self *clientv3.StatusResponse) error {
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
		case status.RaftAppliedIndex+farBehind < self.RaftAppliedIndex:
			return fmt.Errorf("is %d entries behind", self.RaftAppliedIndex-status.RaftAppliedIndex)
		case self.RaftAppliedIndex+farBehind < status.RaftAppliedIndex:
			return fmt.Errorf("is %d entries ahead of this member, which has to catch up first", status.RaftAppliedIndex-self.RaftAppliedIndex)
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
