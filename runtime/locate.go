package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// Where the kubelet's configuration lies on a host set up by kubeadm.
const (
	kubeletConfig    = "/var/lib/kubelet/config.yaml"
	kubeletInstance  = "/var/lib/kubelet/instance-config.yaml"
	kubeletFlags     = "/var/lib/kubelet/kubeadm-flags.env"
	endpointFlag     = "--container-runtime-endpoint"
	kubeletConfigArg = "--config"
)

// sockets are where runtimes listen when nobody says otherwise (kubeadm:
// constants/constants_unix.go).
var sockets = []string{
	"/run/containerd/containerd.sock",
	"/run/crio/crio.sock",
	"/run/cri-dockerd.sock",
}

// Locate finds the endpoint of the container runtime where the kubelet has it from:
// the running kubelet's command line, its configuration file, kubeadm's
// instance-config.yaml and kubeadm-flags.env, and at last the usual sockets, if one
// is there. source says which of them it was.
//
// root is the directory that stands for /, for /proc too. The endpoint is as it was
// found, without root.
func Locate(root string) (endpoint, source string, err error) {
	var looked []string
	arguments, pid := kubeletArguments(root)
	if pid == 0 {
		looked = append(looked, "no kubelet is running")
	} else if value := argument(arguments, endpointFlag); value != "" {
		return checked(value, fmt.Sprintf("the kubelet's command line (process %d)", pid))
	} else {
		looked = append(looked, "the kubelet's command line has no "+endpointFlag)
	}

	config := kubeletConfig
	if value := argument(arguments, kubeletConfigArg); filepath.IsAbs(value) {
		config = value
	}
	for _, path := range []string{config, kubeletInstance} {
		value, err := configured(filepath.Join(root, path))
		switch {
		case err != nil:
			looked = append(looked, fmt.Sprintf("%s: %v", path, err))
		case value == "":
			looked = append(looked, path+" names none")
		default:
			return checked(value, path)
		}
	}

	flags, err := os.ReadFile(filepath.Join(root, kubeletFlags))
	if value := argument(flagsOf(string(flags)), endpointFlag); value != "" {
		return checked(value, kubeletFlags)
	}
	looked = append(looked, kubeletFlags+reason(err, " has no "+endpointFlag))

	for _, path := range sockets {
		if info, err := os.Stat(filepath.Join(root, path)); err == nil && info.Mode()&fs.ModeSocket != 0 {
			return "unix://" + path, "the usual place", nil
		}
	}
	looked = append(looked, "no socket at "+strings.Join(sockets, ", "))
	return "", "", fmt.Errorf("container runtime not found: %s: set runtime.endpoint if it is elsewhere", strings.Join(looked, "; "))
}

// checked refuses an endpoint that cannot be one where it is written, so that the
// error can name the place.
func checked(value, source string) (string, string, error) {
	e, err := parseEndpoint(value)
	if err != nil {
		return "", "", fmt.Errorf("%s: %w", source, err)
	}
	return e.String(), source, nil
}

// configured reads containerRuntimeEndpoint from a KubeletConfiguration.
func configured(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", errors.New(strings.TrimSpace(reason(err, "")))
	}
	var c struct {
		ContainerRuntimeEndpoint string `json:"containerRuntimeEndpoint"`
	}
	if err := yaml.Unmarshal(content, &c); err != nil {
		return "", err
	}
	return c.ContainerRuntimeEndpoint, nil
}

// kubeletArguments finds the command line of the kubelet of this host.
func kubeletArguments(root string) (arguments []string, pid int) {
	proc := filepath.Join(root, "proc")
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, 0
	}
	for _, entry := range entries {
		id, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		dir := filepath.Join(proc, entry.Name())
		comm, err := os.ReadFile(filepath.Join(dir, "comm"))
		if err != nil || strings.TrimSpace(string(comm)) != "kubelet" {
			continue
		}
		if contained(dir) {
			continue
		}
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || len(line) == 0 {
			continue
		}
		return strings.Split(strings.TrimRight(string(line), "\x00"), "\x00"), id
	}
	return nil, 0
}

// contained says whether a process has a process namespace of its own, below ours: a
// kubelet in a container (kind) is another node's. Unlike the links in /proc/PID/ns,
// the status can be read without CAP_SYS_PTRACE.
func contained(dir string) bool {
	status, _ := os.ReadFile(filepath.Join(dir, "status"))
	for _, line := range strings.Split(string(status), "\n") {
		if numbers, ok := strings.CutPrefix(line, "NSpid:"); ok {
			return len(strings.Fields(numbers)) > 1
		}
	}
	return false
}

// flagsOf reads the arguments from a file that says KUBELET_KUBEADM_ARGS="…".
func flagsOf(content string) []string {
	for _, line := range strings.Split(content, "\n") {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && name == "KUBELET_KUBEADM_ARGS" {
			return strings.Fields(strings.Trim(value, `"'`))
		}
	}
	return nil
}

// argument returns the value of --name=value or --name value; the last one counts.
func argument(arguments []string, name string) (value string) {
	for i, a := range arguments {
		switch {
		case a == name && i+1 < len(arguments):
			value = arguments[i+1]
		case strings.HasPrefix(a, name+"="):
			value = strings.TrimPrefix(a, name+"=")
		}
	}
	return strings.Trim(value, `"'`)
}

// reason is what an error means for somebody who looks for a file, or otherwise.
func reason(err error, otherwise string) string {
	switch {
	case err == nil:
		return otherwise
	case errors.Is(err, fs.ErrNotExist):
		return " does not exist"
	default:
		return ": " + err.Error()
	}
}
