package main

import (
	"context"
	"strings"
	"time"

	"github.com/kubecertd/kubecertd/cluster"
	"github.com/kubecertd/kubecertd/configs"
	"github.com/kubecertd/kubecertd/renew"
)

// announced says what the cluster is told of this node.
func announced(c configs.Config, n *node) renew.AnnounceOptions {
	return renew.AnnounceOptions{
		Cluster:   announcements{asking{n.Locate, c.Cluster.Kubeconfig, n.State}},
		Version:   version,
		Condition: c.Node.Condition, Events: c.Node.Events,
	}
}

// announcements are told with what each node may do on its own.
type announcements struct{ asking }

func (a announcements) node() cluster.API { return a.api(adminConf, superAdminConf, kubeletConf) }

func (a announcements) Said(ctx context.Context, node string) (renew.Said, error) {
	n, err := a.node().NodeSays(ctx, node)
	if err != nil {
		return renew.Said{}, err
	}
	said := renew.Said{UID: n.UID, Summary: n.Certificates}
	if c := n.Condition; c != nil {
		said.Condition = renew.Condition{Status: c.Status, Reason: c.Reason, Message: c.Message}
		said.At, said.Since = c.Beat, c.Turned
	}
	return said, nil
}

func (a announcements) Say(ctx context.Context, node string, c renew.Condition, at, since time.Time, summary string) error {
	return a.node().Say(ctx, node, cluster.Condition{Status: c.Status, Reason: c.Reason, Message: c.Message, Beat: at, Turned: since}, summary)
}

func (a announcements) MakeEvent(ctx context.Context, node, uid string, e renew.NodeEvent) error {
	return a.node().MakeEvent(ctx, cluster.Event{Name: eventName(node, e), Node: node, UID: uid, At: e.At, Warning: e.Warning,
		Reason: e.Reason, Action: e.Action, Note: e.Note})
}

func (a announcements) RepeatEvent(ctx context.Context, node string, e renew.NodeEvent, count int) (bool, error) {
	return a.node().RepeatEvent(ctx, eventName(node, e), count, e.At)
}

// eventName names an event as those of others are named: after the node, and when. Names
// of objects are lower case.
func eventName(node string, e renew.NodeEvent) string {
	return node + "." + strings.ToLower(e.ID)
}
