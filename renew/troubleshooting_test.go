package renew_test

import (
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

	"github.com/kubecertd/kubecertd/renew"
)

// emitted are the ids of all findings that this package can make, read from its source:
// those of findings and notices, and those that follow from the names of gates; and the
// kinds of gates.
func emitted(t *testing.T) (ids, kinds map[string]bool) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	set, constants := token.NewFileSet(), map[string]string{}
	var parsed []*ast.File
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, file)
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Names) == len(spec.Values) {
				for i, name := range spec.Names {
					constants[name.Name], _ = literal(spec.Values[i], nil)
				}
			}
			return true
		})
	}
	gates, own := map[string]bool{}, map[string]string{}
	ids, kinds = map[string]bool{}, map[string]bool{}
	note := func(set map[string]bool, value ast.Expr) {
		if text, ok := literal(value, constants); ok && text != "" {
			set[text] = true
		}
	}
	for _, file := range parsed {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CompositeLit:
				kind, _ := n.Type.(*ast.Ident)
				if list, ok := n.Type.(*ast.ArrayType); ok && named(list.Elt, "Gate") {
					for _, element := range n.Elts {
						if gate, ok := element.(*ast.CompositeLit); ok && gate.Type == nil && len(gate.Elts) > 0 {
							note(gates, gate.Elts[0])
						}
					}
				}
				for i, element := range n.Elts {
					pair, keyed := element.(*ast.KeyValueExpr)
					switch {
					case kind == nil:
					case keyed && (kind.Name == "Finding" || kind.Name == "Notice") && named(pair.Key, "ID"):
						note(ids, pair.Value)
					case kind.Name == "Gate" && (!keyed && i == 0):
						note(gates, element)
					case kind.Name == "Gate" && keyed && named(pair.Key, "Name"):
						note(gates, pair.Value)
					}
				}
			case *ast.AssignStmt:
				for i, left := range n.Lhs {
					if field, ok := left.(*ast.SelectorExpr); ok && field.Sel.Name == "ID" && len(n.Lhs) == len(n.Rhs) {
						note(ids, n.Rhs[i])
					}
				}
			case *ast.CallExpr:
				if method, ok := n.Fun.(*ast.SelectorExpr); ok && method.Sel.Name == "close" && len(n.Args) == 3 {
					note(gates, n.Args[0])
				}
			case *ast.ValueSpec:
				if len(n.Names) != 1 || n.Names[0].Name != "gateFindings" {
					return true
				}
				for _, element := range n.Values[0].(*ast.CompositeLit).Elts {
					pair := element.(*ast.KeyValueExpr)
					gate, _ := literal(pair.Key, constants)
					own[gate], _ = literal(pair.Value, constants)
				}
			}
			return true
		})
	}
	for gate := range gates {
		kind, _, _ := strings.Cut(gate, " ")
		kinds[kind] = true
		if id := own[kind]; id != "" {
			ids[id] = true
		} else {
			ids["gate-"+kind] = true
		}
	}
	if len(ids) < 30 || !ids["gate-etcd"] || !ids["paused"] {
		t.Fatalf("the source was not understood: %v", ids)
	}
	return ids, kinds
}

// literal is the text of a string, of a constant that holds one, or of how it begins.
func literal(e ast.Expr, constants map[string]string) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil && e.Kind == token.STRING
	case *ast.Ident:
		text, ok := constants[e.Name]
		return text, ok
	case *ast.BinaryExpr:
		return literal(e.X, constants)
	default:
		return "", false
	}
}

func named(e ast.Expr, name string) bool {
	ident, ok := e.(*ast.Ident)
	return ok && ident.Name == name
}

// entry is one of docs/troubleshooting.md.
type entry struct {
	body string
	says []*regexp.Regexp // the sentences by which it is found
}

func entries(t *testing.T) map[string]entry {
	t.Helper()
	content, err := os.ReadFile("../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]entry{}
	for _, part := range regexp.MustCompile(`(?m)^### `).Split(string(content), -1)[1:] {
		id, body, _ := strings.Cut(part, "\n")
		body, _, _ = strings.Cut(body, "\n## ")
		if _, twice := all[id]; twice {
			t.Errorf("%s has two entries", id)
		}
		e := entry{body: body}
		for line := range strings.Lines(body) {
			if sentence, ok := strings.CutPrefix(strings.TrimSpace(line), "> "); ok {
				if strings.Trim(sentence, "… :,") == "" {
					t.Errorf("%s: %q is found by no words", id, sentence)
				}
				pattern := strings.ReplaceAll(regexp.QuoteMeta(sentence), "…", "(?s:.*)")
				e.says = append(e.says, regexp.MustCompile("^"+pattern+"$"))
			}
		}
		all[id] = e
	}
	return all
}

// Whoever reads an id or a sentence finds it in docs/troubleshooting.md, with all that a
// person must know, and nothing is in there that is never said.
func TestTroubleshooting(t *testing.T) {
	ids, kinds := emitted(t)
	all := entries(t)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(kinds)), slices.Sorted(slices.Values(renew.GateNames))); diff != "" {
		t.Errorf("GateNames lacks a gate, or has one that nobody closes (-source +GateNames):\n%s", diff)
	}
	for id := range ids {
		if _, ok := all[id]; !ok {
			t.Errorf("%s has no entry", id)
		}
	}
	for id, e := range all {
		if !ids[id] {
			t.Errorf("the entry %s is of no finding", id)
		}
		if len(e.says) == 0 {
			t.Errorf("%s: the sentence that is said is not quoted", id)
		}
		for _, what := range []string{"**It means**", "**kubecertd**", "**You**", "**It is over**"} {
			if !strings.Contains(e.body, "\n"+what) {
				t.Errorf("%s: nothing begins with %s", id, what)
			}
		}
	}
	for _, tt := range strangeNodes {
		if !ids[tt.id] {
			continue // gates of the future
		}
		e := examination()
		tt.change(&e)
		for _, f := range judged(e) {
			said := false
			for _, pattern := range all[f.ID].says {
				said = said || pattern.MatchString(f.Found)
			}
			if !said {
				t.Errorf("%s: %q is not how its entry says it begins", f.ID, f.Found)
			}
		}
	}
}
