package main

import "testing"

// What a person types as a reason ends in a status line and on terminals.
func TestOneLine(t *testing.T) {
	for text, want := range map[string]string{
		"kubeadm upgrade":      "kubeadm upgrade",
		" two\nlines\t":        "two lines",
		"\x1b[2Jnot an escape": "[2Jnot an escape",
		"":                     "",
	} {
		if got := oneLine(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}
