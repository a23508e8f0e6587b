package pki

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"

	"sigs.k8s.io/yaml"
)

// kubeconfig is what matters here of a kubeconfig: the credentials of its current
// user, embedded or named by path.
type kubeconfig struct {
	certificate, key         []byte // embedded
	certificatePath, keyPath string // named; relative ones are resolved already
	server, user             string
	ca                       []byte // embedded
}

// trusts says whether the CAs that are embedded in it have one of these among them; true
// where there are none to compare.
func (k kubeconfig) trusts(authorities []*x509.Certificate) bool {
	list, err := parseCertificates(k.ca)
	if len(k.ca) == 0 || err != nil || len(authorities) == 0 {
		return err == nil || len(k.ca) == 0
	}
	return slices.ContainsFunc(list, func(c *x509.Certificate) bool {
		return slices.ContainsFunc(authorities, c.Equal)
	})
}

// parseKubeconfig reads a kubeconfig that lies in dir. A kubeconfig without current
// context that has one user only is read as that user's. Errors quote nothing of the
// file, which holds a key.
func parseKubeconfig(content []byte, dir string) (kubeconfig, error) {
	var file struct {
		CurrentContext string `json:"current-context"`
		Contexts       []struct {
			Name    string `json:"name"`
			Context struct {
				Cluster string `json:"cluster"`
				User    string `json:"user"`
			} `json:"context"`
		} `json:"contexts"`
		Clusters []struct {
			Name    string `json:"name"`
			Cluster struct {
				Server string `json:"server"`
				CAData string `json:"certificate-authority-data"`
			} `json:"cluster"`
		} `json:"clusters"`
		Users []struct {
			Name string `json:"name"`
			User struct {
				CertificateData string `json:"client-certificate-data"`
				KeyData         string `json:"client-key-data"`
				Certificate     string `json:"client-certificate"`
				Key             string `json:"client-key"`
			} `json:"user"`
		} `json:"users"`
	}
	if err := yaml.Unmarshal(content, &file); err != nil {
		// The parser's own error may quote the file.
		return kubeconfig{}, errors.New("is no YAML that a kubeconfig could be")
	}
	if len(file.Users) == 0 {
		return kubeconfig{}, errors.New("names no user: it is empty, truncated, or no kubeconfig")
	}
	user, cluster := "", ""
	for _, c := range file.Contexts {
		if c.Name == file.CurrentContext {
			user, cluster = c.Context.User, c.Context.Cluster
		}
	}
	if user == "" && len(file.Users) == 1 {
		user = file.Users[0].Name
	}
	if user == "" {
		return kubeconfig{}, fmt.Errorf("its current context is not among its %d contexts", len(file.Contexts))
	}
	k := kubeconfig{user: user}
	for _, c := range file.Clusters {
		if c.Name == cluster {
			k.server = redacted(c.Cluster.Server)
			k.ca, _ = decode(c.Cluster.CAData) // what is none is for whoever uses it
		}
	}
	for _, u := range file.Users {
		if u.Name != user {
			continue
		}
		// Embedded data has precedence over paths (client-go: tools/clientcmd/api/v1).
		var err error
		if k.certificate, err = decode(u.User.CertificateData); err != nil {
			return kubeconfig{}, errors.New("client-certificate-data is no base64")
		}
		if k.key, err = decode(u.User.KeyData); err != nil {
			return kubeconfig{}, errors.New("client-key-data is no base64")
		}
		if len(k.certificate) == 0 && u.User.Certificate != "" {
			k.certificatePath = resolve(u.User.Certificate, dir)
		}
		if len(k.key) == 0 && u.User.Key != "" {
			k.keyPath = resolve(u.User.Key, dir)
		}
		if len(k.certificate) == 0 && k.certificatePath == "" {
			return kubeconfig{}, errors.New("its user has no client certificate")
		}
		return k, nil
	}
	return kubeconfig{}, fmt.Errorf("its user is not among its %d users", len(file.Users))
}

// redacted is a URL without the password that it may carry; empty when it is none.
func redacted(server string) string {
	u, err := url.Parse(server)
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Redacted()
}

func decode(data string) ([]byte, error) { return base64.StdEncoding.DecodeString(data) }

func resolve(p, dir string) string {
	if path.IsAbs(p) {
		return path.Clean(p)
	}
	return path.Join(dir, p)
}
