//go:build linux

package parts

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func TestWriteImage(t *testing.T) {
	dir := t.TempDir()
	executable := filepath.Join(dir, "pause")
	if err := os.WriteFile(executable, []byte("static binary"), 0o755); err != nil {
		t.Fatal(err)
	}
	const image = "registry.k8s.io/pause:3.10.2"
	archive := filepath.Join(dir, "pause.tar")
	if err := writeImage(archive, image, executable, true); err != nil {
		t.Fatal(err)
	}

	tag, err := name.NewTag(image)
	if err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(archive, &tag)
	if err != nil {
		t.Fatalf("the archive does not hold %s: %v", image, err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/usr/local/bin/pause"}, config.Config.Entrypoint); diff != "" {
		t.Errorf("entrypoint (-want +got):\n%s", diff)
	}
	got := map[string]int64{}
	files := tar.NewReader(mutate.Extract(img))
	for {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got[header.Name] = header.Mode
	}
	want := map[string]int64{"etc/passwd": 0o644, "etc/group": 0o644, "usr/local/bin/pause": 0o755}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}
