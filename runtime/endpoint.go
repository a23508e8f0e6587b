package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// endpoint is the address of a CRI server.
type endpoint struct {
	path string // of the socket
	unit string // the systemd unit that most likely serves it
}

func (e endpoint) String() string { return "unix://" + e.path }

// parseEndpoint takes what the kubelet takes: unix:///path, or the path alone,
// which it still accepts with a warning.
func parseEndpoint(address string) (endpoint, error) {
	path := address
	if !strings.HasPrefix(address, "/") {
		u, err := url.Parse(address)
		if err != nil || u.Scheme != "unix" || u.Host != "" {
			return endpoint{}, fmt.Errorf("container runtime endpoint %q is no unix socket: expected something like unix:///run/containerd/containerd.sock", address)
		}
		path = u.Path
	}
	if !filepath.IsAbs(path) {
		return endpoint{}, fmt.Errorf("container runtime endpoint %q names no absolute path: expected something like unix:///run/containerd/containerd.sock", address)
	}
	e := endpoint{path: filepath.Clean(path)}
	switch base := filepath.Base(e.path); {
	case strings.Contains(base, "containerd"):
		e.unit = "containerd"
	case strings.Contains(base, "crio"):
		e.unit = "crio"
	case strings.Contains(base, "cri-docker"):
		e.unit = "cri-docker"
	}
	return e, nil
}

// name is how the runtime is called in errors.
func (e endpoint) name() string {
	if e.unit == "" {
		return "the container runtime"
	}
	return e.unit
}

// remedy is what an operator does next when the runtime does not answer.
func (e endpoint) remedy() string {
	if e.unit == "" {
		return "is the container runtime running?"
	}
	return "is it running? systemctl status " + e.unit
}

// explain says what a failed call means on this host. what completes "asked to …".
func (e endpoint) explain(what string, took time.Duration, err error) error {
	switch code := status.Code(err); {
	case errors.Is(err, context.Canceled) || code == codes.Canceled:
		return fmt.Errorf("%s at %s was asked to %s: given up after %s: %w", e.name(), e, what, rounded(took), context.Canceled)
	case errors.Is(err, context.DeadlineExceeded) || code == codes.DeadlineExceeded:
		return fmt.Errorf("%s at %s did not answer within %s when asked to %s: %w: %s",
			e.name(), e, rounded(took), what, context.DeadlineExceeded, e.remedy())
	case code == codes.Unavailable:
		return e.unreachable(err)
	case code == codes.Unimplemented:
		return fmt.Errorf("%s at %s does not serve CRI v1 (%s): it needs containerd 1.6, CRI-O 1.24 or later, and containerd's cri plugin must not be in disabled_plugins of /etc/containerd/config.toml",
			e.name(), e, plain(err))
	default:
		return fmt.Errorf("%s at %s was asked to %s: %s", e.name(), e, what, plain(err))
	}
}

func (e endpoint) unreachable(err error) error {
	info, statErr := os.Stat(e.path)
	switch {
	case errors.Is(statErr, fs.ErrNotExist):
		return fmt.Errorf("%s is not answering on %s: there is no such socket: %s", e.name(), e, e.remedy())
	case errors.Is(statErr, fs.ErrPermission) || strings.Contains(err.Error(), "permission denied"):
		return fmt.Errorf("%s: permission denied on %s: kubecertd must run as root", e.name(), e)
	case statErr == nil && info.Mode()&fs.ModeSocket == 0:
		return fmt.Errorf("%s is not a socket: check the container runtime's address", e.path)
	default:
		return fmt.Errorf("%s is not answering on %s (%s): %s", e.name(), e, plain(err), e.remedy())
	}
}

// plain is the server's or the system's own words, without what gRPC puts around
// them: `rpc error: code = … desc = connection error: desc = "…"`.
func plain(err error) string {
	text := status.Convert(err).Message()
	if _, quoted, ok := strings.Cut(text, `connection error: desc = "`); ok {
		text = strings.TrimSuffix(quoted, `"`)
	}
	return strings.TrimPrefix(text, "transport: ")
}

// rounded is a time as a person wants it.
func rounded(took time.Duration) time.Duration {
	if took >= time.Second {
		return took.Round(100 * time.Millisecond)
	}
	return took.Round(time.Millisecond)
}
