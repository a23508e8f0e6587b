package house_test

import (
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/kubecertd/kubecertd"

// mayImport are the rooms of the house and which others of ours each may import.
// What is missing here, cmd and test, may import everything. The linter holds the
// same (.golangci.yml, depguard); this test needs no linter and covers files of
// every platform.
var mayImport = map[string][]string{
	"pki":       nil,
	"runtime":   nil,
	"systemd":   nil,
	"cluster":   nil,
	"configs":   nil,
	"packaging": {"configs"},
	"renew":     {"pki"},
	"report":    {"pki", "renew"},
}

// onlyIn are packages that one place alone may know, and the places. A test of
// another place may run programs: it is one.
var onlyIn = map[string][]string{
	"github.com/spf13/viper":              {"configs"},
	"github.com/go-viper/mapstructure/v2": {"configs"},
	"os/exec":                             {"renew", "test"},
	module + "/cmd":                       {"cmd"},
	module + "/test":                      {"test"},
}

// testsMayImport are what the tests of a room may know beyond that.
var testsMayImport = map[string][]string{
	// A power cut, for what must survive one; and what the API server is asked, to count it.
	"renew": {"test/lab/disk", "cluster"},
}

// source is one parsed Go file.
type source struct {
	path string
	room string // the first folder of its path
	test bool
	file *ast.File
	text string
}

func TestImportsPointOneWay(t *testing.T) {
	for _, s := range sources(t) {
		for _, spec := range s.file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			ours, ok := strings.CutPrefix(path, module+"/")
			if s.test && slices.Contains(testsMayImport[s.room], ours) {
				continue
			}
			for only, places := range onlyIn {
				if s.test && only == "os/exec" {
					continue
				}
				if (path == only || strings.HasPrefix(path, only+"/")) && !slices.Contains(places, s.room) {
					t.Errorf("%s imports %s, which only %s may", s.path, path, strings.Join(places, " and "))
				}
			}
			room, _, _ := strings.Cut(ours, "/")
			allowed, limited := mayImport[s.room]
			if ok && limited && room != s.room && !slices.Contains(allowed, room) {
				t.Errorf("%s imports %s: imports point one way, see docs/architecture.md", s.path, path)
			}
			if path == "runtime" && (spec.Name == nil || spec.Name.Name != "goruntime" && spec.Name.Name != "_") {
				t.Errorf("%s imports the standard library's runtime under another name than goruntime", s.path)
			}
		}
	}
}

// A package says once why it exists: tools show only one of several comments, in
// the order of file names.
func TestOnePackageComment(t *testing.T) {
	comments := map[string][]string{}
	for _, s := range sources(t) {
		dir, name := filepath.Split(s.path)
		// A command may say on another platform why it cannot run there.
		here, err := build.Default.MatchFile(dir, name)
		if err != nil {
			t.Fatal(err)
		}
		if s.test || !here {
			continue
		}
		if _, seen := comments[dir]; !seen {
			comments[dir] = nil
		}
		if s.file.Doc != nil {
			comments[dir] = append(comments[dir], name)
		}
	}
	for dir, files := range comments {
		if len(files) != 1 {
			t.Errorf("package %s has %d package comments, want 1: %s", dir, len(files), strings.Join(files, ", "))
		}
	}
}

// At 400 lines there is a second idea in a file.
func TestFilesAreShort(t *testing.T) {
	for _, s := range sources(t) {
		if n := strings.Count(s.text, "\n"); n > 400 && !s.test {
			t.Errorf("%s has %d lines: look for its second idea and give that a file of its own", s.path, n)
		}
	}
}

// A call out that nobody can end, and a note to oneself, are not for users.
func TestNothingUnfinished(t *testing.T) {
	words := []string{"TO" + "DO", "FIX" + "ME", "XX" + "X"} // the first also finds context's
	for _, s := range sources(t) {
		for i, line := range strings.Split(s.text, "\n") {
			for _, word := range words {
				if strings.Contains(line, word) {
					t.Errorf("%s:%d: %s", s.path, i+1, strings.TrimSpace(line))
				}
			}
		}
	}
}

// sources are all Go files of this module. Folders with a go.mod of their own, such
// as tools, are other modules.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			_, other := os.Stat(filepath.Join(path, "go.mod"))
			hidden := strings.HasPrefix(entry.Name(), ".") && path != "."
			if path != "." && (other == nil || hidden || entry.Name() == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		room, _, _ := strings.Cut(filepath.ToSlash(path), "/")
		all = append(all, source{path, room, strings.HasSuffix(path, "_test.go"), file, string(text)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("found only %d Go files", len(all))
	}
	return all
}

// The pages of x/net/trace are templates, which call methods by name: with them the linker
// keeps every method there is, and the idle daemon is three megabytes larger.
func TestNothingKeepsEveryMethod(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags", "grpcnotrace", "./cmd/kubecertd").Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := strings.Fields(string(out))
	if !slices.Contains(packages, module+"/renew") {
		t.Fatalf("only %d packages were listed", len(packages))
	}
	if slices.Contains(packages, "golang.org/x/net/trace") {
		t.Error("the program links golang.org/x/net/trace: go list -deps says whose it is; see third_party/go-conntrack")
	}
}

// What -short leaves out of the unit tests is run by make test all the same: the list in
// the Makefile knows every test of a file that asks for it.
func TestLongTestsAreRun(t *testing.T) {
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	list := regexp.MustCompile(`(?m)^LONG := (.*)$`).FindSubmatch(makefile)
	if list == nil {
		t.Fatal("the Makefile has no LONG")
	}
	long, found := regexp.MustCompile(string(list[1])), 0
	for _, s := range sources(t) {
		if !s.test || s.room != "renew" || !strings.Contains(s.text, "testing.Short()") {
			continue
		}
		for _, f := range regexp.MustCompile(`(?m)^func (Test\w+)`).FindAllStringSubmatch(s.text, -1) {
			if found++; !long.MatchString(f[1]) {
				t.Errorf("%s: %s is not in LONG of the Makefile, or belongs into another file", s.path, f[1])
			}
		}
	}
	if found == 0 {
		t.Error("no such test was found")
	}
}
