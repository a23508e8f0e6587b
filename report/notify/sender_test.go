package notify_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/report/notify"
)

// said are the errors that were logged.
func said(t *testing.T, logs *observer.ObservedLogs) []string {
	t.Helper()
	var errors []string
	for _, e := range logs.All() {
		if e.ContextMap()["message_id"] != renew.EventNotice {
			t.Errorf("%q has no message id", e.Message)
		}
		errors = append(errors, e.Message+": "+e.ContextMap()["error"].(string))
	}
	return errors
}

// answers is a server that gives these answers, the last one for ever, and says how often
// it was asked.
func answers(t *testing.T, codes ...int) (*httptest.Server, *atomic.Int64) {
	t.Helper()
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := int(asked.Add(1))
		w.WriteHeader(codes[min(n, len(codes))-1])
		_, _ = w.Write([]byte("because"))
	}))
	t.Cleanup(server.Close)
	return server, &asked
}

// What may be otherwise the next time is tried again, so many times; what will not is not.
func TestAttempts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		codes []int
		asked int64
		said  []string
	}{
		{"at once", []int{200}, 1, nil},
		{"the third time", []int{500, 429, 204}, 3, nil},
		{"never", []int{503}, notify.Attempts, []string{"a notification was given up: notify: hook: renewed: it answered 503 Service Unavailable: because: kubecertd notify test hook tries it"}},
		{"refused", []int{404, 200}, 1, []string{"a notification was given up: notify: hook: renewed: it answered 404 Not Found: because: kubecertd notify test hook tries it"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server, asked := answers(t, test.codes...)
			core, logs := observer.New(zap.InfoLevel)
			n := notify.New(zap.New(core))
			n.Wait(0)
			n.Apply(notify.Settings{Targets: []notify.Target{webhook(server.URL, notify.Renewed)}})
			n.Ran(renew.Run{ID: "1", Outcome: renew.Done, Renewed: []string{"apiserver"}})
			for until := time.Now().Add(10 * time.Second); asked.Load() < test.asked && time.Now().Before(until); {
				time.Sleep(time.Millisecond)
			}
			n.Close()
			if got := asked.Load(); got != test.asked {
				t.Errorf("it was asked %d times, want %d", got, test.asked)
			}
			if diff := cmp.Diff(test.said, said(t, logs)); diff != "" {
				t.Errorf("said (-want +got)\n%s", diff)
			}
		})
	}
}

func TestBackoff(t *testing.T) {
	var got []string
	for attempt := range 10 {
		got = append(got, notify.Backoff(attempt).String())
	}
	if diff := cmp.Diff("1s 2s 4s 8s 16s 32s 1m4s 2m8s 4m16s 5m0s", strings.Join(got, " ")); diff != "" {
		t.Error(diff)
	}
}

// One that never answers is given up in time, and keeps nobody: not the loop, however much
// there is to tell, and not another target; nor the end for longer than the grace.
func TestTargetThatHangs(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(hangs.Close)
	t.Cleanup(func() { close(release) })
	in := newInbox(t)
	slow, quick := webhook(hangs.URL+"/s3cret", notify.Renewed), webhook(in.URL, notify.Renewed)
	slow.Name, slow.Timeout = "slow", time.Minute
	core, logs := observer.New(zap.InfoLevel)
	n := notify.New(zap.New(core))
	n.Apply(notify.Settings{Targets: []notify.Target{slow, quick}})
	began := time.Now()
	for i := range notify.Most + 5 {
		n.Ran(renew.Run{ID: strconv.Itoa(i), Outcome: renew.Done, Renewed: []string{"apiserver"}})
		<-in.events
	}
	if took := time.Since(began); took > slow.Timeout/2 {
		t.Errorf("it took %s to tell the other", took)
	}
	want := []string{"a notification was left out: notify: slow: 64 wait for it already: kubecertd notify test slow says what is wrong"}
	if diff := cmp.Diff(want, said(t, logs)); diff != "" {
		t.Errorf("said of a full queue (-want +got)\n%s", diff)
	}
	began = time.Now()
	n.Close()
	if took := time.Since(began); took > notify.Grace+10*time.Second {
		t.Errorf("the end took %s", took)
	}
	slow.Timeout = 50 * time.Millisecond
	if _, err := slow.Try(t.Context(), "cp1", now); err == nil || err.Error() != "it did not answer within 50ms" {
		t.Errorf("error is %v", err)
	}
}

