//go:build linux

package parts

import "testing"

func TestResolveVersion(t *testing.T) {
	tests := []struct {
		in, want string
		ok       bool
	}{
		{"", DefaultKubernetes, true},
		{"1.36.3", "v1.36.3", true},
		{"v1.34.4", "v1.34.4", true},
		{"1.31", "v1.31.0", true},
		{"v1.35", "v1.35.4", true},
		{"1.36", DefaultKubernetes, true},
		{"1.99", "", false}, // its newest patch is not known here
		{"latest", "", false},
		{"1.36.3-rc.1", "", false},
		{"2.0.0", "", false},
	}
	for _, test := range tests {
		got, err := resolveVersion(test.in)
		if got != test.want || (err == nil) != test.ok {
			t.Errorf("resolveVersion(%q) = %q, %v; want %q, ok %v", test.in, got, err, test.want, test.ok)
		}
	}
}
