package renew_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/renew"
)

// Only the two keys of the current user change, and what they were is not kept beside.
func TestPointed(t *testing.T) {
	const head = "# ours\napiVersion: v1\nclusters:\n- {name: c, cluster: {server: 'https://x:6443'}}\ncontexts:\n- name: a\n  context: {cluster: c, user: me}\ncurrent-context: a\nusers:\n"
	for name, tt := range map[string]struct{ users, want, err string }{
		"embedded": {"- name: me\n  user:\n    client-certificate-data: AAAA # old\n    client-key-data: 'BBBB'\n- name: you\n  user: {token: t}\n",
			"- name: me\n  user:\n    client-certificate: /f # old\n    client-key: '/f'\n- name: you\n  user: {token: t}\n", ""},
		"named already": {"- name: me\n  user:\n    client-certificate: /f\n    client-key: /f\n", "- name: me\n  user:\n    client-certificate: /f\n    client-key: /f\n", ""},
		"named elsewhere": {"- name: me\n  user: {client-certificate: /old, client-key: \"/key\"}\n",
			"- name: me\n  user: {client-certificate: /f, client-key: \"/f\"}\n", ""},
		"in a flow": {"- {name: me, user: {client-certificate-data: AAAA, client-key-data: BBBB}}\n",
			"- {name: me, user: {client-certificate: /f, client-key: /f}}\n", ""},
		"only another user": {"- name: you\n  user: {token: t}\n", "", `has no user "me"`},
		"folded":            {"- name: me\n  user:\n    client-certificate-data: >-\n      AAAA\n      BBBB\n    client-key-data: CCCC\n", "*", ""},
		"both":              {"- name: me\n  user:\n    client-certificate-data: AAAA\n    client-certificate: /old\n    client-key-data: CCCC\n    as: x\n", "*", ""},
		"neither":           {"- name: me\n  user: {}\n", "*", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := renew.Pointed([]byte(head+tt.users), "/f")
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if tt.want != "*" {
				if diff := cmp.Diff(head+tt.want, string(got)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				return
			}
			if text := string(got); strings.Contains(text, "-data") || strings.Count(text, "/f") != 2 || !strings.Contains(text, "# ours") || strings.Contains(text, "/old") {
				t.Errorf("it is now\n%s", text)
			}
		})
	}
}
