package pki_test

import (
	"testing"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/pki/pkitest"
)

// A look at the files of a control-plane node: 16 certificates and 4 manifests.
func BenchmarkRead(b *testing.B) {
	n := pkitest.New(b, now)
	for b.Loop() {
		l, _ := pki.Locate(pki.Options{Root: n.Root})
		if got := len(l.Read(now)); got != 16 {
			b.Fatalf("%d certificates", got)
		}
	}
}
