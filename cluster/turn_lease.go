package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"time"
)

const (
	turnLease = "kubecertd-turn"
	leasePath = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
	// turnAnnotation holds the whole record, of which a Lease has room for two fields.
	turnAnnotation = "kubecertd/turn"
	// leaseDuration is a field that must be above zero. Nobody takes a turn over because
	// it has passed.
	leaseDuration = 3600
	microTime     = "2006-01-02T15:04:05.000000Z07:00" // metav1.MicroTime
)

// leaseSeen is the Lease as it was read, with whatever else is in it. One that is not
// there has no version.
type leaseSeen struct {
	object   map[string]any
	version  string
	record   TurnRecord
	nonsense string
	unread   bool
}

func (t Turn) readLease(ctx context.Context) (leaseSeen, error) {
	got, err := t.ask(ctx, request{method: http.MethodGet, path: leasePath + "/" + turnLease})
	if err == nil && got.code == http.StatusNotFound {
		return leaseSeen{}, nil
	}
	if err == nil && got.code != http.StatusOK {
		err = got.err()
	}
	if err != nil {
		return leaseSeen{unread: true}, fmt.Errorf("lease kube-system/%s: %w", turnLease, err)
	}
	return parseLease(got.body), nil
}

// parseLease reads a Lease defensively: anybody who may can have edited it. The holder
// is who the Lease itself names, and what the annotation says counts where it agrees.
func parseLease(raw []byte) leaseSeen {
	var seen leaseSeen
	wrong := func(what string) leaseSeen {
		seen.record, seen.nonsense = TurnRecord{}, fmt.Sprintf("lease kube-system/%s does not say who holds it: %s", turnLease, what)
		return seen
	}
	if err := json.Unmarshal(raw, &seen.object); err != nil {
		return wrong(err.Error())
	}
	metadata, _ := seen.object["metadata"].(map[string]any)
	seen.version, _ = metadata["resourceVersion"].(string)
	spec, ok := seen.object["spec"].(map[string]any)
	if !ok {
		return wrong("it has no spec")
	}
	holder, named := spec["holderIdentity"]
	name, text := holder.(string)
	if named && holder != nil && !text {
		return wrong("holderIdentity is not a text")
	}
	seen.record.Holder = name
	if since, _ := spec["acquireTime"].(string); since != "" {
		seen.record.Since, _ = time.Parse(time.RFC3339Nano, since)
	}
	annotations, _ := metadata["annotations"].(map[string]any)
	if more, _ := annotations[turnAnnotation].(string); more != "" {
		if record, err := parseTurn([]byte(more)); err == nil && record.Holder == name {
			seen.record = record
		}
	}
	return seen
}

// writeLease makes the Lease, or replaces it if it is as it was read.
func (t Turn) writeLease(ctx context.Context, seen leaseSeen, next TurnRecord) error {
	if seen.unread {
		return errors.New("the Lease could not be read and was not written")
	}
	content, err := json.Marshal(next)
	if err != nil {
		return err
	}
	object := maps.Clone(seen.object)
	if object == nil {
		object = map[string]any{}
	}
	object["apiVersion"], object["kind"] = "coordination.k8s.io/v1", "Lease"
	metadata := section(object, "metadata")
	metadata["name"], metadata["namespace"] = turnLease, "kube-system"
	section(metadata, "annotations")[turnAnnotation] = string(content)
	spec := section(object, "spec")
	before, _ := spec["holderIdentity"].(string)
	spec["holderIdentity"], spec["leaseDurationSeconds"] = next.Holder, leaseDuration
	delete(spec, "acquireTime")
	delete(spec, "renewTime")
	if next.Holder != "" {
		spec["acquireTime"] = next.Since.UTC().Format(microTime)
		if before != next.Holder {
			transitions, _ := spec["leaseTransitions"].(float64)
			spec["leaseTransitions"] = max(transitions, 0) + 1
		}
	}
	body, err := json.Marshal(object)
	if err != nil {
		return err
	}
	write := request{method: http.MethodPost, path: leasePath, content: "application/json", body: body}
	if seen.version != "" { // and it is in the body, so that the API server compares
		write.method, write.path = http.MethodPut, leasePath+"/"+turnLease
	}
	got, err := t.ask(ctx, write)
	if err == nil {
		switch got.code {
		case http.StatusOK, http.StatusCreated:
			return nil
		case http.StatusConflict, http.StatusNotFound: // changed, made or removed meanwhile
			return ErrTurnChanged
		}
		err = got.err()
	}
	return fmt.Errorf("lease kube-system/%s cannot be written: %w", turnLease, err)
}

// section is a map within a map, made if it is not one. It is a copy.
func section(of map[string]any, name string) map[string]any {
	inner, _ := of[name].(map[string]any)
	if inner = maps.Clone(inner); inner == nil {
		inner = map[string]any{}
	}
	of[name] = inner
	return inner
}
