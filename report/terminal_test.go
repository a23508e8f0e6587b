package report_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/report"
)

var update = flag.Bool("update", false, "write the golden files anew")

// busyLook is a look at a node on which a lot is wrong, with names of every length.
func busyLook() renew.Look {
	l := look()
	o := l.Observation
	long := o.Certificates[0]
	long.Path, long.Reason = "/etc/kubernetes/pki/apiserver-kubelet-client.crt", "expires in 20d, and its CA's key is not here"
	long.Name, long.NotAfter, long.NotBefore = "apiserver-kubelet-client", now.Add(20*day), now.Add(-345*day)
	watched := pki.Certificate{Name: "/srv/tls/a/long/way/to/ingress.example.org.pem", Path: "/srv/tls/a/long/way/to/ingress.example.org.pem", Watched: true,
		Renewer: pki.Nobody, State: pki.OK, Reason: "expires in 10d", NotBefore: now.Add(-80 * day), NotAfter: now.Add(10 * day)}
	gone := pki.Certificate{Name: "front-proxy-client", Path: "/etc/kubernetes/pki/front-proxy-client.crt", Renewer: pki.Kubeadm, State: pki.Missing, Reason: "there is no such file"}
	external := o.Certificates[0]
	external.Name, external.State, external.NotAfter = "etcd-server", pki.External, now.Add(200*day)
	o.Certificates = append(o.Certificates, long, watched, gone, external)
	return renew.Look{Observation: o, Proofs: renew.Prove(o), Plan: renew.Decide(o, renew.Policy{Before: 30 * day}, renew.Wish{})}
}

var colours = regexp.MustCompile("\x1b\\[[0-9;]*m")

// What a person sees at terminals of different widths.
func TestTerminal(t *testing.T) {
	for _, tt := range []struct {
		width   int
		columns string // those that fit
	}{
		{40, "CERTIFICATE STATE LEFT"},
		{80, "CERTIFICATE STATE LIFE LEFT EXPIRES LOADED"},
		{160, "CERTIFICATE STATE LIFE LEFT EXPIRES RENEWS IN LOADED"},
	} {
		for _, v := range []report.View{{Width: tt.width, UTF8: true}, {Width: tt.width, Color: true}} {
			name := fmt.Sprintf("status-%d.golden", tt.width)
			if v.Color {
				name = fmt.Sprintf("status-%d-color.golden", tt.width)
			}
			t.Run(name, func(t *testing.T) {
				var out bytes.Buffer
				if err := report.NewStatus(busyLook(), false).WriteTerminal(&out, v); err != nil {
					t.Fatal(err)
				}
				file := filepath.Join("testdata", name)
				if *update {
					if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), out.String()); diff != "" {
					t.Errorf("(-want +got)\n%s", diff)
				}
				if v.Color != strings.Contains(out.String(), "\x1b[") {
					t.Errorf("colours: want %v in\n%q", v.Color, out.String())
				}
				lines := strings.Split(colours.ReplaceAllString(out.String(), ""), "\n")
				header := false
				for _, line := range lines {
					if strings.HasPrefix(line, "CERTIFICATE") {
						header = true
						if got := strings.Join(strings.Fields(line), " "); got != tt.columns {
							t.Errorf("columns %q, want %q", got, tt.columns)
						}
					}
					if n := utf8.RuneCountInString(line); n > tt.width && len(strings.Fields(line)) > 1 {
						t.Errorf("a line of %d columns: %s", n, line)
					}
				}
				if !header {
					t.Error("there is no table")
				}
			})
		}
	}
}

// The worst is on top, whatever kubeadm calls first.
func TestTerminalWorstFirst(t *testing.T) {
	var out bytes.Buffer
	if err := report.NewStatus(busyLook(), false).WriteTerminal(&out, report.View{Width: 160}); err != nil {
		t.Fatal(err)
	}
	at := -1
	for _, name := range []string{"\napiserver ", "\nfront-proxy-client ", "\nscheduler.conf ", "\n/srv/tls", "\napiserver-kubelet-client ", "\nscheduler-serving ", "\netcd-server ", "\nadmin.conf ", "\napiserver-loopback "} {
		i := strings.Index(out.String(), name)
		if i < at || i < 0 {
			t.Errorf("%q is at %d, after %d:\n%s", name, i, at, out.String())
		}
		at = i
	}
	if strings.Contains(out.String(), "super-admin.conf") {
		t.Errorf("what is optional and missing is no news:\n%s", out.String())
	}
}

// A bar is empty only when nothing is left, and full only at first.
func TestTerminalBar(t *testing.T) {
	for left, want := range map[time.Duration]string{
		365 * day:   "##########",
		364 * day:   "##########",
		182 * day:   "#####.....",
		20 * day:    "#.........",
		time.Minute: "#.........",
		-day:        "..........",
	} {
		o := renew.Observation{At: now, Certificates: []pki.Certificate{{Name: "apiserver", State: pki.OK, Reason: "expires in 10d", NotBefore: now.Add(left - 365*day), NotAfter: now.Add(left)}}}
		var out bytes.Buffer
		status := report.NewStatus(renew.Look{Observation: o, Plan: renew.Decide(o, renew.Policy{}, renew.Wish{})}, true)
		if err := status.WriteTerminal(&out, report.View{Width: 80}); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), "  "+want+"  ") {
			t.Errorf("with %s left, want %s in\n%s", left, want, out.String())
		}
	}
}

// The name of a file is not obeyed by the terminal.
func TestTerminalIsNotCommanded(t *testing.T) {
	o := renew.Observation{At: now, Certificates: []pki.Certificate{{Name: "/srv/\x1b[2J.pem", Watched: true, State: pki.Invalid, Reason: "\x1b]0;x\x07", NotAfter: now.Add(day)}}}
	var out bytes.Buffer
	status := report.NewStatus(renew.Look{Observation: o, Plan: renew.Decide(o, renew.Policy{}, renew.Wish{})}, true)
	if err := status.WriteTerminal(&out, report.View{Width: 80}); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(out.String(), "\x1b\x07") || !strings.Contains(out.String(), "/srv/?[2J.pem") {
		t.Errorf("got %q", out.String())
	}
}

// A host that is no node is told so, at once.
func TestTerminalWithoutCertificates(t *testing.T) {
	var out bytes.Buffer
	if err := report.NewStatus(renew.Look{Observation: renew.Observation{At: now}}, true).WriteTerminal(&out, report.View{Width: 160}); err != nil {
		t.Fatal(err)
	}
	if want := "No certificates of a kubeadm cluster were found"; !strings.HasPrefix(out.String(), want) || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("want one line, %q…, got %q", want, out.String())
	}
}
