package renew

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"go.yaml.in/yaml/v3"
	genericyaml "sigs.k8s.io/yaml"

	"github.com/kubecertd/kubecertd/pki"
)

// pointed is a kubeconfig whose current user has certificate and key in a file instead
// of in itself, as `kubeadm init phase kubelet-finalize` writes it (kubeadm:
// cmd/phases/init/kubeletfinalize.go). Nothing else of it changes: where both are written
// in one line each, as every tool does, the rest stays byte by byte.
func pointed(content []byte, file string) ([]byte, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(content, &document); err != nil || len(document.Content) == 0 {
		return nil, errors.New("is no YAML that a kubeconfig could be")
	}
	name, err := currentUser(content)
	if err != nil {
		return nil, err
	}
	user := userNode(document.Content[0], name)
	if user == nil {
		return nil, fmt.Errorf("has no user %q", name)
	}
	var edits []edit
	whole := true // edits are all there is to it
	for _, pair := range [][2]string{{certificateData, "client-certificate"}, {keyData, "client-key"}} {
		data, path := keyOf(user, pair[0]), keyOf(user, pair[1])
		switch {
		case data >= 0 && path >= 0, data < 0 && path < 0:
			whole = false
		case data >= 0:
			edits = append(edits, edit{user.Content[data], pair[1]}, edit{user.Content[data+1], file})
		case user.Content[path+1].Value != file:
			edits = append(edits, edit{user.Content[path+1], file})
		}
	}
	result, ok := content, true
	if len(edits) > 0 {
		result, ok = inPlace(content, edits)
	}
	if !whole || !ok {
		rewriteUser(user, file)
		var b bytes.Buffer
		encoder := yaml.NewEncoder(&b)
		encoder.SetIndent(2)
		if err := encoder.Encode(&document); err != nil {
			return nil, errors.New("cannot be written as YAML again")
		}
		result = b.Bytes()
	}
	return result, samePointed(content, result, name, file)
}

// rewriteUser gives a user the file in the place of whatever credentials it has of
// certificate and key.
func rewriteUser(user *yaml.Node, file string) {
	var kept []*yaml.Node
	for i := 0; i+1 < len(user.Content); i += 2 {
		if !slices.Contains([]string{certificateData, keyData, "client-certificate", "client-key"}, user.Content[i].Value) {
			kept = append(kept, user.Content[i], user.Content[i+1])
		}
	}
	scalar := func(value string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: value} }
	user.Kind, user.Tag, user.Value, user.Style = yaml.MappingNode, "", "", 0
	user.Content = append(kept, scalar("client-certificate"), scalar(file), scalar("client-key"), scalar(file))
}

// samePointed says whether one kubeconfig is another whose user names the file, and
// nothing else.
func samePointed(before, after []byte, name, file string) error {
	want, err := parseGeneric(before)
	if err != nil {
		return err
	}
	entries, _ := want["users"].([]any)
	for _, e := range entries {
		entry, _ := e.(map[string]any)
		if entry["name"] != name {
			continue
		}
		settings, _ := entry["user"].(map[string]any)
		if settings == nil {
			settings = map[string]any{}
			entry["user"] = settings
		}
		delete(settings, certificateData)
		delete(settings, keyData)
		settings["client-certificate"], settings["client-key"] = file, file
	}
	got, err := parseGeneric(after)
	if err != nil || !reflect.DeepEqual(want, got) {
		return fmt.Errorf("could not be made to name %s without changing something else in it: do it by hand (client-certificate and client-key of its user)", file)
	}
	return nil
}

// currentUser is the name of the user of a kubeconfig's current context; of its only
// user where it has no current context.
func currentUser(content []byte) (string, error) {
	var file struct {
		CurrentContext string `json:"current-context"`
		Contexts       []struct {
			Name    string `json:"name"`
			Context struct {
				User string `json:"user"`
			} `json:"context"`
		} `json:"contexts"`
		Users []struct {
			Name string `json:"name"`
		} `json:"users"`
	}
	if err := genericyaml.Unmarshal(content, &file); err != nil {
		return "", errors.New("is no YAML that a kubeconfig could be") // the parser's own error may quote a key
	}
	for _, c := range file.Contexts {
		if c.Name == file.CurrentContext && c.Context.User != "" {
			return c.Context.User, nil
		}
	}
	if len(file.Users) == 1 {
		return file.Users[0].Name, nil
	}
	return "", errors.New("names no user in its current context")
}

// userNode is the settings of a user in a parsed kubeconfig.
func userNode(root *yaml.Node, name string) *yaml.Node {
	entries := valueOf(root, "users")
	if entries == nil {
		return nil
	}
	for _, entry := range entries.Content {
		if n := valueOf(entry, "name"); n != nil && n.Value == name {
			return valueOf(entry, "user")
		}
	}
	return nil
}

// keyOf is the index of a key in a mapping's nodes; -1 when there is none.
func keyOf(mapping *yaml.Node, key string) int {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return i
		}
	}
	return -1
}

// kubeconfigAnew is a kubeconfig of the kubelet for when there is none that can be used.
// The API server is the one that it named before, as far as that can be read in what is
// left or in a snapshot, else the one of another kubeconfig of this node.
func (r *run) kubeconfigAnew(layout pki.Layout, left []byte, k *pki.KubeletClient, node string) ([]byte, error) {
	ca, _ := Observation{Certificates: layout.Read(r.Now())}.Certificate("ca")
	sources := [][]byte{left}
	for _, id := range slices.Backward(r.State.snapshotIDs()) {
		snap, err := r.State.manifest(id)
		if err != nil {
			continue
		}
		for _, f := range snap.of(kubeletClient) {
			if content, err := snap.content(f); err == nil && f.Path == k.Kubeconfig && !f.Absent {
				sources = append(sources, content)
			}
		}
	}
	for _, name := range []string{"admin.conf", "super-admin.conf", "controller-manager.conf", "scheduler.conf"} {
		if content, _, err := pki.ReadFile(layout.Resolve(layout.KubernetesDir + "/" + name)); err == nil {
			sources = append(sources, content)
		}
	}
	for _, content := range sources {
		cluster := clusterOf(content, ca.SHA256)
		if cluster == nil {
			continue
		}
		user := nodePrefix + node
		return genericyaml.Marshal(map[string]any{
			"apiVersion": "v1", "kind": "Config", "current-context": user + "@kubernetes",
			"clusters": []any{map[string]any{"name": "kubernetes", "cluster": cluster}},
			"contexts": []any{map[string]any{"name": user + "@kubernetes", "context": map[string]any{"cluster": "kubernetes", "user": user}}},
			"users":    []any{map[string]any{"name": user, "user": map[string]any{"client-certificate": k.Rotating.Path, "client-key": k.Rotating.Path}}},
		})
	}
	return nil, errors.New("cannot be made anew: no kubeconfig of this node, and no snapshot, says where the API server is")
}

// clusterOf is the cluster that a kubeconfig is about, if it says where the API server
// is and trusts the CA; nil otherwise.
func clusterOf(content []byte, ca string) map[string]any {
	file, err := parseGeneric(content)
	if err != nil {
		return nil
	}
	all := clusters(file)
	if len(all) != 1 {
		return nil
	}
	server, _ := all[0]["server"].(string)
	bundle, _ := all[0][caData].(string)
	trusts := slices.ContainsFunc(blocks(bundle), func(der []byte) bool {
		sum := sha256.Sum256(der)
		return hex.EncodeToString(sum[:]) == ca
	})
	if server == "" || !trusts {
		return nil
	}
	return all[0]
}
