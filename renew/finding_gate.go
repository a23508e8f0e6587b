package renew

import (
	"slices"
	"strings"
)

// gateFindings are the gates whose cause has a finding of its own: under another name,
// by which it is found when nothing is to be done, too. The finding of any other is
// called after the gate, gate-etcd for the gate etcd.
var gateFindings = map[string]string{
	"kubelet":               "kubelet-down",
	"kubelet-client":        "kubelet-client-unusable",
	"systemd":               "systemd-unreachable",
	"containers":            "runtime-unreachable",
	"component":             "component-down",
	"ca":                    "ca-unusable",
	"cluster-configuration": "configuration-unknown",
	gatePaused:              "paused",
	"host":                  "host-busy",
}

// opening are the gates that open by themselves. They say nothing about a node where
// nothing is to be done.
var opening = []string{gatePaused, "host", "shutdown", gateWindow, gateTurn, gateKured, gateCordon, gateUpgrade}

// ofGates are the gates that are closed, and those that would be if something were to be
// done: it is better to hear of a full disk before the day.
func (f *findings) ofGates() {
	for _, g := range f.Plan.Blocked {
		f.gate(g, "")
	}
	for _, g := range f.Rehearsal {
		kind, _, _ := strings.Cut(g.Name, " ")
		if !slices.Contains(opening, kind) && !slices.ContainsFunc(f.Plan.Blocked, func(b Gate) bool { return b.Name == g.Name }) {
			f.gate(g, "nothing is to be done now, and when it is, it will wait: ")
		}
	}
}

func (f *findings) gate(g Gate, instead string) {
	kind, about, _ := strings.Cut(g.Name, " ")
	id, own := gateFindings[kind]
	if !own {
		id = "gate-" + kind
	}
	if f.has(id, about) || kind == "kubelet" && f.has("kubelet-unhealthy", "") || kind == "kubelet-client" && f.has(id, "") {
		return
	}
	found := Finding{ID: id, Severity: Warning, About: about, Found: instead + g.Reason, Remedy: g.Remedy}
	switch {
	case slices.Contains(opening, kind):
		found.Itself, found.Remedy = g.Remedy, ""
	case instead == "" && slices.ContainsFunc(f.list, func(x Finding) bool { return x.ID == "certificate-due" && x.Severity == Critical }):
		found.Severity = Critical
	}
	f.add(found)
}
