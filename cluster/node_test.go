package cluster_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/cluster"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestNodesSay(t *testing.T) {
	const cp1 = `{"metadata":{"name":"cp1","uid":"u1","labels":{"node-role.kubernetes.io/control-plane":""},
		"annotations":{"kubecertd.io/certificates":"{}","kubecertd.io/turn":"{\"run\":\"1\"}"}},
		"status":{"conditions":[{"type":"Ready","status":"True"},{"type":"CertificateProblem","status":"False","reason":"R","message":"m",
		"lastHeartbeatTime":"2026-03-01T12:00:00Z","lastTransitionTime":"2026-02-01T12:00:00Z"}]}}`
	api, _ := pages(t, map[string]string{
		"/api/v1/nodes/cp1":                    cp1,
		"/api/v1/nodes?limit=50":               `{"metadata":{"continue":"more"},"items":[` + cp1 + `]}`,
		"/api/v1/nodes?continue=more&limit=50": `{"metadata":{},"items":[{"metadata":{"name":"w1","uid":"u2"}}]}`,
	})
	first := cluster.NodeSays{Name: "cp1", UID: "u1", ControlPlane: true, Certificates: "{}", Turn: `{"run":"1"}`,
		Condition: &cluster.Condition{Status: "False", Reason: "R", Message: "m", Beat: noon, Turned: noon.AddDate(0, -1, 0)}}
	if got, err := api.NodeSays(t.Context(), "cp1"); err != nil || cmp.Diff(first, got) != "" {
		t.Errorf("%v (-want +got)\n%s", err, cmp.Diff(first, got))
	}
	got, err := api.NodesSay(t.Context())
	if diff := cmp.Diff([]cluster.NodeSays{first, {Name: "w1", UID: "u2"}}, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
	if _, err := api.NodeSays(t.Context(), "cp9"); err == nil || !strings.Contains(err.Error(), "node cp9: 404") {
		t.Errorf("a node that is not there: %v", err)
	}
}

func TestSay(t *testing.T) {
	api, sent := pages(t, map[string]string{"/api/v1/nodes/cp1/status": "{}"})
	c := cluster.Condition{Status: "True", Reason: "CertificateExpired", Message: "m", Beat: noon.Add(time.Millisecond), Turned: noon.Add(-time.Hour)}
	if err := api.Say(t.Context(), "cp1", c, `{"schema":1}`); err != nil {
		t.Error(err)
	}
	if err := api.Say(t.Context(), "cp9", c, ""); err == nil || !strings.Contains(err.Error(), "condition CertificateProblem of node cp9: 404") {
		t.Errorf("a node that is not there: %v", err)
	}
	want := `PATCH /api/v1/nodes/cp1/status application/strategic-merge-patch+json ` +
		`{"metadata":{"annotations":{"kubecertd.io/certificates":"{\"schema\":1}"}},` +
		`"status":{"conditions":[{"type":"CertificateProblem","status":"True","reason":"CertificateExpired","message":"m",` +
		`"lastHeartbeatTime":"2026-03-01T12:00:00Z","lastTransitionTime":"2026-03-01T11:00:00Z"}]}}`
	if diff := cmp.Diff(want, sent()[0]); diff != "" {
		t.Error(diff)
	}
}

func TestEvents(t *testing.T) {
	const path = "/apis/events.k8s.io/v1/namespaces/default/events"
	api, sent := pages(t, map[string]string{path: "{}", path + "/cp1.1": "{}"})
	e := cluster.Event{Name: "cp1.1", Node: "cp1", UID: "u1", At: noon, Warning: true, Reason: "RenewalFailed", Action: "Renew", Note: strings.Repeat("é", 600)}
	if err := api.MakeEvent(t.Context(), e); err != nil {
		t.Error(err)
	}
	if there, err := api.RepeatEvent(t.Context(), "cp1.1", 2, noon.Add(time.Minute)); !there || err != nil {
		t.Errorf("there %t, %v", there, err)
	}
	if there, err := api.RepeatEvent(t.Context(), "cp1.2", 2, noon); there || err != nil {
		t.Errorf("one that is forgotten: there %t, %v", there, err)
	}
	want := []string{`POST ` + path + ` application/json {"action":"Renew","apiVersion":"events.k8s.io/v1","eventTime":"2026-03-01T12:00:00.000000Z",` +
		`"kind":"Event","metadata":{"name":"cp1.1","namespace":"default"},"note":"` + strings.Repeat("é", 512) + `","reason":"RenewalFailed",` +
		`"regarding":{"apiVersion":"v1","kind":"Node","name":"cp1","uid":"u1"},"reportingController":"kubecertd.io/kubecertd",` +
		`"reportingInstance":"kubecertd-cp1","type":"Warning"}`,
		`PATCH ` + path + `/cp1.1 application/merge-patch+json {"series":{"count":2,"lastObservedTime":"2026-03-01T12:01:00.000000Z"}}`}
	if diff := cmp.Diff(want, sent()[:2]); diff != "" {
		t.Error(diff)
	}
}
