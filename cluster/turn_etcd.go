package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// turnKey lies beside the registry of the API server, which begins with /registry.
//
// It is a plain key without an etcd lease: that would end by itself while a node that
// was cut off in the middle of its run is still half restarted.
const turnKey = "/kubecertd/turn"

// keySeen is the key as it was read. A key that was never written has revision 0.
type keySeen struct {
	record   TurnRecord
	revision int64
	nonsense string
}

func (e Etcd) readTurn(ctx context.Context) (keySeen, error) {
	var seen keySeen
	err := e.ask(ctx, func(ctx context.Context, client *clientv3.Client) error {
		answer, err := client.Get(ctx, turnKey) // linearizable: it takes a quorum
		if err != nil {
			return err
		}
		if len(answer.Kvs) == 0 {
			return nil
		}
		seen.revision = answer.Kvs[0].ModRevision
		if seen.record, err = parseTurn(answer.Kvs[0].Value); err != nil {
			seen.nonsense = fmt.Sprintf("etcd's key %s does not hold what kubecertd writes (%v)", turnKey, err)
		}
		return nil
	})
	if err != nil {
		return keySeen{}, fmt.Errorf("whose turn it is cannot be read from etcd's key %s: %w", turnKey, err)
	}
	return seen, nil
}

func (e Etcd) writeTurn(ctx context.Context, seen keySeen, next TurnRecord) error {
	content, err := json.Marshal(next)
	if err != nil {
		return err
	}
	err = e.ask(ctx, func(ctx context.Context, client *clientv3.Client) error {
		answer, err := client.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(turnKey), "=", seen.revision)).
			Then(clientv3.OpPut(turnKey, string(content))).Commit()
		if err == nil && !answer.Succeeded {
			err = ErrTurnChanged
		}
		return err
	})
	if err != nil && !errors.Is(err, ErrTurnChanged) {
		return fmt.Errorf("whose turn it is cannot be written to etcd's key %s: %w", turnKey, err)
	}
	return err
}

// ask asks the member on this node something that takes a quorum. A member that answers
// for itself and not that has none.
func (e Etcd) ask(ctx context.Context, question func(context.Context, *clientv3.Client) error) error {
	client, err := e.dial(e.Endpoint)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	bounded, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	err = question(bounded, client)
	if err == nil || errors.Is(err, ErrTurnChanged) {
		return err
	}
	return e.whether(ctx, client, err)
}

// whether adds to an error that this member answers and has no leader, if that is so.
func (e Etcd) whether(ctx context.Context, client *clientv3.Client, err error) error {
	if errors.Is(err, rpctypes.ErrNoLeader) {
		return fmt.Errorf("%w: %w", ErrNoQuorum, err)
	}
	// Its own state costs it nothing: one that does not answer at once is not asked for.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if status, asked := client.Status(ctx, e.Endpoint); asked == nil && status.Leader == 0 {
		return fmt.Errorf("%w: etcd on %s has no leader: %w", ErrNoQuorum, e.Endpoint, err)
	}
	return err
}
