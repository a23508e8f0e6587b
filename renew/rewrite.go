package renew

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/kubecertd/kubecertd/pki"
)

const (
	certificateData = "client-certificate-data"
	keyData         = "client-key-data"
)

// credential is a certificate with its key as a kubeconfig has them, in base64.
type credential struct{ certificate, key string }

// leaf is the SHA-256 of the certificate, if it is one and the key belongs to it.
func (c credential) leaf() (string, error) {
	certificate, err := base64.StdEncoding.DecodeString(c.certificate)
	if err != nil {
		return "", errors.New("its client certificate is no base64")
	}
	key, err := base64.StdEncoding.DecodeString(c.key)
	if err != nil {
		return "", errors.New("its key is no base64")
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil { // which may quote nothing of a key
		return "", errors.New("its key does not belong to its client certificate")
	}
	sum := sha256.Sum256(pair.Certificate[0])
	return hex.EncodeToString(sum[:]), nil
}

// fresh are the credentials that are to replace others, by the SHA-256 of the old leaf.
type fresh map[string]credential

// freshFor reads what is to replace the certificates of before.
func freshFor(layout pki.Layout, o Observation) (fresh, error) {
	now := map[string]credential{}
	for _, name := range copied {
		c, here := o.Certificate(name)
		if !here || c.SHA256 == "" || c.State != pki.OK && c.State != pki.Due {
			continue
		}
		content, _, err := pki.ReadFile(layout.Resolve(c.Path))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Path, err)
		}
		file, err := parseGeneric(content)
		if err != nil {
			return nil, fmt.Errorf("%s %w", c.Path, err)
		}
		for _, user := range usersOf(file) {
			found := credentialOf(user)
			if leaf, err := found.leaf(); err == nil && leaf == c.SHA256 {
				now[name] = found
			}
		}
	}
	f := fresh{}
	for sha, name := range o.Before {
		c, ok := now[name]
		current, _ := o.Certificate(name)
		if ok && current.SHA256 != sha {
			f[sha] = c
		}
	}
	return f, nil
}

// usersOf are the settings of a kubeconfig's users.
func usersOf(file map[string]any) []map[string]any {
	var list []map[string]any
	entries, _ := file["users"].([]any)
	for _, e := range entries {
		entry, _ := e.(map[string]any)
		settings, _ := entry["user"].(map[string]any)
		list = append(list, settings)
	}
	return list
}

func credentialOf(user map[string]any) credential {
	certificate, _ := user[certificateData].(string)
	key, _ := user[keyData].(string)
	return credential{certificate, key}
}

// apply replaces old credentials in a kubeconfig, and nothing else of it: comments,
// order and whatever else is in it stay, byte by byte where the values are written in
// one line, as every tool writes them. It says which users it has given new ones.
func (f fresh) apply(content []byte) (result []byte, users []string, err error) {
	var document yaml.Node
	if err := yaml.Unmarshal(content, &document); err != nil || len(document.Content) == 0 {
		return nil, nil, errors.New("is no YAML that a kubeconfig could be")
	}
	var edits []edit
	entries := valueOf(document.Content[0], "users")
	if entries == nil || entries.Kind != yaml.SequenceNode {
		return nil, nil, errors.New("names no user")
	}
	for _, entry := range entries.Content {
		user := valueOf(entry, "user")
		certificate, key := valueOf(user, certificateData), valueOf(user, keyData)
		if certificate == nil || key == nil || certificate.Kind != yaml.ScalarNode || key.Kind != yaml.ScalarNode {
			continue
		}
		old, err := credential{certificate.Value, key.Value}.leaf()
		if err != nil {
			continue // it cannot be one of ours
		}
		if next, ok := f[old]; ok {
			edits = append(edits, edit{certificate, next.certificate}, edit{key, next.key})
			name := ""
			if n := valueOf(entry, "name"); n != nil {
				name = n.Value
			}
			users = append(users, name)
		}
	}
	if len(edits) == 0 {
		return nil, nil, errors.New("holds no certificate of before with its key any more")
	}
	result, ok := inPlace(content, edits)
	if !ok {
		for _, e := range edits {
			e.node.Value, e.node.Style = e.value, 0
		}
		var b bytes.Buffer
		encoder := yaml.NewEncoder(&b)
		encoder.SetIndent(2)
		if err := encoder.Encode(&document); err != nil {
			return nil, nil, errors.New("cannot be written as YAML again")
		}
		result = b.Bytes()
	}
	return result, users, f.verify(content, result)
}

// verify says whether one kubeconfig is another with new credentials, and nothing else.
func (f fresh) verify(before, after []byte) error {
	want, err := parseGeneric(before)
	if err != nil {
		return err
	}
	for _, user := range usersOf(want) {
		if leaf, err := credentialOf(user).leaf(); err == nil {
			if next, ok := f[leaf]; ok {
				user[certificateData], user[keyData] = next.certificate, next.key
			}
		}
	}
	got, err := parseGeneric(after)
	if err != nil || !reflect.DeepEqual(want, got) {
		return errors.New("could not be given the new certificate without changing something else in it: copy admin.conf anew by hand")
	}
	return nil
}

// edit is a new value for a scalar.
type edit struct {
	node  *yaml.Node
	value string
}

// inPlace makes the edits in the text itself. It does not when one of the values is not
// found as it was parsed: folded over lines, say, or escaped.
func inPlace(content []byte, edits []edit) ([]byte, bool) {
	lines := strings.SplitAfter(string(content), "\n")
	starts := make([]int, len(lines))
	for i := 1; i < len(lines); i++ {
		starts[i] = starts[i-1] + len(lines[i-1])
	}
	type span struct {
		from, to int
		value    string
	}
	var spans []span
	for _, e := range edits {
		if e.node.Line < 1 || e.node.Line > len(lines) {
			return nil, false
		}
		line := lines[e.node.Line-1]
		at := 0 // columns count characters
		for range e.node.Column - 1 {
			_, size := utf8.DecodeRuneInString(line[at:])
			at += size
		}
		for _, quote := range []string{"", `"`, "'"} {
			if strings.HasPrefix(line[at:], quote+e.node.Value+quote) {
				from := starts[e.node.Line-1] + at + len(quote)
				spans = append(spans, span{from, from + len(e.node.Value), e.value})
				break
			}
		}
	}
	if len(spans) != len(edits) {
		return nil, false
	}
	slices.SortFunc(spans, func(a, b span) int { return b.from - a.from })
	result := slices.Clone(content)
	for _, s := range spans {
		result = slices.Replace(result, s.from, s.to, []byte(s.value)...)
	}
	return result, true
}

// valueOf is the value of a key in a mapping; nil when there is none.
func valueOf(mapping *yaml.Node, key string) *yaml.Node {
	if mapping == nil || mapping.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}

// rewriteCopy gives one copy the new credentials and says which of its users have them.
func rewriteCopy(layout pki.Layout, o Observation, path string) ([]string, error) {
	f, err := freshFor(layout, o)
	if err != nil {
		return nil, err
	}
	place, err := openPlace(layout.Root, path)
	if err != nil {
		return nil, err
	}
	defer place.close()
	content, err := place.read()
	if err != nil {
		return nil, err
	}
	result, users, err := f.apply(content)
	if err != nil {
		return nil, fmt.Errorf("it %w", err)
	}
	return users, place.replace(result)
}
