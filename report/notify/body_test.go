package notify_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/report/notify"
)

var update = flag.Bool("update", false, "write what is sent now into docs/notifications.md")

// document is where operators read what they get.
const document = "../../docs/notifications.md"

// The bodies in the document are those that are sent.
func TestDocumentedBodies(t *testing.T) {
	page, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, path string
		change     func(*notify.Target)
		happens    func(*notify.Notifier)
	}{
		{"webhook", "/", func(*notify.Target) {}, fails},
		{"recovered", "/", func(x *notify.Target) { x.Events = []string{notify.CAExpiring, notify.Recovered} }, recovers},
		{"slack", "/", func(x *notify.Target) { x.Type = "slack" }, fails},
		{"alertmanager", "/api/v2/alerts", func(x *notify.Target) { x.Type = "alertmanager" }, fails},
		{"template", "/", func(x *notify.Target) { x.Template = templated(t, string(page)) }, fails},
	} {
		t.Run(test.name, func(t *testing.T) {
			bodies, paths := make(chan []byte, 9), make(chan string, 9)
			server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				bodies <- body
				paths <- r.URL.Path
			}))
			defer server.Close()
			target := webhook(server.URL, notify.Failed)
			test.change(&target)
			n := notify.New(zap.NewNop())
			n.Apply(notify.Settings{Node: "cp1", Targets: []notify.Target{target}})
			test.happens(n)
			n.Close()
			var body []byte
			for len(bodies) > 0 {
				body = <-bodies // the last
				if path := <-paths; path != test.path {
					t.Errorf("it was sent to %s, want %s", path, test.path)
				}
			}
			var pretty bytes.Buffer
			if err := json.Indent(&pretty, bytes.TrimSpace(body), "", "  "); err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			example := regexp.MustCompile("(?s)(<!-- " + test.name + " -->\n```json\n)(.*?)(\n```)")
			parts := example.FindSubmatch(page)
			if parts == nil {
				t.Fatalf("%s has no example <!-- %s -->", document, test.name)
			}
			if *update {
				page = bytes.Replace(page, parts[0], []byte(string(parts[1])+pretty.String()+string(parts[3])), 1)
				return
			}
			if diff := cmp.Diff(string(parts[2]), pretty.String()); diff != "" {
				t.Errorf("%s has another body; go test ./report/notify -update writes it (-documented +sent)\n%s", document, diff)
			}
		})
	}
	if *update {
		if err := os.WriteFile(document, page, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func fails(n *notify.Notifier) {
	n.Ran(renew.Run{ID: "20260301T120000.000Z-1a2b3c", Outcome: renew.Failed, Error: "restart kube-scheduler: it did not come back within 2m0s", Ended: now})
}

func recovers(n *notify.Notifier) {
	n.Looked(at(0, notice("ca-ends", "ca ends 2026-08-28, in 180 days")))
	n.Looked(at(time.Hour))
}

// templated is the template of the document.
func templated(t *testing.T, page string) string {
	t.Helper()
	_, after, ok := strings.Cut(page, "    template: |\n")
	text, _, end := strings.Cut(after, "```")
	if !ok || !end {
		t.Fatalf("%s has no template", document)
	}
	return strings.ReplaceAll(text, "      ", "")
}

// The document names every event, and every variable of a command.
func TestDocumentedNames(t *testing.T) {
	page, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range every {
		if !bytes.Contains(page, []byte("\n| `"+name+"` |")) {
			t.Errorf("%s has no row for the event %s", document, name)
		}
	}
	target := notify.Target{Name: "env", Type: "command", Command: []string{"/bin/sh", "-c", "env | grep ^KUBECERTD_ | cut -d= -f1 | sort | cut -d_ -f2- | head -c 190"}, Timeout: time.Minute}
	said, err := target.Try(t.Context(), "cp1", now)
	if err != nil || len(strings.Fields(said)) < 13 {
		t.Fatalf("%q, %v", said, err)
	}
	for _, name := range strings.Fields(said) {
		if !bytes.Contains(page, []byte("\n| `KUBECERTD_"+name+"` |")) {
			t.Errorf("%s has no row for KUBECERTD_%s", document, name)
		}
	}
}

// What is over ends the alert that it was: by the same labels.
func TestAlertEnds(t *testing.T) {
	type alert struct {
		Labels           map[string]string
		StartsAt, EndsAt time.Time
	}
	alerts := make(chan []alert, 9)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var list []alert
		if err := json.NewDecoder(r.Body).Decode(&list); err != nil || len(list) != 1 {
			t.Errorf("%v, %v", list, err)
		}
		alerts <- list
	}))
	defer server.Close()
	target := webhook(server.URL+"/", notify.CAExpiring, notify.Recovered)
	target.Type = "alertmanager"
	n := notify.New(zap.NewNop())
	n.Apply(notify.Settings{Node: "cp1", Targets: []notify.Target{target}})
	recovers(n)
	n.Close()
	if len(alerts) != 2 {
		t.Fatalf("%d alerts, want 2", len(alerts))
	}
	first, last := (<-alerts)[0], (<-alerts)[0]
	labels := map[string]string{"alertname": "KubecertdCaExpiring", "instance": "cp1", "severity": "warning", "about": "ca", "finding": "ca-ends"}
	want := []alert{{labels, now, now.Add(48 * time.Hour)}, {labels, now.Add(time.Hour), now.Add(time.Hour)}}
	if diff := cmp.Diff(want, []alert{first, last}); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
