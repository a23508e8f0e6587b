package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Said returns the end of what a container has written to its standard output and
// error, running or exited: the whole lines within the last limit bytes of its log file,
// without the time, stream and tag that the runtime puts before each (kubelet:
// kuberuntime/logs/logs.go). A last line that is longer than that is cut at its
// beginning. The log is empty for a moment after the kubelet has rotated it.
func (c *Client) Said(ctx context.Context, container Container, limit int) (string, error) {
	var path string
	err := c.call(ctx, "describe container "+short(container.ID)+" of "+container.Component, func(ctx context.Context) error {
		r, err := c.cri.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: container.ID})
		if status.Code(err) == codes.NotFound {
			return errors.New("the runtime does not know this container any more")
		}
		path = r.GetStatus().GetLogPath()
		return err
	})
	if err != nil {
		return "", fmt.Errorf("log of %s: %w", container, err)
	}
	if path == "" {
		return "", fmt.Errorf("log of %s: the runtime names no file: look at `crictl logs %s`", container, short(container.ID))
	}
	content, whole, err := tail(path, max(limit, 0))
	if err != nil {
		return "", fmt.Errorf("log of %s: %w", container, err)
	}
	return words(content, whole), nil
}

// tail reads the last limit bytes of a file. whole says whether they begin with a line.
// Anything but a regular file is refused without waiting for it.
func tail(path string, limit int) (content []byte, whole bool, err error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, false, err
	}
	if !info.Mode().IsRegular() {
		return nil, false, fmt.Errorf("%s is no regular file", path)
	}
	// One byte more tells whether the first line is whole.
	from := info.Size() - int64(limit) - 1
	if from < 0 {
		content, err = io.ReadAll(io.NewSectionReader(file, 0, int64(limit)))
		return content, true, err
	}
	content = make([]byte, limit+1)
	n, err := file.ReadAt(content, from)
	if err != nil && !errors.Is(err, io.EOF) { // truncated meanwhile
		return nil, false, err
	}
	if n == 0 {
		return nil, true, nil
	}
	return content[1:n], content[0] == '\n', nil
}

// words takes the runtime's prefixes off the lines of a log.
func words(content []byte, whole bool) string {
	var text strings.Builder
	if !whole {
		cut, rest, found := bytes.Cut(content, []byte("\n"))
		if content = rest; !found || len(rest) == 0 {
			text.Write(cut)
		}
	}
	for line := range bytes.Lines(content) {
		ended := line[len(line)-1] == '\n'
		// "2026-03-01T12:00:00.000000000Z stderr F text"; a P instead of the F stands
		// before a part that the next line continues.
		fields := bytes.SplitN(bytes.TrimSuffix(line, []byte("\n")), []byte(" "), 4)
		if len(fields) < 4 || string(fields[1]) != "stdout" && string(fields[1]) != "stderr" {
			text.Write(line) // no runtime's, but better than nothing
			continue
		}
		text.Write(fields[3])
		if ended && string(fields[2]) != "P" {
			text.WriteByte('\n')
		}
	}
	return strings.ToValidUTF8(strings.TrimSuffix(text.String(), "\n"), "\uFFFD")
}
