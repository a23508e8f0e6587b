package renew

import (
	"context"
	"errors"
	"strings"
	"time"
)

// NodeKubeconfig has kubeadm make a kubeconfig with a new client certificate for the
// kubelet of a node. It is printed and not written, so that nothing is overwritten;
// `kubeadm init phase kubeconfig kubelet` would leave a file that is there as it is.
//
// kubeadm does not take the validity from the configuration here, but from a flag, with
// a year as its default (kubeadm: cmd/kubeconfig.go).
func (k Kubeadm) NodeKubeconfig(ctx context.Context, node, config string, validity time.Duration) ([]byte, error) {
	args := []string{"kubeconfig", "user", "--config", config, "--org", "system:nodes", "--client-name", nodePrefix + node}
	if validity != kubeadmValidity {
		args = append(args, "--validity-period", validity.String())
	}
	output, err := k.run(context.WithoutCancel(ctx), k.Timeout, args...)
	var call *KubeadmError
	if errors.As(err, &call) {
		call.Output = withoutKeys(call.Output)
	}
	if err != nil {
		return nil, err
	}
	// What comes before it, such as a warning, is no part of it.
	if at := strings.Index(output, "apiVersion:"); at > 0 {
		output = output[at:]
	}
	return []byte(output), nil
}

// kubeadmValidity is kubeadm's own default.
const kubeadmValidity = 365 * 24 * time.Hour

// withoutKeys leaves out what may be a key or a part of it: words that nobody would write.
func withoutKeys(text string) string {
	var kept []string
	for word := range strings.FieldsSeq(text) {
		if len(word) < 60 || strings.ContainsAny(word, "/\\") && len(word) < 200 && strings.HasPrefix(word, "/") {
			kept = append(kept, word)
		}
	}
	return strings.Join(kept, " ")
}
