//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/lab/machine"
	"github.com/kubecertd/kubecertd/test/story"
)

// detection measures how long after the last write of a `kubeadm certs renew all` by hand
// the daemon has decided what to restart. The times are those of the files and of the
// journal: nothing is polled.
func (b *bench) detection(ctx context.Context) ([]time.Duration, error) {
	if err := b.node.WriteFile(story.ConfigFile, []byte("# of the benchmark\n"+story.OwnClock+"restart: {policy: auto}\n"), 0o644); err != nil {
		return nil, err
	}
	if _, err := b.node.Run(ctx, "systemctl", "restart", "kubecertd"); err != nil {
		return nil, err
	}
	var all []time.Duration
	for i := range b.repeat {
		took, err := b.detect(ctx)
		if err != nil {
			return nil, err
		}
		b.out.Printf("%d of %d, detection: %s", i+1, b.repeat, took)
		all = append(all, took)
	}
	_, err := b.node.Run(ctx, "systemctl", "stop", "kubecertd")
	return all, err
}

func (b *bench) detect(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, trialLimit)
	defer cancel()
	if err := b.calmKubelet(ctx); err != nil {
		return 0, err
	}
	began := time.Now()
	if _, err := b.node.Run(ctx, "kubeadm", "certs", "renew", "all"); err != nil {
		return 0, err
	}
	written, err := b.lastWrite()
	if err != nil {
		return 0, err
	}
	var decided time.Time
	for {
		entries, err := b.node.Journal(ctx, machine.Query{Unit: "kubecertd", Since: began, Match: []string{
			"MESSAGE_ID=" + renew.EventPlanned, "MESSAGE_ID=" + renew.EventRunDone, "MESSAGE_ID=" + renew.EventRunFailed}})
		if err != nil {
			return 0, err
		}
		for _, e := range entries {
			switch {
			case e["MESSAGE_ID"] == renew.EventRunFailed:
				return 0, errors.New(e.Message())
			case e["MESSAGE_ID"] == renew.EventPlanned && decided.IsZero() && e.Time().After(written):
				decided = e.Time()
			case e["MESSAGE_ID"] == renew.EventRunDone && !decided.IsZero():
				return decided.Sub(written), nil
			}
		}
		if err := pause(ctx, time.Second); err != nil {
			return 0, fmt.Errorf("the new files were not acted on: %w", err)
		}
	}
}

// lastWrite is when the newest certificate file was written.
func (b *bench) lastWrite() (time.Time, error) {
	var newest time.Time
	err := filepath.WalkDir(filepath.Join(b.node.Root(), "etc/kubernetes"), func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil && info.ModTime().After(newest) {
			newest = info.ModTime()
		}
		return err
	})
	return newest, err
}
