package cluster_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/kubecertd/kubecertd/cluster"
)

// right is something that a user may do, as RBAC counts it.
type right struct{ namespace, group, resource, name, verb string }

func (r right) String() string {
	return fmt.Sprintf("%s %s.%s/%s in %q", r.verb, r.resource, r.group, r.name, r.namespace)
}

// needs is the right that a request takes (kubernetes: apiserver/pkg/endpoints/request).
func needs(method, path string) right {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	var r right
	switch {
	case parts[0] == "api" && len(parts) > 2:
		parts = parts[2:]
	case parts[0] == "apis" && len(parts) > 3:
		r.group, parts = parts[1], parts[3:]
	default:
		return right{resource: path, verb: strings.ToLower(method)}
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		r.namespace, parts = parts[1], parts[2:]
	}
	r.resource = parts[0]
	if len(parts) > 1 {
		r.name = parts[1]
	}
	if len(parts) > 2 {
		r.resource += "/" + parts[2]
	}
	r.verb = map[string]string{http.MethodGet: "get", http.MethodPut: "update", http.MethodPost: "create", http.MethodPatch: "patch"}[method]
	if r.verb == "get" && r.name == "" {
		r.verb = "list"
	}
	return r
}

// object is what a manifest of RBAC can hold.
type object struct {
	APIVersion string
	Kind       string
	Metadata   struct{ Name, Namespace string }
	Rules      []struct {
		APIGroups, Resources, ResourceNames, Verbs, NonResourceURLs []string
	}
	RoleRef  struct{ APIGroup, Kind, Name string }
	Subjects []struct{ APIGroup, Kind, Name string }
}

// manifest reads the one that ships.
func manifest(t *testing.T) []object {
	t.Helper()
	content, err := os.ReadFile("../packaging/rbac.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var objects []object
	for _, document := range bytes.Split(content, []byte("\n---\n")) {
		var o object
		if err := yaml.UnmarshalStrict(document, &o); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, o)
	}
	return objects
}

// granted are the rights that a role of the manifest holds.
func granted(o object) []right {
	var rights []right
	for _, rule := range o.Rules {
		names := rule.ResourceNames
		if len(names) == 0 {
			names = []string{""}
		}
		for _, verb := range rule.Verbs {
			for _, url := range rule.NonResourceURLs {
				rights = append(rights, right{resource: url, verb: verb})
			}
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, name := range names {
						rights = append(rights, right{o.Metadata.Namespace, group, resource, name, verb})
					}
				}
			}
		}
	}
	return rights
}

// everybody may discover what there is (ClusterRole system:discovery).
func everybody(r right) bool {
	return r.verb == "get" && (strings.HasPrefix(r.resource, "/apis/") || r.resource == "/readyz")
}

