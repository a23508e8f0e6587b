package cluster_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/kubecertd/kubecertd/cluster"
)

// etcdStore is a cluster's etcd as far as the turn needs it: one key, the registry's
// revisions, and who the members are.
type etcdStore struct {
	etcdserverpb.UnimplementedKVServer
	etcdserverpb.UnimplementedMaintenanceServer
	etcdserverpb.UnimplementedClusterServer

	mu       sync.Mutex
	revision int64
	key      *mvccpb.KeyValue
	lease    map[string]any // of the API server, which is nil where there is none
	down     bool           // the API server
	leader   uint64
	applied  uint64
	members  []*etcdserverpb.Member
	between  func() // called before a write
	ca       *authority
}

func (s *etcdStore) Status(context.Context, *etcdserverpb.StatusRequest) (*etcdserverpb.StatusResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &etcdserverpb.StatusResponse{Header: &etcdserverpb.ResponseHeader{MemberId: 1}, Leader: s.leader, RaftAppliedIndex: s.applied}, nil
}

func (s *etcdStore) MemberList(context.Context, *etcdserverpb.MemberListRequest) (*etcdserverpb.MemberListResponse, error) {
	return &etcdserverpb.MemberListResponse{Header: &etcdserverpb.ResponseHeader{MemberId: 1}, Members: s.members}, nil
}

func (s *etcdStore) Range(_ context.Context, r *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leader == 0 {
		return nil, errors.New("etcdserver: no leader")
	}
	if string(r.Key) != "/kubecertd/turn" || r.Serializable {
		return nil, fmt.Errorf("asked for %s", r)
	}
	answer := &etcdserverpb.RangeResponse{Header: &etcdserverpb.ResponseHeader{}}
	if s.key != nil {
		answer.Kvs = []*mvccpb.KeyValue{s.key}
	}
	return answer, nil
}

func (s *etcdStore) Txn(_ context.Context, r *etcdserverpb.TxnRequest) (*etcdserverpb.TxnResponse, error) {
	if s.between != nil {
		s.between()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	have := int64(0)
	if s.key != nil {
		have = s.key.ModRevision
	}
	if r.Compare[0].GetModRevision() != have {
		return &etcdserverpb.TxnResponse{Header: &etcdserverpb.ResponseHeader{}}, nil
	}
	s.put(string(r.Success[0].GetRequestPut().Value))
	return &etcdserverpb.TxnResponse{Header: &etcdserverpb.ResponseHeader{}, Succeeded: true,
		Responses: []*etcdserverpb.ResponseOp{{Response: &etcdserverpb.ResponseOp_ResponsePut{ResponsePut: &etcdserverpb.PutResponse{}}}}}, nil
}

func (s *etcdStore) put(value string) {
	s.revision++
	s.key = &mvccpb.KeyValue{Key: []byte("/kubecertd/turn"), Value: []byte(value), ModRevision: s.revision}
}

// ServeHTTP is the API server in front of it.
func (s *etcdStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && s.between != nil {
		s.between()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	fail := func(code int) {
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":%d,"message":"of the test"}`, code)
	}
	const leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
	body, _ := io.ReadAll(r.Body)
	var put map[string]any
	_ = json.Unmarshal(body, &put)
	switch {
	case s.down:
		fail(http.StatusServiceUnavailable)
		return
	case r.Method == http.MethodPost && r.URL.Path == leases:
		if s.lease != nil {
			fail(http.StatusConflict)
			return
		}
		s.store(put)
	case r.URL.Path != leases+"/kubecertd-turn" || s.lease == nil:
		fail(http.StatusNotFound)
		return
	case r.Method == http.MethodPut:
		if put["metadata"].(map[string]any)["resourceVersion"] != s.lease["metadata"].(map[string]any)["resourceVersion"] {
			fail(http.StatusConflict)
			return
		}
		s.store(put)
	}
	_ = json.NewEncoder(w).Encode(s.lease)
}

func (s *etcdStore) store(lease map[string]any) {
	s.revision++
	lease["metadata"].(map[string]any)["resourceVersion"] = fmt.Sprint(s.revision)
	s.lease = lease
}

// byHand makes the Lease what a person has written.
func (s *etcdStore) byHand(spec string) {
	var lease map[string]any
	if err := json.Unmarshal(fmt.Appendf(nil, `{"metadata":{"name":"kubecertd-turn"}%s}`, spec), &lease); err != nil {
		panic(err)
	}
	s.store(lease)
}

// newTurns is the turn of a cluster, with its etcd on this node or somewhere else.
func newTurns(t *testing.T, own bool) (*etcdStore, cluster.Turn) {
	t.Helper()
	s := &etcdStore{leader: 1, revision: 100, applied: 100000}
	api := httptest.NewTLSServer(s)
	t.Cleanup(api.Close)
	turn := cluster.Turn{API: cluster.API{Kubeconfigs: []string{kubeconfig(t, api, api.URL)}}}
	if own {
		etcd := s.serve(t)
		turn.Etcd = &etcd
	}
	return s, turn
}

func (s *etcdStore) serve(t *testing.T) cluster.Etcd {
	t.Helper()
	ca := newAuthority(t, "etcd-ca")
	s.ca = ca
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{ca.serving(t)},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool})))
	etcdserverpb.RegisterKVServer(server, s)
	etcdserverpb.RegisterMaintenanceServer(server, s)
	etcdserverpb.RegisterClusterServer(server, s)
	listener := listen(t)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	certificate, key := ca.client(t, "healthcheck", time.Now().Add(time.Hour))
	return cluster.Etcd{Endpoint: "https://" + listener.Addr().String(), Certificate: certificate, Key: key, CA: ca.file}
}

