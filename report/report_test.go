package report_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/report"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// look is a look at a node with one certificate of each kind of story.
func look() renew.Look {
	certificate := func(name string, state pki.State, reason string, left time.Duration) pki.Certificate {
		return pki.Certificate{Name: name, Renewer: pki.Kubeadm, Path: "/etc/kubernetes/" + name, State: state, Reason: reason,
			NotAfter: now.Add(left), NotBefore: now.Add(left - 365*day), Changed: now.Add(-time.Hour), SHA256: name}
	}
	o := renew.Observation{At: now, ControlPlane: true,
		Certificates: []pki.Certificate{
			certificate("admin.conf", pki.OK, "", 300*day),
			certificate("apiserver", pki.Expired, "expired 1d0h ago", -day),
			certificate("scheduler.conf", pki.OK, "", 300*day),
			{Name: "super-admin.conf", Renewer: pki.Kubeadm, Optional: true, State: pki.Missing, Reason: "there is no such file"},
			{Name: pki.Loopback, Kind: pki.Memory, Renewer: pki.Restart, Component: renew.APIServer, Address: "127.0.0.1:6443",
				State: pki.OK, SHA256: "x", NotBefore: now.Add(-195 * day), NotAfter: now.Add(900 * day)},
			{Name: pki.SchedulerServing, Kind: pki.Memory, Renewer: pki.Restart, Component: renew.Scheduler, Address: "127.0.0.1:10259",
				State: pki.Unknown, Reason: "it could not be asked for: no answer"},
		},
		Components: []renew.Component{
			{Name: renew.APIServer, Running: true, Started: now.Add(-time.Minute)},
			{Name: renew.Scheduler, Running: true, Started: now.Add(-2 * time.Hour)},
		},
		Served: []pki.Served{
			{Endpoint: pki.Endpoint{Component: renew.APIServer, Name: "apiserver", Certificate: "apiserver"}, Error: "no answer from 127.0.0.1:6443 within 1.5s"}},
		Problems: []renew.Problem{{What: "kubelet", Err: "no bus"}},
	}
	return renew.Look{Observation: o, Proofs: renew.Prove(o), Plan: renew.Decide(o, renew.Policy{Before: 30 * day}, renew.Wish{})}
}

func TestStatusTable(t *testing.T) {
	var narrow, wide, disk bytes.Buffer
	status := report.NewStatus(look(), false)
	if err := status.WriteTable(&narrow, false); err != nil {
		t.Fatal(err)
	}
	if err := status.WriteTable(&wide, true); err != nil {
		t.Fatal(err)
	}
	if err := report.NewStatus(look(), true).WriteTable(&disk, false); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		in   string
		want string
		not  bool
	}{
		{"a row", narrow.String(), "admin.conf          ok       2026-12-26 12:00  300d       270d            -\n", false},
		{"what is wrong is said below", narrow.String(), "\napiserver: expired: expired 1d0h ago (/etc/kubernetes/apiserver)\n", false},
		{"who is stale", narrow.String(), "stale: kube-scheduler\n", false},
		{"why it is stale", narrow.String(), "kube-scheduler has not loaded scheduler.conf: the process started 1h0m before the file was written", false},
		{"certificates in memory", narrow.String(), "apiserver-loopback  ok       2028-08-17 12:00  900d       870d (restart)  in memory of kube-apiserver\n", false},
		{"one that could not be asked needs no attention of its own", narrow.String(), "\nscheduler-serving: ", true},
		{"what could not be asked", narrow.String(), "kubelet: no bus\n", false},
		{"who did not answer", narrow.String(), "kube-apiserver shows no apiserver: no answer from 127.0.0.1:6443 within 1.5s\n", false},
		{"optional and missing is no news", narrow.String(), "super-admin", true},
		{"but is shown when asked for more", wide.String(), "super-admin.conf", false},
		{"evidence", wide.String(), "kube-scheduler  scheduler.conf  stale    the process started", false},
		{"files only: nothing is said about what is loaded", disk.String(), "not asked", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if strings.Contains(tt.in, tt.want) == tt.not {
				t.Errorf("want %q (not: %v) in:\n%s", tt.want, tt.not, tt.in)
			}
		})
	}
}

