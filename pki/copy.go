package pki

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// Copy is a kubeconfig outside kubeadm's own places, into which somebody may have copied
// admin.conf, as `kubeadm init` tells people to.
type Copy struct {
	Path string `json:"path"`
	// Configured says that renew.copies names it.
	Configured bool `json:"configured"`
	// Missing says that there is no such file, Problem why it cannot be read.
	Missing bool       `json:"missing,omitempty"`
	Problem string     `json:"problem,omitempty"`
	Users   []CopyUser `json:"users,omitempty"`
}

// CopyUser is one user of a kubeconfig whose client certificate is embedded in it. One
// whose certificate lies in another file follows that file by itself.
type CopyUser struct {
	Name     string    `json:"name"`
	SHA256   string    `json:"sha256"` // of the leaf's DER, lower-case hex
	NotAfter time.Time `json:"notAfter"`
	// KeyMatches says that the certificate's key is embedded too.
	KeyMatches bool `json:"keyMatches"`
}

// usualCopy is where `kubeadm init` and kubectl have root's.
const usualCopy = "/root/.kube/config"

// Copies reads the kubeconfigs that the configuration names, and the one that most
// nodes have. It takes as long as the file systems that they lie on.
func (l Layout) Copies() []Copy {
	var list []Copy
	add := func(name string, configured bool) {
		if slices.ContainsFunc(list, func(c Copy) bool { return c.Path == name }) {
			return
		}
		original := func(file string) bool { return l.same(name, path.Join(l.KubernetesDir, file)) }
		if !original("admin.conf") && !original("super-admin.conf") { // a link is no copy
			list = append(list, l.copy(name, configured))
		}
	}
	for _, entry := range l.copies {
		if !strings.ContainsAny(entry, `*?[\`) {
			add(path.Clean(entry), true)
			continue
		}
		matches, _ := filepath.Glob(l.host(entry)) // the configuration was checked
		for _, match := range matches {
			add("/"+strings.TrimLeft(strings.TrimPrefix(match, l.Root), "/"), true)
		}
	}
	add(usualCopy, false)
	return slices.DeleteFunc(list, func(c Copy) bool { return c.Missing && !c.Configured })
}

func (l Layout) copy(name string, configured bool) Copy {
	c := Copy{Path: name, Configured: configured}
	content, _, err := l.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		c.Missing = true
		return c
	}
	if err == nil {
		c.Users, err = KubeconfigUsers(content)
	}
	if err != nil {
		c.Problem = err.Error()
	}
	return c
}

// KubeconfigUsers are the users of a kubeconfig with their own client certificate in it.
// Its errors quote nothing of the file, which holds keys.
func KubeconfigUsers(content []byte) ([]CopyUser, error) {
	var file struct {
		Users []struct {
			Name string `json:"name"`
			User struct {
				CertificateData string `json:"client-certificate-data"`
				KeyData         string `json:"client-key-data"`
			} `json:"user"`
		} `json:"users"`
	}
	if err := yaml.Unmarshal(content, &file); err != nil {
		return nil, errors.New("is no YAML that a kubeconfig could be")
	}
	var users []CopyUser
	for _, u := range file.Users {
		certificate, err := decode(u.User.CertificateData)
		if err != nil || len(certificate) == 0 {
			continue
		}
		list, err := parseCertificates(certificate)
		if err != nil {
			continue
		}
		sum := sha256.Sum256(list[0].Raw)
		user := CopyUser{Name: u.Name, SHA256: hex.EncodeToString(sum[:]), NotAfter: list[0].NotAfter}
		if key, err := decode(u.User.KeyData); err == nil && len(key) > 0 {
			public, err := publicKey(key)
			user.KeyMatches = err == nil && matches(list[0], public)
		}
		users = append(users, user)
	}
	return users, nil
}
