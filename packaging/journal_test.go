package packaging_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// logged are the names of all fields that the program gives its messages, as the journal
// has them.
func logged(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, pattern := range []string{"../renew/*.go", "../cmd/kubecertd/*.go", "../runtime/*.go", "../cluster/*.go", "../report/metrics/*.go"} {
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
				if name := field(n); name != "" && !slices.Contains(names, name) {
					names = append(names, name)
				}
				return true
			})
		}
	}
	return names
}

// field is the name that a call of zap gives a field, or empty.
func field(n ast.Node) string {
	call, ok := n.(*ast.CallExpr)
	if !ok || len(call.Args) == 0 {
		return ""
	}
	of, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || called(of.X) != "zap" {
		return ""
	}
	if of.Sel.Name == "Error" {
		return "ERROR"
	}
	return strings.ToUpper(text(call.Args[0]))
}

// What can be asked of the journal is written down, and nothing that cannot.
func TestJournalFieldsAreDocumented(t *testing.T) {
	document := read(t, "../docs/journal.md")
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\| .").FindAllStringSubmatch(document, -1) {
		if !slices.IsSorted(append(slices.Clone(documented[max(0, len(documented)-1):]), row[1])) && row[1] != "MESSAGE_ID" {
			t.Errorf("%s is not in its place: they are in the order of the alphabet", row[1])
		}
		documented = append(documented, row[1])
	}
	fields := logged(t)
	if len(fields) < 30 {
		t.Fatalf("only %d fields were found", len(fields))
	}
	for _, name := range fields {
		if !slices.Contains(documented, name) {
			t.Errorf("the field %s is not in docs/journal.md", name)
		}
	}
	for _, name := range documented {
		if !slices.Contains(fields, name) {
			t.Errorf("docs/journal.md has %s, which no message has", name)
		}
	}
}

// The events there are those of the catalog, with the same words.
func TestJournalEventsAreDocumented(t *testing.T) {
	rows := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([0-9a-f]{32})` \\| (.*) \\|$").FindAllStringSubmatch(read(t, "../docs/journal.md"), -1) {
		rows[row[1]] = row[2]
	}
	for id, e := range catalog(t) {
		want := regexp.MustCompile(`@([A-Z_]+)@`).ReplaceAllString(e.header["Subject"][0], "`$1`")
		if rows[id] != want {
			t.Errorf("docs/journal.md calls %s %q, the catalog %q", id, rows[id], want)
		}
		delete(rows, id)
	}
	for id := range rows {
		t.Errorf("docs/journal.md has %s, which the catalog has not", id)
	}
}
