//go:build linux

package parts

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// criNamespace is where containerd keeps what belongs to Kubernetes.
const criNamespace = "k8s.io"

// store is a containerd data directory with a control plane's images, made
// once so that a node need not import them each time it is made.
func (c *Cache) store(version string) part {
	recipe := []string{recipeEdition, "store 1"}
	for _, p := range c.imageParts(version) {
		recipe = append(recipe, p.key())
	}
	slices.Sort(recipe)
	return part{
		name:     "images " + version,
		recipe:   strings.Join(recipe, "\n"),
		expected: 15 * time.Second,
		build: func(ctx context.Context, dir string, log io.Writer) error {
			return c.fillStore(ctx, version, dir, log)
		},
	}
}

// imageParts are the parts that become images, and the two that make them so.
func (c *Cache) imageParts(version string) map[string]part {
	parts := map[string]part{"etcd": c.etcd(), "pause": pause(), "containerd": c.containerd()}
	for _, b := range kubernetesBinaries {
		if slices.Contains(imageBinaries, b.name) || b.name == "kubeadm" {
			parts[b.name] = c.kubernetes(version, b)
		}
	}
	return parts
}

// imageNames asks kubeadm which images it will want, by component: it is the
// one that knows the tags of etcd and pause for its version.
func imageNames(ctx context.Context, kubeadm, version string) (map[string]string, error) {
	var out bytes.Buffer
	err := run(ctx, io.Discard, command{stdout: &out, argv: []string{
		kubeadm, "config", "images", "list", "--kubernetes-version", version,
	}})
	if err != nil {
		return nil, fmt.Errorf("ask kubeadm for the names of its images: %w", err)
	}
	names := map[string]string{}
	for line := range strings.Lines(out.String()) {
		image := strings.TrimSpace(line)
		component, _, _ := strings.Cut(path.Base(image), ":")
		names[component] = image
	}
	for _, component := range imageBinaries {
		if names[component] == "" {
			return nil, fmt.Errorf("kubeadm %s names no image for %s: %s", version, component, out.String())
		}
	}
	return names, nil
}

func (c *Cache) fillStore(ctx context.Context, version, dir string, log io.Writer) error {
	parts := c.imageParts(version)
	names, err := imageNames(ctx, filepath.Join(c.path(parts["kubeadm"]), "usr/bin/kubeadm"), version)
	if err != nil {
		return err
	}
	// A socket's path has to be short, and the cache may lie deep.
	temp, err := os.MkdirTemp("", "lab-images-")
	if err != nil {
		return fmt.Errorf("make a folder for images: %w", err)
	}
	defer func() { _ = os.RemoveAll(temp) }()

	var archives []string
	for _, component := range imageBinaries {
		archive := filepath.Join(temp, component+".tar")
		executable := filepath.Join(c.path(parts[component]), "usr/local/bin", component)
		if err := writeImage(archive, names[component], executable, component == "pause"); err != nil {
			return fmt.Errorf("make the image %s: %w", names[component], err)
		}
		archives = append(archives, archive)
	}
	binaries := filepath.Join(c.path(parts["containerd"]), "usr/local/bin")
	return importImages(ctx, binaries, dir, temp, archives, log)
}

// writeImage writes an image of one layer: the executable, and the accounts
// that a container is started with.
func writeImage(archive, image, executable string, entrypoint bool) error {
	layerFile := archive + ".layer"
	if err := writeLayer(layerFile, executable); err != nil {
		return err
	}
	defer func() { _ = os.Remove(layerFile) }()

	layer, err := tarball.LayerFromFile(layerFile, tarball.WithCompressionLevel(gzip.NoCompression))
	if err != nil {
		return fmt.Errorf("read the layer: %w", err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return fmt.Errorf("add the layer: %w", err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", goruntime.GOARCH
	config.Config.Env = []string{"PATH=/usr/local/bin"}
	if entrypoint {
		config.Config.Entrypoint = []string{"/usr/local/bin/" + filepath.Base(executable)}
	}
	img, err = mutate.ConfigFile(img, config)
	if err != nil {
		return fmt.Errorf("set the configuration: %w", err)
	}
	tag, err := name.NewTag(image)
	if err != nil {
		return fmt.Errorf("read its name: %w", err)
	}
	return tarball.WriteToFile(archive, tag, img)
}

func writeLayer(file, executable string) error {
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("write the layer: %w", err)
	}
	defer func() { _ = f.Close() }()
	w := tar.NewWriter(f)
	small := []struct{ name, text string }{
		{"etc/passwd", "root:x:0:0:root:/:/sbin/nologin\n"},
		{"etc/group", "root:x:0:\n"},
	}
	for _, s := range small {
		if err := addFile(w, s.name, 0o644, int64(len(s.text)), strings.NewReader(s.text)); err != nil {
			return err
		}
	}
	in, err := os.Open(executable)
	if err != nil {
		return fmt.Errorf("read the executable: %w", err)
	}
	defer func() { _ = in.Close() }()
	info, err := in.Stat()
	if err != nil {
		return fmt.Errorf("read the executable: %w", err)
	}
	if err := addFile(w, "usr/local/bin/"+filepath.Base(executable), 0o755, info.Size(), in); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("write the layer: %w", err)
	}
	return f.Close()
}

// addFile leaves the times at zero, so that the same binary is the same layer.
func addFile(w *tar.Writer, name string, mode, size int64, content io.Reader) error {
	header := &tar.Header{Name: name, Mode: mode, Size: size, ModTime: time.Unix(0, 0)}
	if err := w.WriteHeader(header); err != nil {
		return fmt.Errorf("write %s into the layer: %w", name, err)
	}
	if _, err := io.Copy(w, content); err != nil {
		return fmt.Errorf("write %s into the layer: %w", name, err)
	}
	return nil
}