// asked are the rights that it takes to do what kubecertd does.
func asked(t *testing.T) map[right]string {
	t.Helper()
	var mu sync.Mutex
	what, found := "", map[right]string{}
	turns := 0 // how often somebody looked for the turn, which nobody has taken yet
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		found[needs(r.Method, r.URL.Path)] = what
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.HasSuffix(r.URL.Path, "/kubecertd-turn") && turns == 0:
			turns++
			w.WriteHeader(http.StatusNotFound)
		case r.Method == http.MethodPost:
			w.WriteHeader(http.StatusCreated)
		case strings.Contains(r.URL.Path, "/leases/"):
			fmt.Fprint(w, `{"metadata":{"resourceVersion":"1"},"spec":{"holderIdentity":"cp1_c0ffee"}}`)
		case strings.HasSuffix(r.URL.Path, "/apiservices"):
			fmt.Fprint(w, services(metrics))
		default:
			fmt.Fprint(w, `{"data":{"ClusterConfiguration":"x"}}`)
		}
	}))
	t.Cleanup(server.Close)
	api := cluster.API{Kubeconfigs: []string{kubeconfig(t, server, server.URL)}}
	ctx := t.Context()
	must := func(name string, do func() error) {
		mu.Lock()
		what = name
		mu.Unlock()
		if err := do(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	must("Configuration", func() error { _, err := api.Configuration(ctx); return err })
	must("APIServers", func() error { _, err := api.APIServers(ctx); return err })
	must("Neighbours", func() error { _, err := api.Neighbours(ctx, "kube-system/kured"); return err })
	must("Mark", func() error { return api.Mark(ctx, "cp1", "x") })
	must("NodeSays", func() error { _, err := api.NodeSays(ctx, "cp1"); return err })
	must("NodesSay", func() error { _, err := api.NodesSay(ctx); return err })
	must("Say", func() error { return api.Say(ctx, "cp1", cluster.Condition{}, "") })
	must("MakeEvent", func() error { return api.MakeEvent(ctx, cluster.Event{}) })
	must("RepeatEvent", func() error { _, err := api.RepeatEvent(ctx, "cp1.1", 2, noon); return err })
	must("UseEtcd", func() error { _, err := api.UseEtcd(ctx); return err })
	must("UseAggregated", func() error { _, err := api.UseAggregated(ctx); return err })
	must("UseKubelet", func() error { _, err := api.UseKubelet(ctx, "cp1"); return err })
	must("Heartbeat", func() error { _, err := api.Heartbeat(ctx, "cp1"); return err })
	must("SeeNode", func() error { _, err := api.SeeNode(ctx, "cp1"); return err })
	for range 2 { // it is made, and then changed
		must("Turn", func() error {
			seen, err := cluster.Turn{API: api}.Read(ctx)
			if err != nil {
				return err
			}
			_, err = cluster.Turn{API: api}.Write(ctx, seen, cluster.TurnRecord{Held: cluster.Held{Holder: "cp1"}})
			return err
		})
	}
	for _, component := range []string{"kube-controller-manager", "kube-scheduler"} {
		must("LeaderLease", func() error {
			lease := cluster.LeaderLease{API: api, Component: component, Node: "cp1"}
			if leads, err := lease.Hold(ctx); !leads || err != nil {
				return fmt.Errorf("leads %t, %w", leads, err)
			}
			_, err := lease.Release(ctx)
			return err
		})
	}
	return found
}

// The manifest that ships grants what kubecertd asks for, and nothing else.
func TestRBAC(t *testing.T) {
	objects := manifest(t)
	var have []right
	for _, o := range objects {
		if !strings.HasSuffix(o.Kind, "RoleBinding") {
			continue
		}
		if len(o.Subjects) != 1 || o.Subjects[0].Kind != "User" || o.Subjects[0].Name != "kubecertd" {
			t.Errorf("%s %s binds %v", o.Kind, o.Metadata.Name, o.Subjects)
		}
		i := slices.IndexFunc(objects, func(role object) bool {
			return role.Kind == o.RoleRef.Kind && role.Metadata.Name == o.RoleRef.Name && role.Metadata.Namespace == o.Metadata.Namespace
		})
		if i < 0 || o.Kind != o.RoleRef.Kind+"Binding" {
			t.Fatalf("%s %s binds a role that is not there", o.Kind, o.Metadata.Name)
		}
		have = append(have, granted(objects[i])...)
	}
	want := asked(t)
	used := map[right]bool{}
	for r, what := range want {
		if everybody(r) {
			continue
		}
		by := slices.IndexFunc(have, func(h right) bool {
			return h == r || h == right{r.namespace, r.group, r.resource, "", r.verb}
		})
		switch forbidden := r.resource == "nodes/proxy"; {
		case forbidden && by >= 0:
			t.Errorf("%s is granted, which lets its holder run commands everywhere", r)
		case !forbidden && by < 0:
			t.Errorf("%s asks to %s, which is not granted", what, r)
		case by >= 0:
			used[have[by]] = true
		}
	}
	for _, h := range have {
		if !used[h] {
			t.Errorf("%s is granted and never asked for", h)
		}
		if strings.Contains(fmt.Sprint(h), "*") {
			t.Errorf("%s is more than anybody can read", h)
		}
	}
}

// What approving takes is granted only to those who bind it.
func TestRBACForApproving(t *testing.T) {
	for _, o := range manifest(t) {
		if strings.HasSuffix(o.Kind, "Binding") && o.RoleRef.Name == "kubecertd-approver" {
			t.Error("it is bound")
		}
		if o.Kind != "ClusterRole" || o.Metadata.Name != "kubecertd-approver" {
			continue
		}
		want := []right{{"", "certificates.k8s.io", "certificatesigningrequests", "", "list"},
			{"", "certificates.k8s.io", "certificatesigningrequests/approval", "", "update"},
			{"", "certificates.k8s.io", "signers", "kubernetes.io/kubelet-serving", "approve"}}
		if diff := cmp.Diff(want, granted(o), cmp.AllowUnexported(right{})); diff != "" {
			t.Error(diff)
		}
	}
}
