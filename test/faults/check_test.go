//go:build linux

package faults_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/kubecertd/kubecertd/test/lab/machine"
	"github.com/kubecertd/kubecertd/test/story"
)

// snapshot is the node before the fault, as the test itself sees it.
type snapshot struct {
	files      map[string][]byte // by path
	containers map[string]story.Container
}

func (n *node) look(t *testing.T) snapshot {
	t.Helper()
	s := snapshot{files: map[string][]byte{}}
	for _, files := range story.CertificateFiles {
		for _, file := range files {
			s.files[file] = []byte(n.Read(t, file))
		}
	}
	s.containers, _ = n.Containers(t)
	return s
}

// pair is a certificate and its key, from what a file or two hold.
func pair(files [][]byte) (tls.Certificate, error) {
	if len(files) == 2 {
		return tls.X509KeyPair(files[0], files[1])
	}
	var kubeconfig struct {
		Users []struct {
			User struct {
				Certificate []byte `json:"client-certificate-data"`
				Key         []byte `json:"client-key-data"`
			} `json:"user"`
		} `json:"users"`
	}
	if err := yaml.Unmarshal(files[0], &kubeconfig); err != nil || len(kubeconfig.Users) != 1 {
		return tls.Certificate{}, fmt.Errorf("%d users (%w)", len(kubeconfig.Users), err)
	}
	user := kubeconfig.Users[0].User
	return tls.X509KeyPair(user.Certificate, user.Key)
}

// content is what the files of a certificate hold now.
func (n *node) content(name string) ([][]byte, error) {
	var content [][]byte
	for _, file := range story.CertificateFiles[name] {
		data, err := n.ReadFile(file)
		if err != nil {
			return nil, err
		}
		content = append(content, data)
	}
	return content, nil
}

// valid says why a certificate could not be used now.
func (n *node) valid(name string) error {
	content, err := n.content(name)
	if err != nil {
		return err
	}
	both, err := pair(content)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	ca := kubernetesDir + "/pki/ca.crt"
	switch {
	case strings.Contains(name, "etcd"):
		ca = kubernetesDir + "/pki/etcd/ca.crt"
	case name == "front-proxy-client":
		ca = kubernetesDir + "/pki/front-proxy-ca.crt"
	}
	bundle, err := n.ReadFile(ca)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	if _, err := both.Leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// renewed says why a certificate that was aged is not a new one that can be used.
func (n *node) renewed(name string) error {
	if err := n.valid(name); err != nil {
		return err
	}
	content, err := n.content(name)
	if err != nil {
		return err
	}
	both, err := pair(content)
	if err != nil {
		return err
	}
	if end := both.Leaf.NotAfter; end.Before(time.Now().Add(300 * 24 * time.Hour)) {
		return fmt.Errorf("%s ends at %s: it was not renewed", name, end)
	}
	return nil
}

// unharmed demands that each certificate is what it was, to the byte, or, if it was due,
// a new one that can be used. It looks again before it complains: kubeadm may just be
// writing.
func (n *node) unharmed(t *testing.T, before snapshot, due, except []string) {
	t.Helper()
	for name, files := range story.CertificateFiles {
		problem := errors.New("not looked at")
		for try := 0; problem != nil && try < 10; try++ {
			if try > 0 {
				time.Sleep(200 * time.Millisecond)
			}
			problem = n.intact(before, name, files, due)
		}
		if problem == nil {
			continue
		}
		excepted := false
		for _, e := range except {
			excepted = excepted || e == name
		}
		if !excepted {
			t.Fatalf("neither as before nor renewed: %v", problem)
		}
	}
}

func (n *node) intact(before snapshot, name string, files, due []string) error {
	content, err := n.content(name)
	if err != nil {
		return err
	}
	same := true
	for i, file := range files {
		same = same && bytes.Equal(content[i], before.files[file])
	}
	if same {
		return nil
	}
	for _, d := range due {
		if d == name {
			return n.renewed(name)
		}
	}
	return fmt.Errorf("%s was not due and is another", name)
}

// secret demands that nothing the daemon wrote shows any of the keys, and that no file
// with a key can be read by others than root.
func (n *node) secret(t *testing.T, before snapshot, due []string) {
	t.Helper()
	pieces := []string{"PRIVATE KEY"}
	for _, name := range due {
		now, err := n.content(name)
		must(t, err)
		var was [][]byte
		for _, file := range story.CertificateFiles[name] {
			was = append(was, before.files[file])
		}
		for _, content := range [][][]byte{now, was} {
			pieces = append(pieces, keyPieces(t, content)...)
		}
	}
	entries, err := n.Journal(t.Context(), machine.Query{Unit: "kubecertd", Since: n.Began})
	must(t, err)
	search := func(where, text string) {
		for _, piece := range pieces {
			if strings.Contains(text, piece) {
				t.Errorf("%s shows a piece of a key", where)
			}
		}
	}
	for _, e := range entries {
		for field, value := range e {
			search("the journal's field "+field, value)
		}
	}
	for _, root := range []string{kubernetesDir, story.StateDir} {
		err := filepath.WalkDir(filepath.Join(n.Root(), root), func(path string, e fs.DirEntry, err error) error {
			// The daemon goes on, and renames a snapshot when it is whole.
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			must(t, err)
			data, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			must(t, err)
			seen := strings.TrimPrefix(path, n.Root())
			if strings.HasPrefix(seen, story.StateDir) && !strings.Contains(seen, "/snapshots/") {
				search(seen, string(data))
			}
			key := bytes.Contains(data, []byte("PRIVATE KEY")) || bytes.Contains(data, []byte("client-key-data"))
			if key && info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s holds a key and has mode %s", seen, info.Mode())
			}
			return nil
		})
		must(t, err)
	}
}

// keyPieces are strings that only who knows the key can write: pieces of it in base64,
// as a PEM file has it and as a kubeconfig does.
func keyPieces(t *testing.T, content [][]byte) []string {
	t.Helper()
	var pieces []string
	last := content[len(content)-1]
	for line := range strings.Lines(string(last)) {
		line = strings.TrimSpace(line)
		if data, ok := strings.CutPrefix(line, "client-key-data: "); ok {
			pieces = append(pieces, data[len(data)/2:len(data)/2+40])
			text, err := base64.StdEncoding.DecodeString(data)
			must(t, err)
			last = text
		}
	}
	inKey := false
	for line := range strings.Lines(string(last)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "-----"):
			inKey = strings.Contains(line, "BEGIN") && strings.Contains(line, "PRIVATE KEY")
		case inKey && len(line) == 64 && !strings.HasPrefix(line, "MII"):
			pieces = append(pieces, line)
		}
	}
	if len(pieces) < 2 {
		t.Fatalf("only %d pieces of a key were found", len(pieces))
	}
	return pieces
}
