//go:build linux

package parts

import (
	"fmt"
	"regexp"
	"strings"
)

// DefaultKubernetes is the version that a lab runs unless told otherwise.
const DefaultKubernetes = "v1.36.3"

// The other sources. kubeadm names the etcd image after the version it was
// tested with; a later patch of the same minor serves the same.
const (
	etcdVersion       = "v3.6.8"
	containerdVersion = "v2.2.1"
	debianSuite       = "bookworm"
)

// patches has the release that a bare minor stands for. It is one of which
// the Go module proxy has all modules; of 1.31.14, 1.32.13 and others it lacks
// some of those that Kubernetes stages.
var patches = map[string]string{
	"v1.31": "v1.31.0",
	"v1.32": "v1.32.2",
	"v1.33": "v1.33.13",
	"v1.34": "v1.34.4",
	"v1.35": "v1.35.4",
	"v1.36": DefaultKubernetes,
}

var versionForm = regexp.MustCompile(`^v1\.(\d+)(\.\d+)?$`)

// resolveVersion makes v1.36.3 of 1.36.3, v1.36.3, 1.36 and the empty string.
func resolveVersion(version string) (string, error) {
	if version == "" {
		return DefaultKubernetes, nil
	}
	v := "v" + strings.TrimPrefix(version, "v")
	if !versionForm.MatchString(v) {
		return "", fmt.Errorf("kubernetes version %q: want one such as 1.36.3 or 1.35", version)
	}
	if strings.Count(v, ".") == 2 {
		return v, nil
	}
	patch, known := patches[v]
	if !known {
		return "", fmt.Errorf("kubernetes version %q: name its patch, such as %s.0; known without are 1.31 to 1.36", version, version)
	}
	return patch, nil
}
