package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"k8s.io/client-go/rest"
)

// What follows tries a renewed credential against what runs, before anything is
// stopped for it. Every function takes at most 3 s, and answers
//
//   - nil: the server accepted the credential;
//   - *RefusedError: it did not, and no restart will change that;
//   - any other error: it could not be tried, which says nothing of the credential.
//     The server is away, slow, broken, or is not who it should be.

// TryKubeconfig asks an API server who a kubeconfig's user is (SelfSubjectReview).
// address is as API.Address. What the user may do is not asked: 403 is an answer to
// somebody who was recognised.
func TryKubeconfig(ctx context.Context, kubeconfig, address string) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	config, err := API{Address: address}.config(kubeconfig)
	if err != nil {
		return &RefusedError{Err: err}
	}
	if config.ExecProvider != nil || config.AuthProvider != nil {
		return fmt.Errorf("the credential could not be tried: %s has it made by another program", kubeconfig)
	}
	server, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return &RefusedError{Err: fmt.Errorf("%s: %w", kubeconfig, err)}
	}
	security, err := rest.TLSConfigFor(config)
	if err == nil && security != nil && security.GetClientCertificate != nil {
		// Files that the kubeconfig names are otherwise read in the handshake, where
		// their faults look like the server's.
		_, err = security.GetClientCertificate(&tls.CertificateRequestInfo{})
	}
	if err != nil {
		return &RefusedError{Err: fmt.Errorf("%s: %w", kubeconfig, err)}
	}
	a := newAttempt("the API server at "+server.Host, server, security)
	a.transport.Proxy = config.Proxy
	if a.client.Transport, err = rest.HTTPWrappersForConfig(config, a.transport); err != nil {
		return &RefusedError{Err: fmt.Errorf("%s: %w", kubeconfig, err)}
	}
	_, err = a.review(ctx, nil)
	return err
}

// frontUser is who the front proxy's certificate is used to speak for.
const frontUser = "kubecertd-preflight"

// TryFrontProxy asks the API server at address ("127.0.0.1:6443"), which must prove
// with the CA file to be serverName, who the user of a request-header proxy with this
// client certificate is: what an aggregated API server asks of the API server's calls.
func TryFrontProxy(ctx context.Context, address, serverName, ca, certificate, key string) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	security, err := clientTLS(certificate, key)
	if err != nil {
		return err
	}
	server := "the API server at " + address
	if security.RootCAs, err = pool(ca); err != nil {
		return untried(server, err)
	}
	security.ServerName = serverName
	a := newAttempt(server, &url.URL{Scheme: "https", Host: address}, security)
	user, err := a.review(ctx, http.Header{"X-Remote-User": {frontUser}, "X-Remote-Group": {"system:authenticated"}})
	if err == nil && user != "" && user != frontUser {
		// A certificate of the cluster's CA is a user of its own, and no proxy.
		return &RefusedError{Server: server, Err: fmt.Errorf("it was taken for the user %q and not for the front proxy", user)}
	}
	return err
}

// TryKubelet asks the kubelet at address ("127.0.0.1:10250") for its health as the
// API server does for what it wants of it.
func TryKubelet(ctx context.Context, address, certificate, key string) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	security, err := clientTLS(certificate, key)
	if err != nil {
		return err
	}
	// kubeadm's kubelets sign their serving certificate themselves, so that there is
	// nothing to verify it with; the API server does not verify it either
	// (--kubelet-certificate-authority is not set). Nothing is believed of the answer
	// but whether it is 401, and a client certificate gives nothing away.
	security.InsecureSkipVerify = true
	a := newAttempt("the kubelet at "+address, &url.URL{Scheme: "https", Host: address}, security)
	answer, err := a.do(ctx, http.MethodGet, "/healthz", nil, nil)
	if err != nil {
		return err
	}
	return a.judge(answer)
}

// Try asks the member for its status, as who the certificate says.
func (e Etcd) Try(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	security, err := clientTLS(e.Certificate, e.Key)
	if err != nil {
		return err
	}
	endpoint, err := url.Parse(e.Endpoint)
	if err != nil || endpoint.Host == "" {
		return untried("etcd", fmt.Errorf("its endpoint %q is no URL", e.Endpoint))
	}
	server := "etcd at " + endpoint.Host
	if security.RootCAs, err = pool(e.CA); err != nil {
		return untried(server, err)
	}
	// Not etcd's own client, which tries again until the time is over and then
	// reports that it is.
	seen := &witness{}
	conn, err := grpc.NewClient("passthrough:///"+endpoint.Host,
		grpc.WithTransportCredentials(witnessed{credentials.NewTLS(security), seen}),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		}))
	if err != nil {
		return untried(server, err)
	}
	defer func() { _ = conn.Close() }()
	_, err = etcdserverpb.NewMaintenanceClient(conn).Status(ctx, &etcdserverpb.StatusRequest{})
	switch {
	case err == nil:
		return nil
	case seen.alert() != nil:
		return &RefusedError{Server: server, Err: seen.alert()}
	case status.Code(err) == codes.Unauthenticated, status.Code(err) == codes.PermissionDenied:
		return &RefusedError{Server: server, Err: err}
	}
	return untried(server, err)
}

func untried(server string, err error) error {
	return fmt.Errorf("the credential could not be tried: %s: %w", server, err)
}

// clientTLS shows a client certificate to whoever asks for one. A pair in
// tls.Config.Certificates would be kept back from a server that names other CAs, and
// an expired or foreign one might pass as none at all.
func clientTLS(certificate, key string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, &RefusedError{Err: fmt.Errorf("%s with %s: %w", certificate, key, err)}
	}
	return &tls.Config{
		MinVersion:           tls.VersionTLS12,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil },
	}, nil
}
