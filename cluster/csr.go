package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// kubeletServing is the signer of what a kubelet serves with serverTLSBootstrap. Nobody
// in Kubernetes approves what is asked of it (kube-controller-manager:
// certificates/approver/sarapprove.go).
const kubeletServing = "kubernetes.io/kubelet-serving"

// Request is a CertificateSigningRequest of certificates.k8s.io/v1.
type Request struct {
	Name    string
	Created time.Time
	// Username and Groups are who asked, as the API server knows them.
	Username string
	Groups   []string
	Usages   []string
	PEM      []byte
	// Approved, Denied and Failed are the conditions it has, with what was said of them.
	Approved, Denied, Failed bool
	Said                     string
	Issued                   bool

	object map[string]any // as it was read, with whatever newer versions have put into it
}

const requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests"

// mostPages bounds how much of a list is asked for: requests that nobody approves are
// kept for a day, and a kubelet asks every quarter of an hour (kube-controller-manager:
// certificates/cleaner/cleaner.go).
const mostPages = 20

// ServingRequests are those of a node for what its kubelet serves. kubelet.conf is
// enough for it, and admin.conf (kubernetes: rbac/bootstrappolicy/policy.go, NodeRules).
func (a API) ServingRequests(ctx context.Context, node string) ([]Request, error) {
	var found []Request
	query := url.Values{"fieldSelector": {"spec.signerName=" + kubeletServing}, "limit": {"250"}}
	for range mostPages {
		var list struct {
			Metadata struct {
				Continue string `json:"continue"`
			} `json:"metadata"`
			Items []map[string]any `json:"items"`
		}
		if err := a.get(ctx, requests, query, &list); err != nil {
			return nil, fmt.Errorf("certificate signing requests: %w", err)
		}
		for _, object := range list.Items {
			r, signer, err := parseRequest(object)
			if err != nil {
				return nil, fmt.Errorf("certificate signing requests: %w", err)
			}
			if signer == kubeletServing && r.Username == "system:node:"+node {
				found = append(found, r)
			}
		}
		if list.Metadata.Continue == "" {
			return found, nil
		}
		query.Set("continue", list.Metadata.Continue)
	}
	return nil, fmt.Errorf("certificate signing requests: there are more than %d pages of them", mostPages)
}

func parseRequest(object map[string]any) (r Request, signer string, err error) {
	raw, err := json.Marshal(object)
	if err != nil {
		return r, "", err
	}
	var fields struct {
		Metadata struct {
			Name    string    `json:"name"`
			Created time.Time `json:"creationTimestamp"`
		} `json:"metadata"`
		Spec struct {
			Request  []byte   `json:"request"`
			Signer   string   `json:"signerName"`
			Usages   []string `json:"usages"`
			Username string   `json:"username"`
			Groups   []string `json:"groups"`
		} `json:"spec"`
		Status struct {
			Certificate []byte `json:"certificate"`
			Conditions  []struct {
				Type    string `json:"type"`
				Reason  string `json:"reason"`
				Message string `json:"message"`
			} `json:"conditions"`
		} `json:"status"`
	}
	if err := json.Unmarshal(raw, &fields); err != nil {
		return r, "", err
	}
	r = Request{Name: fields.Metadata.Name, Created: fields.Metadata.Created, Username: fields.Spec.Username, Groups: fields.Spec.Groups,
		Usages: fields.Spec.Usages, PEM: fields.Spec.Request, Issued: len(fields.Status.Certificate) > 0, object: object}
	for _, c := range fields.Status.Conditions {
		switch c.Type {
		case "Approved":
			r.Approved = true
			continue
		case "Denied":
			r.Denied = true
		case "Failed":
			r.Failed = true
		default:
			continue
		}
		r.Said = c.Reason + ": " + c.Message
	}
	return r, fields.Spec.Signer, nil
}

// Approve approves a request as it was read: the API server refuses the write when it
// has changed since. It takes somebody who may approve for the signer: admin.conf.
func (a API) Approve(ctx context.Context, r Request, reason string, now time.Time) error {
	status, _ := r.object["status"].(map[string]any)
	if status == nil {
		status = map[string]any{}
	}
	conditions, _ := status["conditions"].([]any)
	at := now.UTC().Format(time.RFC3339)
	status["conditions"] = append(conditions, map[string]any{"type": "Approved", "status": "True", "reason": "KubecertdApproved",
		"message": reason, "lastUpdateTime": at, "lastTransitionTime": at})
	r.object["status"] = status
	body, err := json.Marshal(r.object)
	if err != nil {
		return err
	}
	got, err := a.ask(ctx, request{method: http.MethodPut, path: requests + "/" + r.Name + "/approval", content: "application/json", body: body})
	if err == nil && got.code != http.StatusOK {
		err = got.err()
	}
	if err != nil {
		return fmt.Errorf("certificate signing request %s: %w", r.Name, err)
	}
	return nil
}
