package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"
	"unicode/utf8"
)

// Event is something that happened on a node (events.k8s.io/v1).
type Event struct {
	// Name is the object's own. An event that is made twice, because the first answer was
	// lost, is one.
	Name string
	Node string
	// UID is the node's, by which kubectl describe finds its events.
	UID     string
	At      time.Time
	Warning bool
	// Reason is what happened and Action what was done, in CamelCase.
	Reason, Action string
	Note           string
}

// events are in default because a node is in no namespace.
const events = "/apis/events.k8s.io/v1/namespaces/default/events"

// Limits of the API, in bytes (kubernetes: pkg/apis/core/validation/events.go).
const (
	maxNote     = 1024
	maxInstance = 128
)

// MakeEvent makes an event.
func (a API) MakeEvent(ctx context.Context, e Event) error {
	kind := "Normal"
	if e.Warning {
		kind = "Warning"
	}
	body, err := json.Marshal(map[string]any{
		"apiVersion": "events.k8s.io/v1", "kind": "Event",
		"metadata":            map[string]any{"name": e.Name, "namespace": "default"},
		"eventTime":           e.At.UTC().Format(microTime),
		"reportingController": "kubecertd.io/kubecertd",
		"reportingInstance":   cut("kubecertd-"+e.Node, maxInstance),
		"regarding":           map[string]any{"apiVersion": "v1", "kind": "Node", "name": e.Node, "uid": e.UID},
		"type":                kind, "reason": e.Reason, "action": e.Action, "note": cut(e.Note, maxNote),
	})
	if err != nil {
		return err
	}
	got, err := a.ask(ctx, request{method: http.MethodPost, path: events, content: "application/json", body: body})
	if err == nil && got.code != http.StatusCreated && got.code != http.StatusOK && got.code != http.StatusConflict {
		err = got.err()
	}
	if err != nil {
		return fmt.Errorf("event %s of node %s: %w", e.Reason, e.Node, err)
	}
	return nil
}

// RepeatEvent says that an event has happened so often, the last time now. there is false
// when the API server has forgotten it, which it does after an hour.
func (a API) RepeatEvent(ctx context.Context, name string, count int, at time.Time) (there bool, err error) {
	body, err := json.Marshal(map[string]any{"series": map[string]any{"count": count, "lastObservedTime": at.UTC().Format(microTime)}})
	if err != nil {
		return false, err
	}
	got, err := a.ask(ctx, request{method: http.MethodPatch, path: events + "/" + url.PathEscape(name),
		content: "application/merge-patch+json", body: body})
	switch {
	case err == nil && got.code == http.StatusNotFound:
		return false, nil
	case err == nil && got.code != http.StatusOK:
		err = got.err()
	}
	if err != nil {
		return false, fmt.Errorf("event %s: %w", name, err)
	}
	return true, nil
}

// cut shortens a text to so many bytes, between two letters.
func cut(text string, bytes int) string {
	if len(text) <= bytes {
		return text
	}
	for bytes > 0 && !utf8.RuneStart(text[bytes]) {
		bytes--
	}
	return text[:bytes]
}
