package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// kubeconfig is what a kubeconfig says of its current context: where the API server is,
// who it must prove to be, and who we are to it (kubernetes: client-go,
// tools/clientcmd/api/v1/types.go).
type kubeconfig struct {
	server   *url.URL
	security *tls.Config
	proxy    func(*http.Request) (*url.URL, error) // nil for none
	header   http.Header
	// foreign says why it cannot be used here: the credential is made by another program.
	foreign error
}

// written is the current context of a kubeconfig file, as it stands there.
type written struct {
	Cluster struct {
		Server        string `json:"server"`
		ServerName    string `json:"tls-server-name"`
		Insecure      bool   `json:"insecure-skip-tls-verify"`
		Authority     string `json:"certificate-authority"`
		AuthorityData []byte `json:"certificate-authority-data"`
		Proxy         string `json:"proxy-url"`
	}
	User struct {
		Certificate     string    `json:"client-certificate"`
		CertificateData []byte    `json:"client-certificate-data"`
		Key             string    `json:"client-key"`
		KeyData         []byte    `json:"client-key-data"`
		Token           string    `json:"token"`
		TokenFile       string    `json:"tokenFile"`
		Username        string    `json:"username"`
		Password        string    `json:"password"`
		Exec            *struct{} `json:"exec"`
		AuthProvider    *struct{} `json:"auth-provider"`
		As              string    `json:"as"`
	}
}

// readContext reads the current context of a kubeconfig.
func readContext(file string) (c written, err error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return c, err
	}
	var all struct {
		Current  string `json:"current-context"`
		Contexts []struct {
			Name    string                         `json:"name"`
			Context struct{ Cluster, User string } `json:"context"`
		} `json:"contexts"`
		Clusters []struct {
			Name    string          `json:"name"`
			Cluster json.RawMessage `json:"cluster"`
		} `json:"clusters"`
		Users []struct {
			Name string          `json:"name"`
			User json.RawMessage `json:"user"`
		} `json:"users"`
	}
	if err := yaml.Unmarshal(content, &all); err != nil {
		return c, errors.New("it is no kubeconfig") // the parser's own words may hold a key
	}
	for _, x := range all.Contexts {
		if x.Name != all.Current {
			continue
		}
		for _, cluster := range all.Clusters {
			if cluster.Name == x.Context.Cluster && json.Unmarshal(cluster.Cluster, &c.Cluster) != nil {
				return c, fmt.Errorf("its cluster %s cannot be read", cluster.Name)
			}
		}
		for _, user := range all.Users {
			if user.Name == x.Context.User && json.Unmarshal(user.User, &c.User) != nil {
				return c, fmt.Errorf("its user %s cannot be read", user.Name)
			}
		}
	}
	if c.Cluster.Server == "" {
		return c, errors.New("its current context names no server")
	}
	return c, nil
}

// readKubeconfig reads a kubeconfig, and everything that it names, and turns it to
// another address of the same server, if one is given.
func readKubeconfig(file, address string) (kubeconfig, error) {
	k, err := openKubeconfig(file, address)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("%s: %w", file, err)
	}
	return k, err
}

func openKubeconfig(file, address string) (kubeconfig, error) {
	k := kubeconfig{header: http.Header{}, security: &tls.Config{MinVersion: tls.VersionTLS12}}
	c, err := readContext(file)
	if err != nil {
		return k, err
	}
	if k.server, err = url.Parse(c.Cluster.Server); err != nil || k.server.Host == "" {
		return k, fmt.Errorf("its server %q is no URL", c.Cluster.Server)
	}
	if k.security.ServerName = c.Cluster.ServerName; address != "" {
		if k.security.ServerName == "" {
			k.security.ServerName = k.server.Hostname()
		}
		k.server = &url.URL{Scheme: "https", Host: address}
	}
	// data is what stands in the file itself, or else in one that it names, from where
	// it lies.
	data := func(inline []byte, name string) ([]byte, error) {
		if len(inline) > 0 || name == "" {
			return inline, nil
		}
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(file), name)
		}
		return os.ReadFile(name)
	}
	authorities, err := data(c.Cluster.AuthorityData, c.Cluster.Authority)
	if err != nil {
		return k, err
	}
	k.security.InsecureSkipVerify = c.Cluster.Insecure //nolint:gosec // the kubeconfig's own wish
	if len(authorities) > 0 {
		k.security.RootCAs = x509.NewCertPool()
		if !k.security.RootCAs.AppendCertsFromPEM(authorities) {
			return k, errors.New("its CA holds no certificate")
		}
	}
	if c.Cluster.Proxy != "" {
		proxy, err := url.Parse(c.Cluster.Proxy)
		if err != nil {
			return k, errors.New("its proxy-url is no URL")
		}
		k.proxy = http.ProxyURL(proxy)
	}
	certificate, err := data(c.User.CertificateData, c.User.Certificate)
	if err != nil {
		return k, err
	}
	key, err := data(c.User.KeyData, c.User.Key)
	if err != nil {
		return k, err
	}
	if len(certificate) > 0 || len(key) > 0 {
		pair, err := tls.X509KeyPair(certificate, key)
		if err != nil {
			return k, fmt.Errorf("its client certificate: %w", err)
		}
		k.security.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	token, err := data([]byte(c.User.Token), c.User.TokenFile)
	if err != nil {
		return k, err
	}
	switch u := c.User; {
	case u.Exec != nil, u.AuthProvider != nil, u.As != "":
		k.foreign = fmt.Errorf("%s has its credential made by another program, or speaks for somebody else", file)
	case len(token) > 0:
		k.header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	case u.Username != "":
		r := http.Request{Header: k.header}
		r.SetBasicAuth(u.Username, u.Password)
	}
	return k, nil
}

// attempt is one with this kubeconfig.
func (k kubeconfig) attempt() *attempt {
	a := newAttempt("the API server at "+k.server.Host, k.server, k.security)
	a.transport.Proxy, a.header = k.proxy, k.header
	return a
}

// statusError is what the API server answered instead of what it was asked for.
type statusError struct {
	code int
	text string
}

func (e *statusError) Error() string { return e.text }

// said says whether an error is the API server's answer with one of these codes.
func said(err error, codes ...int) bool {
	var status *statusError
	if !errors.As(err, &status) {
		return false
	}
	for _, code := range codes {
		if status.code == code {
			return true
		}
	}
	return false
}

// ask makes one request with one kubeconfig, on a connection of its own: the next is an
// hour away, and one that is kept until then would wake the daemon.
func (a API) ask(ctx context.Context, file, method, path string, body []byte) (answer, error) {
	k, err := readKubeconfig(file, a.Address)
	if err == nil {
		err = k.foreign
	}
	if err != nil {
		return answer{}, err
	}
	attempt := k.attempt()
	attempt.limit = maxList
	return attempt.send(ctx, method, path, nil, body)
}

// request is ask for what has to be answered with 2xx.
func (a API) request(ctx context.Context, file, method, path string, body []byte) ([]byte, error) {
	got, err := a.ask(ctx, file, method, path, body)
	if err != nil {
		return nil, err
	}
	if got.code < 200 || got.code > 299 {
		var status struct {
			Message string `json:"message"`
		}
		_ = json.Unmarshal(got.body, &status)
		return nil, &statusError{got.code, strings.TrimSuffix(got.text+": "+status.Message, ": ")}
	}
	return got.body, nil
}
