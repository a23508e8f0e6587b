package packaging_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
)

// The two versions that the tests install. The second ships another configuration,
// as a release with a new key would.
const (
	oldVersion = "1.0.0"
	newVersion = "1.1.0"
	newComment = "# Written by a later version.\n"
)

// packages are the packages of both versions, built once for all tests.
var packages struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if packages.dir != "" {
		_ = os.RemoveAll(packages.dir)
	}
	os.Exit(code)
}

// built is the path of a package, such as built(t, "deb", newVersion, "arm64").
func built(t *testing.T, format, version, arch string) string {
	t.Helper()
	packages.once.Do(func() { packages.dir, packages.err = build() })
	if packages.err != nil {
		t.Fatal(packages.err)
	}
	return filepath.Join(packages.dir, strings.Join([]string{version, arch, format}, "."))
}

// build makes the packages with the repository's nfpm.yaml from a copy of what goes
// into them. The binary is the real one for this machine, and stands in for the
// other architecture too, of which only the description is looked at.
func build() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "kubecertd-packages-"); err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "kubecertd")
	if _, err := command("..", []string{"CGO_ENABLED=0"}, "go", "build", "-buildvcs=false", "-trimpath", "-tags", "grpcnotrace",
		"-ldflags", "-s -w -X main.version="+oldVersion, "-o", binary, "./cmd/kubecertd"); err != nil {
		return dir, err
	}
	docs := filepath.Join(dir, "write-docs")
	if _, err := command("..", nil, "go", "build", "-buildvcs=false", "-tags", "docs", "-o", docs, "./cmd/kubecertd"); err != nil {
		return dir, err
	}
	for _, pages := range []string{"docs", "docs-again"} {
		if _, err := command(dir, []string{"SOURCE_DATE_EPOCH=1700000000"}, docs, "docs", pages); err != nil {
			return dir, err
		}
	}
	// -n builds the tool and prints where it is, so that it can run in another folder.
	out, err := command("..", nil, "go", "tool", "-modfile=tools/go.mod", "-n", "nfpm")
	if err != nil {
		return dir, err
	}
	nfpm := strings.TrimSpace(out)

	for _, version := range []string{oldVersion, newVersion} {
		stage := filepath.Join(dir, "stage-"+version)
		for _, file := range []string{"nfpm.yaml", "README.md", "LICENSE", "docs", "configs/kubecertd.yaml", "systemd/kubecertd.service", "packaging"} {
			if _, err := command("..", nil, "cp", "-a", "--parents", file, mkdir(stage)); err != nil {
				return dir, err
			}
		}
		if _, err := command(dir, nil, "cp", "-a", "docs", mkdir(filepath.Join(stage, "bin"))); err != nil {
			return dir, err
		}
		if version == newVersion {
			if err := appendTo(filepath.Join(stage, "configs/kubecertd.yaml"), newComment); err != nil {
				return dir, err
			}
		}
		for _, arch := range []string{"amd64", "arm64"} {
			if version == newVersion && arch != host {
				continue // nobody looks at it
			}
			if err := os.Link(binary, filepath.Join(mkdir(filepath.Join(stage, "bin/linux_"+arch)), "kubecertd")); err != nil {
				return dir, err
			}
			for _, format := range []string{"deb", "rpm"} {
				env := []string{"VERSION=" + version, "ARCH=" + arch, "SOURCE_DATE_EPOCH=1700000000"}
				target := filepath.Join(dir, strings.Join([]string{version, arch, format}, "."))
				if _, err := command(stage, env, nfpm, "package", "--packager", format, "--target", target); err != nil {
					return dir, err
				}
			}
		}
	}
	return dir, nil
}

func mkdir(dir string) string {
	_ = os.MkdirAll(dir, 0o755) // the next use of it says why it is not there
	return dir
}

func appendTo(path, text string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(content, text...), 0o644)
}

// command runs a program and returns what it printed.
func command(dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// run is command for a test that must not fail there.
func run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	out, err := command(".", env, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// need skips a test where a program is missing.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is missing: tools/install-deps.sh installs it", program)
		}
	}
}

// host is the architecture that can be installed here.
const host = goruntime.GOARCH