// What is secret is sent, and in no error: not where the other end repeats it, and not
// where there is none.
func TestSecretsAreInNoError(t *testing.T) {
	var got http.Header
	var path string
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, path = r.Header, r.URL.String()
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte("no " + r.URL.String() + " " + r.Header.Get("Authorization") + " " + r.Header.Get("X-Key")))
	}))
	t.Cleanup(echo.Close)
	gone := httptest.NewServer(nil)
	gone.Close()
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("token", "t0ken-s3cret\n")
	write("headers", "X-Key: k3y-s3cret\nX-Other: o\n")
	write("bad", "X-Key k3y-s3cret")
	write("odd", "s3cret\x01s3cret")
	write("empty", "\n")
	write("noaddress", "s3cret")
	for _, test := range []struct {
		name, url string
		change    func(*notify.Target)
		want      string
	}{
		{"repeated", echo.URL + "/s3cret?q=s3cret", nil, "it answered 403 Forbidden: no (hidden) Bearer (hidden) (hidden)"},
		{"refused", gone.URL + "/s3cret", nil, "connect: connection refused"},
		{"no address", "", func(x *notify.Target) { x.URLFile = "noaddress" }, "its address is none of HTTP: write it as https://HOST/PATH, in one line"},
		{"no header", echo.URL, func(x *notify.Target) { x.HeadersFile = "bad" }, "headersFile: line 1 of bad is no header: write NAME: VALUE"},
		{"control characters", echo.URL, func(x *notify.Target) { x.TokenFile = "odd" }, "its token or a header has a control character in it: write each in one line"},
		{"empty", echo.URL, func(x *notify.Target) { x.TokenFile = "empty" }, "tokenFile: " + dir + "/empty is empty"},
		{"no credential", echo.URL, func(x *notify.Target) { x.TokenFile = "none" }, "LoadCredential=none:/PATH in the unit (systemctl edit kubecertd), and restart it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			write("url", test.url)
			target := webhook("", notify.Failed)
			target.URLFile, target.TokenFile, target.HeadersFile = filepath.Join(dir, "url"), "token", "headers"
			if test.change != nil {
				test.change(&target)
			}
			_, err := target.Try(t.Context(), "cp1", now)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("error is %v, want %s", err, test.want)
			}
		})
		if test.name == "repeated" && (path != "/s3cret?q=s3cret" || got.Get("Authorization") != "Bearer t0ken-s3cret" || got.Get("X-Key") != "k3y-s3cret") {
			t.Errorf("what was sent is %s %v", path, got)
		}
	}
}

// A redirect would take the token to somebody else.
func TestNoRedirectIsFollowed(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	server := httptest.NewServer(http.RedirectHandler(in.URL, http.StatusTemporaryRedirect))
	t.Cleanup(server.Close)
	if _, err := webhook(server.URL).Try(t.Context(), "cp1", now); err == nil || !strings.Contains(err.Error(), "307 Temporary Redirect") || len(in.events) > 0 {
		t.Errorf("error is %v, and %d were sent on", err, len(in.events))
	}
}

func TestCommand(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "tell")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho \"$1 on $KUBECERTD_EVENT_NODE: $KUBECERTD_EVENT\"\nexit $2\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	target := notify.Target{Name: "tell", Type: "command", Command: []string{program, "hello", "0"}, Timeout: time.Minute}
	if said, err := target.Try(t.Context(), "cp1", now); err != nil || said != "hello on cp1: test" {
		t.Errorf("it said %q, %v", said, err)
	}
	target.Command[2] = "3"
	if _, err := target.Try(t.Context(), "cp1", now); err == nil || err.Error() != program+": exit status 3: hello on cp1: test" {
		t.Errorf("error is %v", err)
	}
}

// A template is wrong before the day it is needed.
func TestTemplates(t *testing.T) {
	for _, test := range []struct{ template, problem string }{
		{`{"text": {{json .Text}}, "who": "{{join .Components ","}}", "at": {{.At.Unix}}}`, ""},
		{`{{.Text`, "unclosed action"},
		{`{{.Texts}}`, "can't evaluate field Texts"},
		{`{{exec "id"}}`, `function "exec" not defined`},
		{`{{printf "%0100000d" 1}}`, "the body is too long"},
	} {
		target := webhook("http://127.0.0.1")
		target.Template = test.template
		err := target.Check("cp1")
		if (err != nil) != (test.problem != "") || err != nil && !strings.Contains(err.Error(), test.problem) {
			t.Errorf("%s: error is %v, want %q", test.template, err, test.problem)
		}
	}
}
