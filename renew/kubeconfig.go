package renew

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"reflect"

	"sigs.k8s.io/yaml"
)

// caData is the key of a kubeconfig's cluster under which its CA is embedded.
const caData = "certificate-authority-data"

// compareKubeconfigs says what a renewal changed in a kubeconfig besides the user's
// credentials, which is what it is for.
//
// kubeadm besides writes the first certificate of ca.crt over the cluster's CA data
// (kubeadm: phases/certs/renewal/readwriter.go). During a rotation of the CA that
// takes the other one away from the client. When nothing else changed, and the CA
// data only shrank, the kubeconfig with the CAs that it had is returned.
func compareKubeconfigs(before, after []byte) (repaired []byte, err error) {
	was, err := parseGeneric(before)
	if err != nil {
		return nil, fmt.Errorf("before the renewal it %w", err)
	}
	is, err := parseGeneric(after)
	if err != nil {
		return nil, fmt.Errorf("it %w", err)
	}
	shrunk := false
	for i, cluster := range clusters(is) {
		old := clusters(was)
		if i >= len(old) {
			break
		}
		wasCA, _ := old[i][caData].(string)
		isCA, _ := cluster[caData].(string)
		if wasCA == isCA {
			continue
		}
		if !contains(wasCA, isCA) {
			return nil, errors.New("the renewal put another CA into it: was ca.crt replaced since it was made? Make the kubeconfig anew: kubeadm init phase kubeconfig")
		}
		cluster[caData], shrunk = wasCA, true
	}
	for _, part := range []string{"clusters", "contexts", "current-context", "preferences", "extensions"} {
		if !reflect.DeepEqual(nothing(was[part]), nothing(is[part])) {
			return nil, fmt.Errorf("the renewal changed its %s", part)
		}
	}
	if !reflect.DeepEqual(withoutCredentials(was), withoutCredentials(is)) {
		return nil, errors.New("the renewal changed its users beyond their credentials")
	}
	if !shrunk {
		return nil, nil
	}
	return yaml.Marshal(is)
}

// nothing makes an empty map what no map is: newer versions of client-go leave out
// `preferences: {}`, which older ones wrote.
func nothing(value any) any {
	if m, ok := value.(map[string]any); ok && len(m) == 0 {
		return nil
	}
	return value
}

// parseGeneric reads a kubeconfig whatever is in it. Its errors quote nothing of the
// file, which holds a key.
func parseGeneric(content []byte) (map[string]any, error) {
	var file map[string]any
	if err := yaml.Unmarshal(content, &file); err != nil || file == nil {
		return nil, errors.New("is no YAML that a kubeconfig could be")
	}
	return file, nil
}

// clusters are the settings of a kubeconfig's clusters.
func clusters(file map[string]any) []map[string]any {
	var list []map[string]any
	entries, _ := file["clusters"].([]any)
	for _, e := range entries {
		entry, _ := e.(map[string]any)
		settings, _ := entry["cluster"].(map[string]any)
		list = append(list, settings)
	}
	return list
}

// withoutCredentials are the users of a kubeconfig without what a renewal renews.
func withoutCredentials(file map[string]any) []any {
	var users []any
	entries, _ := file["users"].([]any)
	for _, e := range entries {
		entry, _ := e.(map[string]any)
		user, _ := entry["user"].(map[string]any)
		kept := map[string]any{}
		for k, v := range user {
			if k != "client-certificate-data" && k != "client-key-data" {
				kept[k] = v
			}
		}
		users = append(users, entry["name"], kept)
	}
	return users
}

// contains says whether every certificate of the second bundle, in base64, is in the
// first.
func contains(bundle, part string) bool {
	all, found := blocks(bundle), blocks(part)
	if len(found) == 0 {
		return false
	}
	for _, p := range found {
		in := false
		for _, b := range all {
			in = in || bytes.Equal(b, p)
		}
		if !in {
			return false
		}
	}
	return true
}

// blocks are the certificates of a bundle in base64.
func blocks(data string) [][]byte {
	content, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		return nil
	}
	var list [][]byte
	for {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil {
			return list
		}
		list = append(list, block.Bytes)
	}
}
