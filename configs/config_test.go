package configs_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/kubecertd/kubecertd/configs"
)

// The shipped file sets every default and nothing else, so that what a user reads
// there is what happens without it.
func TestShippedFileIsTheDefaults(t *testing.T) {
	file := write(t, configs.Example)
	c, err := configs.Load(file, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(configs.Default(), c); diff != "" {
		t.Errorf("the shipped file differs from the defaults (-default +file):\n%s", diff)
	}
}

func TestShippedFileExplainsEveryKey(t *testing.T) {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(configs.Example), &document); err != nil {
		t.Fatal(err)
	}
	var order []string
	var walk func(section *yaml.Node, prefix string)
	walk = func(section *yaml.Node, prefix string) {
		for i := 0; i+1 < len(section.Content); i += 2 {
			key, value := section.Content[i], section.Content[i+1]
			if value.Kind == yaml.MappingNode {
				walk(value, prefix+key.Value+".")
				continue
			}
			order = append(order, prefix+key.Value)
			comment := strings.TrimSpace(strings.Trim(key.HeadComment, "#\n"))
			if len(comment) < 20 {
				t.Errorf("line %d: %s%s has no comment that says why (got %q)", key.Line, prefix, key.Value, comment)
			}
		}
	}
	walk(document.Content[0], "")

	var want []string
	for _, k := range configs.Keys() {
		want = append(want, k.Name)
	}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("keys of the file differ from the fields of Config (-fields +file):\n%s", diff)
	}
	for i, line := range strings.Split(configs.Example, "\n") {
		if len(line) > 90 {
			t.Errorf("line %d is %d characters long", i+1, len(line))
		}
	}
}

func TestKeys(t *testing.T) {
	var got []string
	for _, k := range configs.Keys() {
		if strings.HasPrefix(k.Name, "restart.") {
			got = append(got, strings.Join([]string{k.Name, k.Env, k.Flag, k.Default}, " "))
		}
	}
	want := []string{
		"restart.policy KUBECERTD_RESTART_POLICY restart-policy always",
		"restart.override.etcd KUBECERTD_RESTART_OVERRIDE_ETCD restart-override-etcd ",
		"restart.override.kube-apiserver KUBECERTD_RESTART_OVERRIDE_KUBE_APISERVER restart-override-kube-apiserver ",
		"restart.override.kube-controller-manager KUBECERTD_RESTART_OVERRIDE_KUBE_CONTROLLER_MANAGER restart-override-kube-controller-manager ",
		"restart.override.kube-scheduler KUBECERTD_RESTART_OVERRIDE_KUBE_SCHEDULER restart-override-kube-scheduler ",
		"restart.override.kubelet KUBECERTD_RESTART_OVERRIDE_KUBELET restart-override-kubelet ",
		"restart.grace.etcd KUBECERTD_RESTART_GRACE_ETCD restart-grace-etcd 30s",
		"restart.grace.kube-apiserver KUBECERTD_RESTART_GRACE_KUBE_APISERVER restart-grace-kube-apiserver 10s",
		"restart.grace.kube-controller-manager KUBECERTD_RESTART_GRACE_KUBE_CONTROLLER_MANAGER restart-grace-kube-controller-manager 10s",
		"restart.grace.kube-scheduler KUBECERTD_RESTART_GRACE_KUBE_SCHEDULER restart-grace-kube-scheduler 10s",
		"restart.graceAlone KUBECERTD_RESTART_GRACE_ALONE restart-grace-alone 300ms",
		"restart.releaseLeases KUBECERTD_RESTART_RELEASE_LEASES restart-release-leases true",
		"restart.timeout KUBECERTD_RESTART_TIMEOUT restart-timeout 2m",
		"restart.healthy KUBECERTD_RESTART_HEALTHY restart-healthy 4m",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var env []string
	for _, k := range configs.Keys() {
		env = append(env, k.Env)
	}
	slices.Sort(env)
	if n := len(slices.Compact(env)); n != len(configs.Keys()) {
		t.Errorf("%d keys share %d variables", len(configs.Keys()), n)
	}
}

// write puts a configuration into a file of its own, as a package manager would.
func write(t *testing.T, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubecertd.yaml")
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}
