package configs_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/configs"
)

// Static pods of others have a policy too, and what is read is what is shown.
func TestOverrideOthers(t *testing.T) {
	file := write(t, "restart:\n  override:\n    kube-vip: never\n    etcd: auto\n    edge.proxy/haproxy: always\n")
	effective, err := configs.Read(file, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := configs.Default()
	want.Restart.Override.Etcd = "auto"
	want.Restart.Override.Others = map[string]string{"kube-vip": "never", "edge.proxy/haproxy": "always"}
	if diff := cmp.Diff(want, effective.Config); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	shown, err := effective.YAML()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"    edge.proxy/haproxy: always # FILE:5", "    kube-vip: never # FILE:3"} {
		if text := strings.ReplaceAll(string(shown), file, "FILE"); !strings.Contains(text, line) {
			t.Errorf("no %q in\n%s", line, text)
		}
	}
	again, err := configs.Load(write(t, string(shown)), true, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, again); diff != "" {
		t.Errorf("what is shown is read as another configuration (-want +got)\n%s", diff)
	}
}

func TestOverrideRefused(t *testing.T) {
	for line, want := range map[string]string{
		"kube-schedular: never": "did you mean restart.override.kube-scheduler?",
		"Kube-Vip: never":       "is not a key of kubecertd",
		"kube_vip: never":       "is not a key of kubecertd",
		"a/b/c: never":          "is not a key of kubecertd",
		"kube-vip: sometimes":   "FILE:3: restart.override.kube-vip: is not one of the words for it",
		"kube-vip: true":        "FILE:3: restart.override.kube-vip: must be text",
		"kube-vip: ''":          "restart.override.kube-vip: is not one of the words for it",
		"kube-vip:":             "restart.override.kube-vip: has no value",
		"kube-vip: {}":          "restart.override.kube-vip: must be one value",
	} {
		file := write(t, "restart:\n  override:\n    "+line+"\n")
		_, err := configs.Load(file, true, nil)
		if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), file, "FILE"), want) {
			t.Errorf("%s: got %v, want %s", line, err, want)
		}
	}
	// Nowhere else.
	if _, err := configs.Load(write(t, "restart:\n  grace:\n    kube-vip: 3s\n"), true, nil); err == nil {
		t.Error("restart.grace.kube-vip was accepted")
	}
}
