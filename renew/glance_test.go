package renew_test

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/renew"
)

// A glance finds what a person has to hear of now, and writes nothing. Of files alone
// nothing is said about what runs.
func TestGlance(t *testing.T) {
	for _, tt := range []struct {
		name   string
		broken func(*fakeNode)
		disk   bool
		want   []string
		not    []string
	}{
		{"the daemon does not run", func(n *fakeNode) { n.Service = itself{"inactive (dead)"} }, false, []string{"daemon-down", "certificate-due"}, []string{"component-down"}},
		{"nothing runs", func(n *fakeNode) { clear(n.pods); n.unit.Running = false }, false, []string{"component-down", "kubelet-down"}, nil},
		{"nothing runs, and only files are looked at", func(n *fakeNode) { clear(n.pods); n.unit.Running = false; n.Service = itself{"inactive (dead)"} }, true,
			[]string{"certificate-due"}, []string{"component-down", "kubelet-down", "daemon-down"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newFakeNode(t)
			tt.broken(n)
			before := tree(t, n.files.Root, filepath.Dir(n.State.Dir))
			var ids []string
			for _, f := range renew.Findings(n.Glance(t.Context(), tt.disk), n.Policy) {
				ids = append(ids, f.ID)
			}
			for _, id := range tt.want {
				if !slices.Contains(ids, id) {
					t.Errorf("want %s in %v", id, ids)
				}
			}
			for _, id := range tt.not {
				if slices.Contains(ids, id) {
					t.Errorf("there is %s in %v", id, ids)
				}
			}
			if diff := cmp.Diff(before, tree(t, n.files.Root, filepath.Dir(n.State.Dir))); diff != "" {
				t.Errorf("it was changed:\n%s", diff)
			}
		})
	}
}
