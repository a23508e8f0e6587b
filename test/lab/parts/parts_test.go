//go:build linux

package parts

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/test/lab/progress"
)

func testCache(t *testing.T) *Cache {
	t.Helper()
	c, err := OpenCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// fakePart makes a part that counts its builds.
func fakePart(name, recipe string, builds *int, fail error) part {
	return part{name: name, recipe: recipe, build: func(_ context.Context, dir string, _ io.Writer) error {
		*builds++
		if err := os.WriteFile(filepath.Join(dir, "made"), []byte(recipe), 0o644); err != nil {
			return err
		}
		return fail
	}}
}

func TestPartsAreBuiltOnce(t *testing.T) {
	c := testCache(t)
	var builds int
	var out bytes.Buffer
	for _, recipe := range []string{"flags 1", "flags 1", "flags 2"} {
		plan := []part{fakePart("tool v1", recipe, &builds, nil)}
		if c.absent(plan) == 0 {
			continue
		}
		if err := c.buildAll(t.Context(), plan, progress.New(&out)); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(c.path(plan[0]), "made"))
		if err != nil || string(got) != recipe {
			t.Errorf("the part holds %q (%v), want %q", got, err, recipe)
		}
	}
	if builds != 2 {
		t.Errorf("built %d times, want once for each recipe", builds)
	}
	if !strings.Contains(out.String(), "part 1 of 1: tool v1") {
		t.Errorf("progress does not say what is built, which of how many:\n%s", &out)
	}
}

func TestAFailedBuildLeavesNoPart(t *testing.T) {
	c := testCache(t)
	var builds int
	broken := errors.New("no space left on device")
	plan := []part{fakePart("tool v1", "flags", &builds, broken)}
	if err := c.buildAll(t.Context(), plan, nil); !errors.Is(err, broken) {
		t.Fatalf("err = %v, want the build's own", err)
	}
	if c.has(plan[0]) {
		t.Error("half a part is taken for a part")
	}
	// The next build starts from nothing.
	plan[0].build = func(_ context.Context, dir string, _ io.Writer) error {
		entries, err := os.ReadDir(dir)
		if len(entries) > 0 {
			t.Errorf("a new build finds %v of the failed one", entries)
		}
		return err
	}
	if err := c.buildAll(t.Context(), plan, nil); err != nil || !c.has(plan[0]) {
		t.Errorf("second build: %v", err)
	}
}

func TestKeysAreStable(t *testing.T) {
	c := testCache(t)
	keys := func(version string) []string {
		var keys []string
		for _, p := range c.plan(version) {
			keys = append(keys, p.key())
		}
		return keys
	}
	first := keys("v1.36.3")
	for range 10 {
		if diff := cmp.Diff(first, keys("v1.36.3")); diff != "" {
			t.Fatalf("keys differ from call to call:\n%s", diff)
		}
	}
	shared := 0
	for i, key := range keys("v1.35.4") {
		if key == first[i] {
			shared++
		}
	}
	if shared != 4 {
		t.Errorf("two versions share %d parts, want debian, etcd, containerd and pause", shared)
	}
}

func TestCacheFolder(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("KUBECERTD_LAB_CACHE", "")
	t.Setenv("XDG_CACHE_HOME", dir)
	c, err := OpenCache("")
	if want := filepath.Join(dir, "kubecertd-lab"); err != nil || c.Dir() != want {
		t.Errorf("cache = %v (%v), want %s", c, err, want)
	}
	t.Setenv("KUBECERTD_LAB_CACHE", filepath.Join(dir, "mine"))
	c, err = OpenCache("")
	if want := filepath.Join(dir, "mine"); err != nil || c.Dir() != want {
		t.Errorf("cache = %v (%v), want %s", c, err, want)
	}
}
