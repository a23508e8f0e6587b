//go:build linux

package parts

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// goModule is a small module of the lab's own whose only use is to build
// commands of another module at one version. It lives in the cache: none of
// what Kubernetes depends on may leak into the product's go.mod.
type goModule struct {
	path    string // of the module to build from
	version string
	// staged says that the module replaces others by folders that its
	// released zip does not hold, as k8s.io/kubernetes does with staging/.
	staged bool
}

// prepare writes the module to dir, with what packages need, and is quick
// when it is there already.
func (m goModule) prepare(ctx context.Context, dir string, packages []string, log io.Writer) error {
	if _, err := os.Stat(filepath.Join(dir, "go.sum")); err == nil {
		return nil
	}
	source, err := m.download(ctx, dir, log)
	if err != nil {
		return err
	}
	theirs, err := readGoMod(ctx, source)
	if err != nil {
		return err
	}
	files := map[string]string{
		"go.mod":   m.goMod(theirs),
		"tools.go": toolsFile(packages),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("write the module that builds %s: %w", m.path, err)
		}
	}
	if err := run(ctx, log, command{dir: dir, env: goEnv, argv: []string{"go", "mod", "tidy"}}); err != nil {
		_ = os.Remove(filepath.Join(dir, "go.sum"))
		return fmt.Errorf("resolve what %s %s depends on: %w", m.path, m.version, err)
	}
	return nil
}

// download fetches the module's zip and returns its go.mod. The dir only
// keeps the go command from looking at somebody else's module.
func (m goModule) download(ctx context.Context, dir string, log io.Writer) (goMod string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make a module for %s: %w", m.path, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module lab\n"), 0o644); err != nil {
		return "", fmt.Errorf("make a module for %s: %w", m.path, err)
	}
	var answer bytes.Buffer
	err = run(ctx, log, command{
		dir: dir, env: goEnv, stdout: &answer,
		argv: []string{"go", "mod", "download", "-json", m.path + "@" + m.version},
	})
	if err != nil {
		return "", fmt.Errorf("download %s %s: %w", m.path, m.version, err)
	}
	var got struct{ GoMod string }
	if err := json.Unmarshal(answer.Bytes(), &got); err != nil {
		return "", fmt.Errorf("download %s %s: %w", m.path, m.version, err)
	}
	return got.GoMod, nil
}

// moduleFile is what we read of `go mod edit -json`.
type moduleFile struct {
	Go      string
	Replace []struct {
		Old struct{ Path string }
		New struct{ Path, Version string }
	}
}

func readGoMod(ctx context.Context, path string) (moduleFile, error) {
	var out bytes.Buffer
	var file moduleFile
	err := run(ctx, io.Discard, command{stdout: &out, env: goEnv, argv: []string{"go", "mod", "edit", "-json", path}})
	if err != nil {
		return file, fmt.Errorf("read %s: %w", path, err)
	}
	if err := json.Unmarshal(out.Bytes(), &file); err != nil {
		return file, fmt.Errorf("read %s: %w", path, err)
	}
	return file, nil
}

// goMod carries over the language version, on which the runtime's defaults
// (GODEBUG) depend. Staging modules are released as v0.N.P with v1.N.P.
func (m goModule) goMod(theirs moduleFile) string {
	var b strings.Builder
	fmt.Fprintf(&b, "module kubecertd.lab/build\n\ngo %s\n\nrequire %s %s\n", theirs.Go, m.path, m.version)
	if !m.staged {
		return b.String()
	}
	released := "v0" + strings.TrimPrefix(m.version, "v1")
	for _, r := range theirs.Replace {
		if strings.HasPrefix(r.New.Path, "./staging/") {
			fmt.Fprintf(&b, "\nreplace %s => %s %s\n", r.Old.Path, r.Old.Path, released)
		}
	}
	return b.String()
}

// toolsFile imports commands for the sake of `go mod tidy` alone: its build
// constraint is never met.
func toolsFile(packages []string) string {
	var b strings.Builder
	b.WriteString("//go:build tools\n\npackage tools\n\nimport (\n")
	for _, p := range packages {
		fmt.Fprintf(&b, "\t_ %q\n", p)
	}
	b.WriteString(")\n")
	return b.String()
}
