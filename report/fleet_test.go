package report_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/report"
)

// fleet is a cluster with one node of each kind of story.
func fleet(t *testing.T) report.Fleet {
	t.Helper()
	f := report.Fleet{At: now, Turn: "cp2", Since: now.Add(-3 * time.Minute), Reason: "renew apiserver"}
	add := func(name string, looked time.Duration, change func(*renew.Summary), certificates ...renew.SummarizedCert) {
		s := renew.Summary{Schema: 1, Version: "1.2.3", Looked: now.Add(-looked), Due: now.Add(200 * day), Certificates: certificates}
		if change != nil {
			change(&s)
		}
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		f.Nodes = append(f.Nodes, report.NewFleetNode(name, strings.HasPrefix(name, "cp"), string(text), now))
	}
	certificate := func(name string, state pki.State, left time.Duration) renew.SummarizedCert {
		return renew.SummarizedCert{Name: name, State: state, NotAfter: now.Add(left)}
	}
	add("cp1.a-rather-long-name.example.org", time.Hour, nil, certificate("apiserver", pki.OK, 300*day), certificate("apiserver-kubelet-client", pki.OK, 299*day), certificate("ca", pki.OK, 3000*day))
	add("cp2", 2*time.Minute, func(s *renew.Summary) { s.Stale = []string{"etcd", "kube-scheduler"} },
		certificate("apiserver", pki.Due, 20*day), renew.SummarizedCert{Name: "front-proxy-client", State: pki.Missing})
	add("cp3", 30*time.Hour, nil, certificate("apiserver", pki.OK, -time.Hour)) // it was good when it was looked at
	add("w1", 14*time.Hour, nil, certificate("kubelet-client", pki.OK, 100*day))
	add("w2", time.Hour, func(s *renew.Summary) { s.Paused, s.Omitted = "paused until resumed (by <b>root</b>: \"x\" & y)", 7 },
		certificate("kubelet-client", pki.OK, time.Minute), certificate("/srv/tls/<script>alert(1)</script>.pem", pki.Invalid, 10*day))
	f.Nodes = append(f.Nodes, report.NewFleetNode("w3", false, "", now), report.NewFleetNode("w4", false, `{"schema":7}`, now))
	f.Nodes[1].Working = true
	f.Sort()
	return f
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got)\n%s", name, diff)
	}
}

func TestFleetStates(t *testing.T) {
	got := map[string]string{}
	var order []string
	for _, n := range fleet(t).Nodes {
		got[n.Name[:2]+n.Name[2:min(3, len(n.Name))]] = n.State
		order = append(order, n.Name)
	}
	want := map[string]string{"cp1": "ok", "cp2": "missing", "cp3": "expired", "w1": "silent", "w2": "invalid", "w3": "none", "w4": "none"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"w3", "w4", "cp3", "w1", "cp1.a-rather-long-name.example.org", "w2", "cp2"}, order); diff != "" {
		t.Errorf("the oldest look is first (-want +got)\n%s", diff)
	}
}

func TestFleetForPrograms(t *testing.T) {
	var table, document bytes.Buffer
	if err := fleet(t).WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	golden(t, "fleet.golden", table.Bytes())
	if err := report.Write(&document, "json", fleet(t)); err != nil {
		t.Fatal(err)
	}
	golden(t, "fleet.json.golden", document.Bytes())
}

func TestFleetTerminal(t *testing.T) {
	for width, columns := range map[int]string{
		40:  "NODE STATE LEFT",
		80:  "NODE STATE ENDS FIRST LEFT LOOKED AT",
		160: "NODE STATE ENDS FIRST LEFT EXPIRES LOOKED AT RENEWS IN NOT LOADED BY VERSION",
	} {
		var out bytes.Buffer
		if err := fleet(t).WriteTerminal(&out, report.View{Width: width, UTF8: true}); err != nil {
			t.Fatal(err)
		}
		golden(t, fmt.Sprintf("fleet-%d.golden", width), out.Bytes())
		for line := range strings.SplitSeq(out.String(), "\n") {
			if strings.HasPrefix(line, "NODE ") {
				if got := strings.Join(strings.Fields(line), " "); got != columns {
					t.Errorf("%d: columns %q, want %q", width, got, columns)
				}
			}
			if n := utf8.RuneCountInString(line); n > width && len(strings.Fields(line)) > 1 {
				t.Errorf("a line of %d columns: %s", n, line)
			}
		}
	}
}

