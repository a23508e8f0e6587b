package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// certificatesAnnotation is what a node says of its certificates.
const certificatesAnnotation = "kubecertd.io/certificates"

// conditionType is ours among a node's conditions. As node-problem-detector has it, it is
// named after the problem: False is good.
const conditionType = "CertificateProblem"

// Condition is our condition of a node.
type Condition struct {
	Status  string    `json:"status"` // True, False or Unknown
	Reason  string    `json:"reason"`
	Message string    `json:"message"`
	Beat    time.Time `json:"lastHeartbeatTime"`
	// Turned is since when the status is what it is.
	Turned time.Time `json:"lastTransitionTime"`
}

// NodeSays is what a node says of its certificates.
type NodeSays struct {
	Name         string
	UID          string
	ControlPlane bool
	// Certificates is the text of our annotation, Turn that of the mark of a run; empty
	// where there is none.
	Certificates, Turn string
	// Condition is ours; nil where it has none.
	Condition *Condition
}

// said is a node as the API has it.
type said struct {
	Metadata struct {
		Name        string            `json:"name"`
		UID         string            `json:"uid"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Status struct {
		Conditions []struct {
			Type string `json:"type"`
			Condition
		} `json:"conditions"`
	} `json:"status"`
}

func (s said) says() NodeSays {
	n := NodeSays{Name: s.Metadata.Name, UID: s.Metadata.UID,
		Certificates: s.Metadata.Annotations[certificatesAnnotation], Turn: s.Metadata.Annotations[markAnnotation]}
	_, n.ControlPlane = s.Metadata.Labels[controlPlaneLabel]
	for _, c := range s.Status.Conditions {
		if c.Type == conditionType {
			n.Condition = &c.Condition
		}
	}
	return n
}

// NodeSays asks what a node says.
func (a API) NodeSays(ctx context.Context, node string) (NodeSays, error) {
	var n said
	if err := a.get(ctx, "/api/v1/nodes/"+url.PathEscape(node), nil, &n); err != nil {
		return NodeSays{}, fmt.Errorf("node %s: %w", node, err)
	}
	return n.says(), nil
}

// page is how many nodes are asked for at once: with the images that it has, a node may
// take thirty thousand bytes.
const page = "50"

// NodesSay asks what all nodes of the cluster say.
func (a API) NodesSay(ctx context.Context) ([]NodeSays, error) {
	var nodes []NodeSays
	query := url.Values{"limit": {page}}
	for {
		var list struct {
			Metadata struct {
				Continue string `json:"continue"`
			} `json:"metadata"`
			Items []said `json:"items"`
		}
		if err := a.get(ctx, "/api/v1/nodes", query, &list); err != nil {
			return nil, fmt.Errorf("nodes of the cluster: %w", err)
		}
		for _, item := range list.Items {
			nodes = append(nodes, item.says())
		}
		if list.Metadata.Continue == "" {
			return nodes, nil
		}
		query.Set("continue", list.Metadata.Continue)
	}
}

// Say writes the condition and the annotation of a node, both at once: a kubelet may
// write its own node's status, and the annotations with it. Of the other conditions
// nothing is said, so that nobody's is lost (the strategic merge goes by their type).
func (a API) Say(ctx context.Context, node string, c Condition, certificates string) error {
	type ours struct {
		Type string `json:"type"`
		Condition
	}
	c.Beat, c.Turned = c.Beat.UTC().Truncate(time.Second), c.Turned.UTC().Truncate(time.Second)
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{certificatesAnnotation: certificates}},
		"status":   map[string]any{"conditions": []ours{{conditionType, c}}},
	})
	if err != nil {
		return err
	}
	got, err := a.ask(ctx, request{method: http.MethodPatch, path: "/api/v1/nodes/" + url.PathEscape(node) + "/status",
		content: "application/strategic-merge-patch+json", body: body})
	if err == nil && got.code != http.StatusOK {
		err = got.err()
	}
	if err != nil {
		return fmt.Errorf("condition %s of node %s: %w", conditionType, node, err)
	}
	return nil
}
