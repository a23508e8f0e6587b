//go:build linux

package parts

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The go.mod of k8s.io/kubernetes replaces its staging modules by folders
// that its zip does not hold; they are released under v0.N.P.
func TestGoModOfStagedModule(t *testing.T) {
	var theirs moduleFile
	err := json.Unmarshal([]byte(`{
		"Go": "1.26.0",
		"Replace": [
			{"Old": {"Path": "k8s.io/api"}, "New": {"Path": "./staging/src/k8s.io/api"}},
			{"Old": {"Path": "example.com/fork"}, "New": {"Path": "example.com/other", "Version": "v1.0.0"}}
		]
	}`), &theirs)
	if err != nil {
		t.Fatal(err)
	}
	m := goModule{path: "k8s.io/kubernetes", version: "v1.36.3", staged: true}
	want := `module kubecertd.lab/build

go 1.26.0

require k8s.io/kubernetes v1.36.3

replace k8s.io/api => k8s.io/api v0.36.3
`
	if diff := cmp.Diff(want, m.goMod(theirs)); diff != "" {
		t.Errorf("go.mod (-want +got):\n%s", diff)
	}
}

func TestToolsFileImportsEveryCommand(t *testing.T) {
	text := toolsFile(packagesOf(kubernetesBinaries))
	for _, b := range kubernetesBinaries {
		if !strings.Contains(text, `_ "`+b.pkg+`"`) {
			t.Errorf("%s is not imported:\n%s", b.pkg, text)
		}
	}
	if !strings.HasPrefix(text, "//go:build tools\n") {
		t.Errorf("it would be compiled:\n%s", text)
	}
}