func TestFleetHTML(t *testing.T) {
	var out bytes.Buffer
	f := fleet(t)
	if err := f.WriteHTML(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "fleet.html.golden", out.Bytes())
	nested(t, out.String())
	page, err := html.Parse(bytes.NewReader(out.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	// What the page has, as node/certificate: its date and state.
	got, want := map[string]string{}, map[string]string{}
	var nodes []string
	for n := range page.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if slices.Contains([]string{"script", "link", "img", "iframe", "object", "embed", "base", "form"}, n.Data) {
			t.Errorf("there is an element %s", n.Data)
		}
		for _, a := range n.Attr {
			if slices.Contains([]string{"src", "href", "srcset", "action", "style", "data", "poster"}, a.Key) || strings.HasPrefix(a.Key, "on") || strings.HasPrefix(a.Key, "xlink") {
				t.Errorf("%s has %s=%q", n.Data, a.Key, a.Val)
			}
		}
		if name := attribute(n, "data-node"); n.Data == "section" {
			nodes = append(nodes, name)
			for c := range n.Descendants() {
				if certificate := attribute(c, "data-certificate"); certificate != "" {
					got[name+" "+certificate] = seen(c)
				}
			}
		}
	}
	var wantNodes []string
	for _, n := range f.Nodes {
		wantNodes = append(wantNodes, n.Name)
		if n.Report == nil {
			continue
		}
		for _, c := range n.Report.Certificates {
			end := "-"
			if !c.NotAfter.IsZero() {
				end = c.NotAfter.Format(time.RFC3339) + " " + c.NotAfter.Format("2006-01-02 15:04")
			}
			want[n.Name+" "+c.Name] = c.Name + " " + string(c.State) + " " + end
		}
	}
	if diff := cmp.Diff(wantNodes, nodes); diff != "" {
		t.Errorf("nodes (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("certificates (-want +got)\n%s", diff)
	}
	if found := regexp.MustCompile(`(?i)url\(|@import|https?:|//`).FindAllString(strings.ReplaceAll(out.String(), "/srv/tls/", ""), -1); found != nil {
		t.Errorf("it asks for something elsewhere: %q", found)
	}
	for _, what := range []string{"prefers-color-scheme: dark", "@media print", "@media (max-width", `name="viewport"`, "&lt;b&gt;root&lt;/b&gt;", "and 7 more", "w3", "no report"} {
		if !strings.Contains(out.String(), what) {
			t.Errorf("there is no %s", what)
		}
	}
}

// seen is what a row of the timeline shows: name, state, date.
func seen(row *html.Node) string {
	var name, state, end string
	for n := range row.Descendants() {
		switch class := attribute(n, "class"); {
		case n.Data == "span" && class == "":
			name = n.FirstChild.Data
		case n.Data == "span" && strings.HasPrefix(class, "state"):
			state = n.FirstChild.Data
		case n.Data == "span" && class == "date" && n.FirstChild.Type == html.TextNode:
			end = n.FirstChild.Data
		case n.Data == "time":
			end = attribute(n, "datetime") + " " + n.FirstChild.Data
		}
	}
	return name + " " + state + " " + end
}

func attribute(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// nested demands that every element is ended, and in the right order: a parser would
// repair it in silence.
func nested(t *testing.T, page string) {
	t.Helper()
	var open []string
	z := html.NewTokenizer(strings.NewReader(page))
	for {
		switch z.Next() {
		case html.ErrorToken:
			if len(open) > 0 {
				t.Errorf("never ended: %v", open)
			}
			return
		case html.StartTagToken:
			if name, _ := z.TagName(); string(name) != "meta" {
				open = append(open, string(name))
			}
		case html.EndTagToken:
			name, _ := z.TagName()
			if len(open) == 0 || open[len(open)-1] != string(name) {
				t.Fatalf("</%s> ends %v", name, open)
			}
			open = open[:len(open)-1]
		}
	}
}

// The timeline tells a month from a year, and a minute from nothing.
func TestFleetTimeline(t *testing.T) {
	certificates := []renew.SummarizedCert{}
	for _, left := range []time.Duration{-day, time.Minute, 182 * day, 364 * day, 3650 * day} {
		certificates = append(certificates, renew.SummarizedCert{Name: left.String(), NotAfter: now.Add(left), State: pki.OK})
	}
	text, err := json.Marshal(renew.Summary{Schema: 1, Looked: now, Certificates: certificates})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := (report.Fleet{At: now, Nodes: []report.FleetNode{report.NewFleetNode("n", false, string(text), now)}}).WriteHTML(&out); err != nil {
		t.Fatal(err)
	}
	var widths []string
	for _, m := range regexp.MustCompile(`class="fill [a-z]+" width="(\d+)" height="12"></rect>(<path)?`).FindAllStringSubmatch(out.String(), -1) {
		widths = append(widths, m[1]+m[2])
	}
	if diff := cmp.Diff([]string{"0", "1", "500", "1000", "1000<path"}, widths); diff != "" {
		t.Error(diff)
	}
}