var since = time.Date(2026, 3, 1, 3, 15, 0, 250000, time.UTC)

// cp1 is a record of a node that has passed another.
var cp1 = cluster.TurnRecord{Held: cluster.Held{Holder: "cp1", Since: since, Reason: "restart etcd", Passed: true},
	Behind: []cluster.Held{{Holder: "cp2", Failed: "kubeadm"}}}

func TestTurn(t *testing.T) {
	t.Parallel()
	for name, own := range map[string]bool{"etcd on this node": true, "etcd elsewhere": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, turn := newTurns(t, own)
			free, err := turn.Read(t.Context())
			if err != nil || free.Holder != "" || free.Unknown != "" || len(free.Notices) > 0 {
				t.Fatalf("%+v, %v", free, err)
			}
			if copied, err := turn.Write(t.Context(), free, cp1); copied != nil || err != nil {
				t.Fatal(copied, err)
			}
			// Another node that had read it before is too late, whether it makes it or
			// replaces it.
			if _, err := turn.Write(t.Context(), free, cluster.TurnRecord{Held: cluster.Held{Holder: "cp3"}}); !errors.Is(err, cluster.ErrTurnChanged) {
				t.Errorf("written although it has changed: %v", err)
			}
			held, err := turn.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(cp1, held.TurnRecord); diff != "" {
				t.Errorf("held (-want +got):\n%s", diff)
			}
			spec := s.lease["spec"].(map[string]any)
			if spec["holderIdentity"] != "cp1" || spec["acquireTime"] != "2026-03-01T03:15:00.000250Z" || spec["leaseTransitions"] != 1.0 {
				t.Errorf("the Lease says %v", spec)
			}
			if _, err := turn.Write(t.Context(), held, cluster.TurnRecord{}); err != nil {
				t.Fatal(err)
			}
			if _, err := turn.Write(t.Context(), held, cp1); !errors.Is(err, cluster.ErrTurnChanged) {
				t.Errorf("written although it has changed: %v", err)
			}
			if free, err = turn.Read(t.Context()); err != nil || free.Holder != "" || len(free.Behind) > 0 {
				t.Errorf("released: %+v, %v", free, err)
			}
		})
	}
}

// A node without the API and one with it exclude each other.
func TestTurnWithoutTheAPI(t *testing.T) {
	t.Parallel()
	s, turn := newTurns(t, true)
	free, _ := turn.Read(t.Context())
	s.down = true
	blind, err := turn.Read(t.Context())
	if err != nil || blind.Holder != "" || len(blind.Notices) == 0 {
		t.Fatalf("%+v, %v", blind, err)
	}
	if copied, err := turn.Write(t.Context(), blind, cp1); err != nil || copied == nil {
		t.Fatalf("%v, %v: want it taken, and said that the Lease does not show it", copied, err)
	}
	s.down = false
	if _, err := turn.Write(t.Context(), free, cluster.TurnRecord{Held: cluster.Held{Holder: "cp3"}}); !errors.Is(err, cluster.ErrTurnChanged) {
		t.Errorf("taken by a second node: %v", err)
	}
	if held, err := turn.Read(t.Context()); err != nil || held.Holder != "cp1" {
		t.Errorf("%+v, %v", held, err)
	}
	// And given back without it: what the Lease says is older.
	held, _ := turn.Read(t.Context())
	_, _ = turn.Write(t.Context(), held, cp1)
	s.down = true
	held, _ = turn.Read(t.Context())
	if _, err := turn.Write(t.Context(), held, cluster.TurnRecord{}); err != nil {
		t.Fatal(err)
	}
	s.down = false
	if free, err := turn.Read(t.Context()); err != nil || free.Holder != "" {
		t.Errorf("the Lease that could not be written holds it: %+v, %v", free, err)
	}
}

