package pki

import (
	"fmt"
	"path"
	"strings"

	"sigs.k8s.io/yaml"
)

// Manifest is a static pod's manifest, as far as it says where certificates are
// and what ports serve.
type Manifest struct {
	Name string
	// The container that counts: args are its command line, paths its mounts.
	args  []string
	paths []mount
	// containers are all of them, in their order; main is the index of the one that
	// counts.
	containers []container
	main       int
}

// container is what one container of a pod could read certificates by.
type container struct {
	name  string
	words []string // of its command line, and the values of its environment
	paths []mount
}

// mount is a path of the host as the container sees it.
type mount struct{ inside, host string }

// pod is what matters here of a Pod (core/v1). The type itself would cost the
// daemon six megabytes of memory, with all that hangs on it.
type pod struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Containers []struct {
			Name    string   `json:"name"`
			Command []string `json:"command"`
			Args    []string `json:"args"`
			Env     []struct {
				Value string `json:"value"`
			} `json:"env"`
			VolumeMounts []struct {
				Name      string `json:"name"`
				MountPath string `json:"mountPath"`
				SubPath   string `json:"subPath"`
			} `json:"volumeMounts"`
		} `json:"containers"`
		Volumes []struct {
			Name     string `json:"name"`
			HostPath *struct {
				Path string `json:"path"`
			} `json:"hostPath"`
		} `json:"volumes"`
	} `json:"spec"`
}

// parseManifest reads the manifest of a static pod. Of its containers the one that has
// the pod's name counts, else the first: kubeadm's pods have one (kubeadm:
// phases/controlplane/manifests.go), and an operator may have patched sidecars in.
func parseManifest(content []byte) (Manifest, error) {
	var pod pod
	if err := yaml.Unmarshal(content, &pod); err != nil {
		return Manifest{}, err
	}
	if pod.Kind != "Pod" || len(pod.Spec.Containers) == 0 {
		return Manifest{}, fmt.Errorf("holds kind %q with %d containers, not a Pod", pod.Kind, len(pod.Spec.Containers))
	}
	m := Manifest{Name: pod.Metadata.Name}
	hostPaths := map[string]string{}
	for _, v := range pod.Spec.Volumes {
		if v.HostPath != nil {
			hostPaths[v.Name] = v.HostPath.Path
		}
	}
	for i, c := range pod.Spec.Containers {
		if c.Name == pod.Metadata.Name {
			m.main = i
		}
		read := container{name: c.Name, words: append(append([]string{}, c.Command...), c.Args...)}
		for _, v := range c.VolumeMounts {
			if host, ok := hostPaths[v.Name]; ok {
				read.paths = append(read.paths, mount{path.Clean(v.MountPath), path.Clean(path.Join(host, v.SubPath))})
			}
		}
		m.containers = append(m.containers, read)
	}
	m.args, m.paths = m.containers[m.main].words, m.containers[m.main].paths
	for i, c := range pod.Spec.Containers {
		for _, e := range c.Env {
			m.containers[i].words = append(m.containers[i].words, e.Value)
		}
	}
	return m, nil
}

// Flag is the value of a command-line flag, written --name=value or --name value.
// The last one counts, as it does for the program.
func (m Manifest) Flag(name string) (value string, ok bool) {
	for i, arg := range m.args {
		if v, found := strings.CutPrefix(arg, "--"+name+"="); found {
			value, ok = v, true
		} else if arg == "--"+name && i+1 < len(m.args) && !strings.HasPrefix(m.args[i+1], "--") {
			value, ok = m.args[i+1], true
		}
	}
	return value, ok
}

// HostPath is where a path of the container lies on the host; the path itself when
// it is not mounted from there.
func (m Manifest) HostPath(inside string) string {
	inside = path.Clean(inside)
	best := mount{}
	for _, p := range m.paths {
		within := inside == p.inside || strings.HasPrefix(inside, strings.TrimSuffix(p.inside, "/")+"/")
		if within && len(p.inside) > len(best.inside) {
			best = p
		}
	}
	if best.inside == "" {
		return inside
	}
	return path.Join(best.host, strings.TrimPrefix(inside, best.inside))
}

// file is the host path that a flag names; otherwise the given default.
func (m Manifest) file(flag, otherwise string) string {
	if value, ok := m.Flag(flag); ok && value != "" {
		return m.HostPath(value)
	}
	return otherwise
}
