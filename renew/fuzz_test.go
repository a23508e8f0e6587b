package renew

import (
	"encoding/json"
	"errors"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever is in a record, reading it ends, and what a start does about it ends the
// run: the second start finds nothing to do.
func FuzzRecord(f *testing.F) {
	whole := `{"time":"2026-03-01T12:00:00Z","step":"run","event":"begin","reason":"timer"}` + "\n"
	for _, seed := range []string{
		"", "\n", whole, whole + `{"step":"renew apiserver","event":"begin"}` + "\n",
		whole + `{"step":"snapshot","event":"end","snapshot":"../../etc"}` + "\n" + `{"step":"renew apiserver","event":"begin"}` + "\n",
		whole + `{"step":"put back apiserver","event":"be`, whole + `{"step":"run","event":"end","error":"x"}` + "\n",
		"\x00\x00\x00\x00", strings.TrimSpace(whole), whole + "\x00\x00\n", `{"step":"renew a"}` + "\n", "[]\n[]\n", `{"step":"run","event":"begin","plan":{"renew":null}}` + "\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		run, err := parseRun("20260301T120000.000Z-abcdef", content)
		if err == nil && len(run.Entries) > 0 && run.Began.IsZero() {
			t.Errorf("a record that does not begin was read: %q", content)
		}
		run.Results()
		s := State{Dir: t.TempDir()}
		file := s.path("runs", "20260301T120000.000Z-abcdef.jsonl")
		if err := errors.Join(os.Mkdir(filepath.Dir(file), 0o700), os.WriteFile(file, content, 0o600)); err != nil {
			t.Fatal(err)
		}
		n := emptyNode(t, s)
		if err := n.Recover(t.Context()); err != nil {
			t.Fatalf("the start is blocked: %v", err)
		}
		last, err := s.last()
		if err != nil || last.Outcome == Unfinished {
			t.Errorf("after the start the last run is %+v, %v", last, err)
		}
	})
}

// A manifest names files that are restored by root: nothing that is no plain path of a
// file may come through.
func FuzzManifest(f *testing.F) {
	sum := strings.Repeat("ab", 32)
	for _, seed := range []string{
		"", "{}", "[]", `{"files":[]}`,
		`{"id":"x","taken":"2026-03-01T12:00:00Z","files":[{"certificate":"ca","path":"/etc/kubernetes/pki/ca.crt","mode":420,"size":1,"sha256":"` + sum + `"}]}`,
		`{"files":[{"path":"/etc/../root/.ssh/authorized_keys","sha256":"` + sum + `"}]}`,
		`{"files":[{"path":"relative","sha256":"` + sum + `"}]}`,
		`{"files":[{"path":"/a","absent":true,"sha256":"` + sum + `"}]}`,
		`{"files":[{"path":"/a","mode":2147484096,"sha256":"` + sum + `"}]}`,
		`{"files":[{"path":"/a","sha256":"` + sum + `"},{"path":"/a","sha256":"` + sum + `"}]}`,
		`{"files":[{"path":"/a","sha256":"zz"}]}`, `{"files":[{"path":"/a","size":-1,"sha256":"` + sum + `"}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		snap, err := parseManifest(content)
		if err != nil {
			return
		}
		if len(snap.Files) == 0 {
			t.Error("a manifest without files was read")
		}
		seen := map[string]bool{}
		for _, c := range snap.Files {
			if !path.IsAbs(c.Path) || path.Clean(c.Path) != c.Path || seen[c.Path] || c.Mode > 0o777 || (c.SHA256 == "") != c.Absent {
				t.Errorf("read %+v", c)
			}
			seen[c.Path] = true
		}
		again, err := json.Marshal(snap)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseManifest(again); err != nil {
			t.Errorf("written again it is refused: %v", err)
		}
	})
}
