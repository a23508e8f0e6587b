package configs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/configs"
)

func TestYAMLIsReadBack(t *testing.T) {
	changed := configs.Default()
	changed.Renew.Before = configs.Threshold{Share: 0.125}
	changed.Renew.Kubeadm = "/opt/with: colon/kubeadm"
	changed.Check.Settle = 1500 * time.Millisecond
	changed.Paths.Root = "/mnt/#1"
	changed.Kubelet.Unit = "true.service"
	changed.Renew.Copies = configs.List{"/home/*/.kube/config"}
	changed.Watch.Files = configs.List{"/etc/ssl/a, b.pem", "/srv/*/tls.crt", "/etc/haproxy"}
	for name, want := range map[string]configs.Config{"default": configs.Default(), "changed": changed} {
		content, err := want.YAML()
		if err != nil {
			t.Fatal(err)
		}
		got, err := configs.Load(write(t, string(content)), true, nil)
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, content)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}

func TestYAMLWithOrigins(t *testing.T) {
	file := write(t, "check:\n  retry: 30s\n")
	t.Setenv("KUBECERTD_RESTART_TIMEOUT", "5m")
	effective, err := configs.Read(file, true, flags(t, "--check-interval", "2h"))
	if err != nil {
		t.Fatal(err)
	}
	content, err := effective.YAML()
	if err != nil {
		t.Fatal(err)
	}
	want := `renew:
  before: 30d, 33% # default
  critical: 3d, 10% # default
  windows: [] # default
  timezone: UTC # default
  kubeadm: kubeadm # default
  timeout: 1m # default
  copies: [] # default
check:
  interval: 2h # --check-interval
  retry: 30s # FILE:2
  retryLimit: 4h # default
  settle: 1s # default
clock:
  requireSync: true # default
watch:
  files: [] # default
restart:
  policy: always # default
  override:
    etcd: "" # default
    kube-apiserver: "" # default
    kube-controller-manager: "" # default
    kube-scheduler: "" # default
    kubelet: "" # default
  grace:
    etcd: 30s # default
    kube-apiserver: 10s # default
    kube-controller-manager: 10s # default
    kube-scheduler: 10s # default
  graceAlone: 300ms # default
  releaseLeases: true # default
  timeout: 5m # KUBECERTD_RESTART_TIMEOUT
  healthy: 4m # default
cluster:
  kubeconfig: "" # default
  kured: kube-system/kured # default
turn:
  twoMembers: accept # default
snapshots:
  keep: 10 # default
  age: 400d # default
runtime:
  endpoint: "" # default
kubelet:
  unit: kubelet.service # default
  healthz: http://127.0.0.1:10248/healthz # default
  timeout: 1m30s # default
  approveServing: false # default
paths:
  root: "" # default
  kubernetes: /etc/kubernetes # default
  certificates: "" # default
  kubelet: /var/lib/kubelet # default
  state: /var/lib/kubecertd # default
node:
  condition: true # default
  events: true # default
metrics:
  listen: "" # default
  webConfig: "" # default
  textfile: "" # default
  x509: false # default
hooks:
  beforeRenewal: [] # default
  afterProof: [] # default
  timeout: 1m # default
log:
  level: info # default
  format: auto # default
`
	if diff := cmp.Diff(want, strings.ReplaceAll(string(content), file, "FILE")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Validate finds what no text could have said, such as a share of more than all.
func TestValidate(t *testing.T) {
	if err := configs.Default().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	err := configs.Config{}.Validate()
	if err == nil {
		t.Fatal("an empty configuration was accepted")
	}
	for _, key := range []string{"renew.before", "renew.kubeadm", "renew.timeout", "check.interval", "check.retry", "restart.grace.etcd",
		"restart.grace.kube-apiserver", "restart.grace.kube-controller-manager", "restart.grace.kube-scheduler", "restart.graceAlone",
		"restart.timeout", "restart.healthy", "kubelet.unit", "kubelet.healthz", "kubelet.timeout", "paths.kubernetes", "paths.kubelet",
		"paths.state", "log.level", "log.format"} {
		if !strings.Contains(err.Error(), "\n  "+key+": ") {
			t.Errorf("%s is not among the problems of an empty configuration:\n%v", key, err)
		}
	}
	for name, wrong := range map[string]func(*configs.Config){
		"renew.before: must be more than nothing":     func(c *configs.Config) { c.Renew.Before.Share = 1 },
		"renew.before: must be more than nothing, ":   func(c *configs.Config) { c.Renew.Before.Before = -1 },
		"renew.kubeadm: must be an absolute path":     func(c *configs.Config) { c.Renew.Kubeadm = "./kubeadm" },
		"renew.kubeadm: must be a program without":    func(c *configs.Config) { c.Renew.Kubeadm = "sudo kubeadm" },
		"kubelet.healthz: must be the address":        func(c *configs.Config) { c.Kubelet.Healthz = "http://" },
		"kubelet.unit: must be the name of a systemd": func(c *configs.Config) { c.Kubelet.Unit = "/etc/kubelet.service" },
	} {
		c := configs.Default()
		wrong(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("got %v, want %s", err, name)
		}
	}
}

// A configuration is written by hand, so anything can stand in it.
func FuzzFile(f *testing.F) {
	f.Add(configs.Example)
	f.Add("a: &a [*a]\nrenew: &r {before: *r}\n")
	f.Add("renew:\n  before: !!binary aGVsbG8=\n  timeout: 2026-01-01\n")
	f.Add("? {a: b}\n: c\n")
	f.Add("%YAML 1.1\n---\n!!map {check: !!null ~}\n")
	file := filepath.Join(f.TempDir(), "kubecertd.yaml")
	f.Fuzz(func(t *testing.T, content string) {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := configs.Load(file, true, nil)
		if err == nil {
			err = c.Validate()
		}
		if err != nil && strings.Contains(err.Error(), "mistake in kubecertd") {
			t.Errorf("an error without a key: %v", err)
		}
	})
}

// The path of a webhook is its secret: what is shown may be pasted anywhere.
func TestYAMLHidesAddresses(t *testing.T) {
	c, err := configs.Load(write(t, `notify:
  - {name: chat, type: slack, url: "https://hooks.example.com/services/T0/s3cret"}
  - {name: query, type: webhook, url: "https://example.com?key=s3cret", template: '{"t":1}'}
  - {name: alerts, type: alertmanager, url: "http://alerts:9093", events: [failed], repeat: 4h, tokenFile: token}
  - {name: page, type: command, command: ["/usr/bin/page", "5"], timeout: 5s}
`), true, nil)
	if err != nil {
		t.Fatal(err)
	}
	content, err := c.YAML()
	if err != nil {
		t.Fatal(err)
	}
	_, got, _ := strings.Cut(string(content), "\nnotify:\n")
	const attention = "[failed, put-back, stale, ca-expiring, blocked, notice, recovered]"
	want := `  - name: chat
    type: slack
    events: ` + attention + `
    url: https://hooks.example.com/(hidden)
    timeout: 10s
    repeat: 1d
    blockedAfter: 1h
  - name: query
    type: webhook
    events: ` + attention + `
    url: https://example.com/(hidden)
    template: '{"t":1}'
    timeout: 10s
    repeat: 1d
    blockedAfter: 1h
  - name: alerts
    type: alertmanager
    events: [failed]
    url: http://alerts:9093
    tokenFile: token
    timeout: 10s
    repeat: 4h
    blockedAfter: 1h
  - name: page
    type: command
    events: ` + attention + `
    command: [/usr/bin/page, "5"]
    timeout: 5s
    repeat: 1d
    blockedAfter: 1h
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// What a hook is given is no misspelled variable of ours: it may call kubecertd.
func TestVariablesOfEvents(t *testing.T) {
	t.Setenv("KUBECERTD_EVENT", "failed")
	t.Setenv("KUBECERTD_EVENT_RUN", "20260301T120000.000Z-abcdef")
	if _, err := configs.Load("", false, nil); err != nil {
		t.Error(err)
	}
}
