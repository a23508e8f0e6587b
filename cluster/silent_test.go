package cluster_test

import (
	"context"
	"net"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/cluster"
)

// silent is a server that takes every connection and never says a word, as an address
// that swallows packets looks once it has let a connection through, and as an API server
// does whose etcd is gone.
func silent(t *testing.T) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
		}
	}()
	return listener.Addr().String()
}

// Nobody who does not answer costs more than the deadline of the question, however many
// credentials there are to ask with.
func TestSilentServersCostNoMoreThanADeadline(t *testing.T) {
	t.Parallel()
	address := silent(t)
	server := httptest.NewTLSServer(nil) // for its certificate
	t.Cleanup(server.Close)
	config := kubeconfig(t, server, "https://"+address)
	api := cluster.API{Kubeconfigs: []string{config, config, config}, Address: address}
	ca := newAuthority(t, "kubernetes")
	certificate, key := ca.client(t, "client", time.Now().Add(time.Hour))
	etcd := cluster.Etcd{Endpoint: "https://" + address, Certificate: certificate, Key: key, CA: ca.file}
	const api3s, etcd5s = 3 * time.Second, 5 * time.Second
	for name, tt := range map[string]struct {
		deadline time.Duration
		ask      func(context.Context) error
	}{
		"the configuration": {api3s, func(ctx context.Context) error { _, err := api.Configuration(ctx); return err }},
		"a lease": {api3s, func(ctx context.Context) error {
			_, err := (&cluster.LeaderLease{API: api, Component: "kube-scheduler", Node: "cp1"}).Hold(ctx)
			return err
		}},
		"the kubelet through the API": {api3s, func(ctx context.Context) error { _, err := api.UseKubelet(ctx, "cp1"); return err }},
		"etcd through the API":        {api3s, func(ctx context.Context) error { _, err := api.UseEtcd(ctx); return err }},
		"an aggregated API":           {api3s, func(ctx context.Context) error { _, err := api.UseAggregated(ctx); return err }},
		"a kubeconfig":                {api3s, func(ctx context.Context) error { return cluster.TryKubeconfig(ctx, config, address) }},
		"the front proxy": {api3s, func(ctx context.Context) error {
			return cluster.TryFrontProxy(ctx, address, "kubernetes", ca.file, certificate, key)
		}},
		"the kubelet":       {api3s, func(ctx context.Context) error { return cluster.TryKubelet(ctx, address, certificate, key) }},
		"a client of etcd":  {api3s, etcd.Try},
		"the peers of etcd": {etcd5s, func(ctx context.Context) error { _, _, err := etcd.Peers(ctx); return err }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			err := tt.ask(t.Context())
			// A loaded machine may be late, but not by as much as a second deadline.
			if took := time.Since(began); err == nil || took > tt.deadline+tt.deadline*3/4 {
				t.Errorf("it took %s (%v), want an error after %s", took, err, tt.deadline)
			}
		})
	}
}