func TestStatusForPrograms(t *testing.T) {
	var out bytes.Buffer
	if err := report.Write(&out, "json", report.NewStatus(look(), false)); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Certificates []struct {
			Name, Kind, Renewer, State, Loaded string
			RemainingSeconds                   int64
			Holders                            []struct{ Component, Verdict, Evidence string }
		}
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	api, scheduler := got.Certificates[1], got.Certificates[2]
	if api.Name != "apiserver" || api.State != "expired" || api.RemainingSeconds != -86400 || api.Loaded != "loaded" {
		t.Errorf("apiserver is %+v", api)
	}
	if scheduler.Loaded != "stale" || len(scheduler.Holders) != 1 || scheduler.Holders[0].Evidence == "" {
		t.Errorf("scheduler.conf is %+v", scheduler)
	}
	if memory := got.Certificates[4]; memory.Name != "apiserver-loopback" || memory.Kind != "memory" || memory.State != "ok" || memory.Renewer != "restart" {
		t.Errorf("in memory: %+v", memory)
	}
	out.Reset()
	if err := report.Write(&out, "yaml", report.NewStatus(look(), false)); err != nil || !strings.Contains(out.String(), "  name: apiserver\n") {
		t.Errorf("YAML: %v\n%s", err, out.String())
	}
}

func TestPlan(t *testing.T) {
	var out bytes.Buffer
	plan := renew.Plan{At: now, Alone: true, Afresh: "etcd-server ran out, and nothing works", KubeletFirst: "it remembers", Next: now.Add(2 * day), NextReason: "admin.conf becomes due",
		Renew:   []renew.Renewal{{Certificate: "apiserver", Reason: "expired 1d0h ago"}},
		Restart: []renew.Restart{{Component: "etcd", Reason: "holds etcd-server"}},
		Blocked: []renew.Gate{{Name: "kubelet", Reason: "not active", Remedy: "systemctl start kubelet"}},
		Notices: renew.Notices{{Text: "ca is expired"}}}
	report.WritePlan(&out, plan)
	if strings.Contains(out.String(), "it remembers") {
		t.Errorf("what is started afresh needs no kubelet that forgets:\n%s", out.String())
	}
	for _, want := range []string{"Start the control plane afresh: etcd-server ran out, and nothing works.\n",
		"  apiserver                  expired 1d0h ago\n", "  etcd                       holds etcd-server\n", "go down together",
		"  kubelet: not active\n    systemctl start kubelet\n", "Needs attention: ca is expired\n", "Next: admin.conf becomes due in 2d0h (2026-03-03 12:00:00 UTC)\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("want %q in:\n%s", want, out.String())
		}
	}
	out.Reset()
	report.WritePlan(&out, renew.Plan{})
	if out.String() != "Nothing to do.\n" {
		t.Errorf("an empty plan reads %q", out.String())
	}
}

func TestHistory(t *testing.T) {
	var out bytes.Buffer
	runs := []renew.Run{
		{ID: "first", Began: now, Ended: now.Add(8 * time.Second), Outcome: renew.Done, Trigger: "timer", Renewed: []string{"a", "b"}, Restarted: []string{"etcd"}},
		{ID: "second", Began: now, Outcome: renew.Unfinished, Entries: []renew.Entry{{Time: now, Step: "renew apiserver", Event: "end", Error: "kubeadm: exit status 1"}}},
	}
	if err := report.WriteHistory(&out, runs); err != nil {
		t.Fatal(err)
	}
	if first, second := strings.Index(out.String(), "first"), strings.Index(out.String(), "second"); second < 0 || first < second {
		t.Errorf("not newest first:\n%s", out.String())
	}
	if !strings.Contains(out.String(), "8s    done        timer    2        etcd") {
		t.Errorf("history:\n%s", out.String())
	}
	out.Reset()
	if err := report.WriteRun(&out, runs[1]); err != nil || !strings.Contains(out.String(), "12:00:00.000  renew apiserver  end  kubeadm: exit status 1") {
		t.Errorf("run: %v\n%s", err, out.String())
	}
}