// What people write into either is survived.
func TestTurnByHand(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		own     bool
		key     string // in etcd, written before the Lease
		lease   string
		after   string // in etcd, written after it
		holder  string
		unknown string
		notice  string
	}{
		{name: "a Lease that somebody took while the key is free", own: true, key: `{"holder":""}`, lease: `,"spec":{"holderIdentity":"anna"}`, holder: "anna"},
		{name: "a Lease that somebody took before there was a key", own: true, lease: `,"spec":{"holderIdentity":"anna","acquireTime":"yesterday"}`, holder: "anna"},
		{name: "a Lease that somebody freed", own: true, key: `{"holder":"cp2"}`, lease: `,"spec":{"holderIdentity":""}`, holder: "cp2"},
		{name: "a Lease that is older than the release", own: true, lease: `,"spec":{"holderIdentity":"cp2"}`, after: `{"holder":""}`},
		{name: "a Lease without a spec", own: true, key: `{"holder":"cp2"}`, lease: ``, holder: "cp2", notice: "no spec"},
		{name: "a Lease without a spec, the key free", own: true, key: `{"holder":""}`, lease: ``, notice: "no spec"},
		{name: "a key that is no record", own: true, key: `nonsense`, lease: `,"spec":{}`, unknown: "/kubecertd/turn"},
		{name: "a key that is no record, and a Lease that is held", own: true, key: `nonsense`, lease: `,"spec":{"holderIdentity":"cp2"}`, holder: "cp2", notice: "/kubecertd/turn"},
		{name: "both are nonsense", own: true, key: `[]`, lease: `,"spec":7`, unknown: "/kubecertd/turn", notice: "no spec"},
		{name: "only a Lease, and it is nonsense", lease: `,"spec":{"holderIdentity":7}`, unknown: "not a text"},
		{name: "only a Lease, with another's annotation", lease: `,"spec":{"holderIdentity":"cp3"}`, holder: "cp3"},
		{name: "only a Lease, without a holder", lease: `,"spec":{"holderIdentity":null}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, turn := newTurns(t, tt.own)
			if tt.key != "" {
				s.put(tt.key)
			}
			s.byHand(tt.lease)
			if tt.after != "" {
				s.put(tt.after)
			}
			seen, err := turn.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if seen.Holder != tt.holder || (tt.unknown == "") != (seen.Unknown == "") || !strings.Contains(seen.Unknown, tt.unknown) {
				t.Errorf("held by %q, unknown %q", seen.Holder, seen.Unknown)
			}
			if notices := strings.Join(seen.Notices, "; "); !strings.Contains(notices, tt.notice) || (tt.notice == "") != (notices == "") {
				t.Errorf("notices %q", notices)
			}
			// Whatever it was, it can be written over.
			if copied, err := turn.Write(t.Context(), seen, cp1); copied != nil || err != nil {
				t.Fatal(copied, err)
			}
			if seen, err := turn.Read(t.Context()); err != nil || !cmp.Equal(seen.TurnRecord, cp1) {
				t.Errorf("after it was written: %+v, %v", seen, err)
			}
		})
	}
}

// Of nodes that take it in the same moment one has it.
func TestTurnIsTakenByOne(t *testing.T) {
	t.Parallel()
	for name, own := range map[string]bool{"etcd on this node": true, "etcd elsewhere": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, turn := newTurns(t, own)
			var wg sync.WaitGroup
			gather := make(chan struct{})
			var mu sync.Mutex
			var won []string
			for i := range 5 {
				name := fmt.Sprintf("cp%d", i+1)
				seen, err := turn.Read(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				wg.Go(func() {
					<-gather
					if _, err := turn.Write(t.Context(), seen, cluster.TurnRecord{Held: cluster.Held{Holder: name}}); err == nil {
						mu.Lock()
						won = append(won, name)
						mu.Unlock()
					}
				})
			}
			close(gather)
			wg.Wait()
			held, err := turn.Read(t.Context())
			if err != nil || len(won) != 1 || held.Holder != won[0] {
				t.Errorf("taken by %v, held by %q (%v), revision %d", won, held.Holder, err, s.revision)
			}
		})
	}
}

func TestTurnWithoutQuorum(t *testing.T) {
	t.Parallel()
	s, turn := newTurns(t, true)
	s.leader = 0
	if _, err := turn.Read(t.Context()); !errors.Is(err, cluster.ErrNoQuorum) {
		t.Errorf("%v", err)
	}
	if _, err := turn.Etcd.Members(t.Context()); !errors.Is(err, cluster.ErrNoQuorum) {
		t.Errorf("%v", err)
	}
}

func TestMembers(t *testing.T) {
	t.Parallel()
	s, turn := newTurns(t, true)
	url := turn.Etcd.Endpoint
	s.members = []*etcdserverpb.Member{
		{ID: 1, Name: "cp1", ClientURLs: []string{url}},
		{ID: 2, Name: "cp2", ClientURLs: []string{url}},
		{ID: 3, Name: "cp3", ClientURLs: []string{"https://192.0.2.3:2379", "https://192.0.2.3:12379"}, IsLearner: true},
		{ID: 4},
	}
	all, err := turn.Etcd.Members(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := cluster.Membership{Self: "cp1", Peers: []cluster.Member{
		{Name: "cp2", Hosts: []string{"127.0.0.1"}},
		{Name: "cp3", Hosts: []string{"192.0.2.3"}, Problem: "is a learner that has not caught up"},
		{Name: "4", Problem: "was added and has never started"},
	}}
	if diff := cmp.Diff(want, all, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	peers, unhealthy, err := turn.Etcd.Peers(t.Context())
	if err != nil || len(peers) != 3 || len(unhealthy) != 2 {
		t.Errorf("%v, %v, %v", peers, unhealthy, err)
	}
}

// A member that is far behind the others cannot be left alone with the work.
func TestMembersFarApart(t *testing.T) {
	t.Parallel()
	for name, applied := range map[string]uint64{"is 50000 entries behind": 50000, "has to catch up": 150000, "": 99000} {
		s, turn := newTurns(t, true)
		other := &etcdStore{leader: 1, applied: applied, ca: s.ca}
		etcd := other.serveAs(t)
		s.members = []*etcdserverpb.Member{{ID: 1, Name: "cp1"}, {ID: 2, Name: "cp2", ClientURLs: []string{etcd}}}
		all, err := turn.Etcd.Members(t.Context())
		if err != nil || !strings.Contains(all.Peers[0].Problem, name) || (name == "") != (all.Peers[0].Problem == "") {
			t.Errorf("applied %d: %+v, %v", applied, all, err)
		}
	}
}

// serveAs serves a member of the same CA, and returns its URL.
func (s *etcdStore) serveAs(t *testing.T) string {
	t.Helper()
	ca := s.ca
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{ca.serving(t)},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool})))
	etcdserverpb.RegisterMaintenanceServer(server, s)
	listener := listen(t)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return "https://" + listener.Addr().String()
}

func TestSeeNode(t *testing.T) {
	t.Parallel()
	const at = "2026-03-01T03:15:00Z"
	node := func(ready string) string {
		return `{"status":{"addresses":[{"type":"Hostname","address":"cp2"},{"type":"InternalIP","address":"192.0.2.2"}],"conditions":[{"type":"MemoryPressure","status":"Unknown","lastTransitionTime":"` + at + `"},{"type":"Ready","status":"` + ready + `","lastTransitionTime":"` + at + `"}]}}`
	}
	silent, _ := time.Parse(time.RFC3339, at)
	for name, tt := range map[string]struct {
		code int
		body string
		want cluster.NodeSeen
		err  bool
	}{
		"ready":                         {200, node("True"), cluster.NodeSeen{There: true, Addresses: []string{"192.0.2.2"}}, false},
		"not ready, and says so":        {200, node("False"), cluster.NodeSeen{There: true, Addresses: []string{"192.0.2.2"}}, false},
		"silent":                        {200, node("Unknown"), cluster.NodeSeen{There: true, Silent: silent, Addresses: []string{"192.0.2.2"}}, false},
		"deleted":                       {404, `{}`, cluster.NodeSeen{}, false},
		"forbidden, which says nothing": {403, `{}`, cluster.NodeSeen{}, true},
		"nonsense":                      {200, `[`, cluster.NodeSeen{}, true},
	} {
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/api/v1/nodes/cp2" {
				t.Errorf("asked for %s", r.URL.Path)
			}
			w.WriteHeader(tt.code)
			fmt.Fprint(w, tt.body)
		}))
		got, err := cluster.API{Kubeconfigs: []string{kubeconfig(t, server, server.URL)}}.SeeNode(t.Context(), "cp2")
		server.Close()
		if diff := cmp.Diff(tt.want, got); diff != "" || (err != nil) != tt.err {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
	if seen, err := (cluster.API{}).SeeNode(t.Context(), "no/node"); seen.There || err != nil {
		t.Errorf("a name that no node can have: %+v, %v", seen, err)
	}
}
