package packaging_test

import (
	"bufio"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// entry is what the catalog says about one event: its header and its text.
type entry struct {
	header map[string][]string
	text   string
}

// catalog reads the shipped one as catalog_import_file of systemd does: "-- ID" begins an
// entry, an empty line ends its header.
func catalog(t *testing.T) map[string]entry {
	t.Helper()
	entries := map[string]entry{}
	var id string
	var header bool
	lines := bufio.NewScanner(strings.NewReader(read(t, "kubecertd.catalog")))
	for lines.Scan() {
		line := lines.Text()
		if begun, yes := strings.CutPrefix(line, "-- "); yes {
			if _, twice := entries[begun]; twice {
				t.Errorf("%s has two entries", begun)
			}
			id, header = begun, true
			entries[id] = entry{header: map[string][]string{}}
			continue
		}
		e := entries[id]
		switch key, value, isHeader := strings.Cut(line, ": "); {
		case id == "" || header && line == "":
			header = header && line != ""
		case header && isHeader:
			e.header[key] = append(e.header[key], value)
		case header:
			t.Errorf("%s: %q is no header", id, line)
		default:
			e.text += line + "\n"
			entries[id] = e
		}
	}
	return entries
}

// events are the ids of the program by their names, and of each event the fields that all
// its messages have.
func events(t *testing.T) (ids map[string]string, fields map[string][]string) {
	t.Helper()
	ids, fields = map[string]string{}, map[string][]string{}
	for _, pattern := range []string{"../renew/*.go", "../cmd/kubecertd/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.ValueSpec:
					if name := n.Names[0].Name; strings.HasPrefix(name, "Event") && len(n.Values) == 1 {
						ids[name] = text(n.Values[0])
					}
				case *ast.CallExpr:
					if name, keys := message(n); name != "" {
						if before, seen := fields[name]; seen {
							keys = slices.DeleteFunc(keys, func(k string) bool { return !slices.Contains(before, k) })
						}
						fields[name] = keys
					}
				}
				return true
			})
		}
	}
	return ids, fields
}

// message is the event that a call logs, and with which fields.
func message(call *ast.CallExpr) (event string, fields []string) {
	for _, a := range call.Args {
		field, ok := a.(*ast.CallExpr)
		if !ok || len(field.Args) == 0 {
			continue
		}
		key := text(field.Args[0])
		switch name := called(field.Fun); {
		case name == "event":
			event = called(field.Args[0])
		case key == "message_id":
			event = called(field.Args[1])
		case name == "Error" && key == "":
			fields = append(fields, "ERROR")
		default:
			fields = append(fields, strings.ToUpper(key))
		}
	}
	return event, fields
}

func called(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	default:
		return ""
	}
}

// text is a constant string, or empty.
func text(e ast.Expr) string {
	literal, ok := e.(*ast.BasicLit)
	if !ok {
		return ""
	}
	value, _ := strconv.Unquote(literal.Value)
	return value
}

// Whoever asks journalctl -x about a message of ours is told what to do.
func TestCatalog(t *testing.T) {
	ids, fields := events(t)
	entries := catalog(t)
	if len(ids) < 30 || len(fields) < 30 {
		t.Fatalf("only %d events and %d messages were found", len(ids), len(fields))
	}
	for name, id := range ids {
		e, here := entries[id]
		if !here {
			t.Errorf("%s (%s) has no entry", name, id)
			continue
		}
		for _, key := range []string{"Subject", "Defined-By", "Support", "Documentation"} {
			if len(e.header[key]) == 0 {
				t.Errorf("the entry of %s has no %s", name, key)
			}
		}
		paragraphs := strings.Split(strings.TrimSpace(e.text), "\n\n")
		if len(paragraphs) < 2 {
			t.Errorf("the entry of %s does not say both what happened and what to do:\n%s", name, e.text)
		}
		// journalctl writes the name of a field in its place when a message lacks it.
		for _, used := range regexp.MustCompile(`@([A-Z_]+)@`).FindAllStringSubmatch(strings.Join(e.header["Subject"], "")+e.text, -1) {
			all := append([]string{"RUN_ID"}, fields[name]...)
			if name == "EventRestarting" || name == "EventEscalated" {
				all = append(all, "COMPONENT") // of its logger
			}
			if !slices.Contains(all, used[1]) {
				t.Errorf("the entry of %s uses @%s@, which not all of its messages have", name, used[1])
			}
		}
		for _, line := range strings.Split(e.text, "\n") {
			if len(line) > 92 {
				t.Errorf("the entry of %s has a long line: %s", name, line)
			}
		}
		delete(entries, id)
	}
	for id := range entries {
		t.Errorf("the entry %s has no event", id)
	}
}

// systemd takes all of it.
func TestCatalogIsAccepted(t *testing.T) {
	need(t, "journalctl")
	ids, _ := events(t)
	root := t.TempDir()
	place := filepath.Join(root, "usr/lib/systemd/catalog/kubecertd.catalog")
	mkdir(filepath.Dir(place))
	mkdir(filepath.Join(root, "var/lib/systemd/catalog"))
	if err := os.WriteFile(place, []byte(read(t, "kubecertd.catalog")), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := run(t, nil, "journalctl", "--root="+root, "--update-catalog"); out != "" {
		t.Errorf("journalctl says %q", out)
	}
	var got []string
	for _, line := range strings.Split(strings.TrimSpace(run(t, nil, "journalctl", "--root="+root, "--list-catalog")), "\n") {
		id, subject, _ := strings.Cut(line, " ")
		if !strings.HasPrefix(subject, "kubecertd: ") {
			t.Errorf("%s has the subject %q", id, subject)
		}
		got = append(got, id)
	}
	slices.Sort(got)
	if diff := cmp.Diff(slices.Sorted(maps.Values(ids)), got); diff != "" {
		t.Errorf("ids in the catalog (-events +listed)\n%s", diff)
	}
}
