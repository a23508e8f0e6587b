package packaging_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kubecertd/kubecertd/configs"
)

// pages are the manual pages that are shipped.
func pages(t *testing.T) []string {
	t.Helper()
	built(t, "deb", oldVersion, host)
	all, err := filepath.Glob(filepath.Join(packages.dir, "docs", "man*", "*.gz"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, page := range all {
		names = append(names, strings.TrimSuffix(filepath.Base(page), ".gz"))
	}
	for _, want := range []string{"kubecertd.8", "kubecertd-run.8", "kubecertd-status.8", "kubecertd-check.8", "kubecertd-backup-restore.8", "kubecertd.yaml.5"} {
		if !slices.Contains(names, want) {
			t.Errorf("there is no page %s", want)
		}
	}
	return all
}

// plain is what is in a compressed file.
func plain(t *testing.T, path string) string {
	t.Helper()
	r, err := gzip.NewReader(strings.NewReader(read(t, path)))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return string(content)
}

func TestManPages(t *testing.T) {
	for _, page := range pages(t) {
		text := plain(t, page)
		file := strings.TrimSuffix(filepath.Base(page), ".gz")
		name := strings.TrimSuffix(file, filepath.Ext(file))
		// What apropos(1) finds it by.
		if !strings.Contains(text, "\n.SH NAME\n"+strings.ReplaceAll(name, "-", `\-`)+` \- `) {
			t.Errorf("%s does not begin with its name:\n%.200s", page, text)
		}
		if !strings.HasPrefix(text, ".TH ") || !strings.Contains(text, " 2023-11-14 kubecertd kubecertd\n") {
			t.Errorf("%s has not the date of the source: %.80s", page, text)
		}
		// The other pages that it names are there.
		for _, other := range regexp.MustCompile(`(?m)^\.BR (kubecertd\S*) \(([58])\)`).FindAllStringSubmatch(text, -1) {
			file := strings.ReplaceAll(other[1], `\-`, "-") + "." + other[2] + ".gz"
			if _, err := os.Stat(filepath.Join(packages.dir, "docs", "man"+other[2], file)); err != nil {
				t.Errorf("%s names %s, which there is not", page, file)
			}
		}
	}
}

// Every key of the configuration is explained, with its default.
func TestConfigurationPage(t *testing.T) {
	pages(t)
	text := strings.ReplaceAll(plain(t, filepath.Join(packages.dir, "docs/man5/kubecertd.yaml.5.gz")), `\-`, "-")
	for _, key := range configs.Keys() {
		if i := strings.Index(text, `\fB`+key.Name+`\fR (default: `); i < 0 || strings.HasPrefix(strings.SplitN(text[i:], "\n", 2)[1], ".") {
			t.Errorf("%s is not explained", key.Name)
		}
	}
}

// Equal source gives equal pages and completions.
func TestDocsAreReproducible(t *testing.T) {
	pages(t)
	again := os.DirFS(filepath.Join(packages.dir, "docs-again"))
	count := 0
	for _, pattern := range []string{"man5/*", "man8/*", "bash/*", "zsh/*", "fish/*"} {
		files, err := filepath.Glob(filepath.Join(packages.dir, "docs", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			count++
			f, err := again.Open(filepath.Join(filepath.Base(filepath.Dir(file)), filepath.Base(file)))
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(f)
			_ = f.Close()
			if err != nil || !bytes.Equal(content, []byte(read(t, file))) {
				t.Errorf("%s was another the second time (%v)", file, err)
			}
		}
	}
	if count < 10 {
		t.Errorf("only %d files were found", count)
	}
}

func TestManPagesLint(t *testing.T) {
	t.Run("mandoc", func(t *testing.T) {
		need(t, "mandoc")
		dir := t.TempDir()
		for _, page := range pages(t) {
			path := filepath.Join(dir, strings.TrimSuffix(filepath.Base(page), ".gz"))
			if err := os.WriteFile(path, []byte(plain(t, page)), 0o600); err != nil {
				t.Fatal(err)
			}
			// Long lines are matters of style.
			if out, err := command(".", nil, "mandoc", "-T", "lint", "-W", "warning", path); err != nil || out != "" {
				t.Errorf("%v\n%s", err, out)
			}
		}
	})
	t.Run("man", func(t *testing.T) {
		present(t, "man")
		for _, page := range pages(t) {
			man := exec.Command("man", "--warnings", "--local-file", page)
			man.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANWIDTH=80", "MAN_KEEP_STDERR=1")
			var warnings strings.Builder
			man.Stderr = &warnings
			if out, err := man.Output(); err != nil || len(out) == 0 || warnings.Len() > 0 {
				t.Errorf("%s: %v\n%s", page, err, &warnings)
			}
		}
	})
}

// present skips a test where a program is missing that nobody has to install.
func present(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("there is no %s on this host, which would check it", program)
	}
}

// Each shell accepts the script that is made for it.
func TestCompletions(t *testing.T) {
	pages(t)
	for shell, script := range map[string]string{"bash": "bash/kubecertd", "zsh": "zsh/_kubecertd", "fish": "fish/kubecertd.fish"} {
		t.Run(shell, func(t *testing.T) {
			path := filepath.Join(packages.dir, "docs", script)
			if !strings.Contains(read(t, path), "__complete") {
				t.Errorf("%s does not ask kubecertd", script)
			}
			present(t, shell)
			if out, err := command(".", nil, shell, "-n", path); err != nil || out != "" {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
