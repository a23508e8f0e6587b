//go:build linux

// Command bench measures kubecertd beside what it replaces, all in one run on one
// real control plane, so that the ratios mean something on any machine.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/kubecertd/kubecertd/test/lab/controlplane"
	"github.com/kubecertd/kubecertd/test/lab/progress"
	"github.com/kubecertd/kubecertd/test/story"
)

func main() {
	if len(os.Args) > 3 && os.Args[1] == "measure" {
		if err := measureHere(os.Args[2], os.Args[3:]); err != nil {
			fmt.Fprintf(os.Stderr, "bench measure: %v\n", err)
			os.Exit(1)
		}
		return
	}
	b := &bench{out: progress.New(os.Stderr)}
	deb := flag.String("deb", "", "package to measure (make bench builds it)")
	only := flag.String("only", "", "parts, separated by commas, of: "+strings.Join(parts(), ", ")+"; all when empty")
	write := flag.String("write", "", "file to write the page to, beside printing it")
	flag.IntVar(&b.repeat, "repeat", 5, "how often each way is gone")
	flag.DurationVar(&b.idle, "idle", 10*time.Minute, "how long the idle daemon is watched")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := b.run(ctx, *deb, *only, *write)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// labName keeps the benchmark's lab apart from a person's.
const labName = "bench"

// bench is one run of all that is measured.
type bench struct {
	repeat  int
	idle    time.Duration
	out     *progress.Printer
	only    []string // empty for all
	cluster *controlplane.Cluster
	node    *controlplane.Node
	shipped string // the configuration as the package brings it
}

// parts are what can be measured alone.
func parts() []string {
	list := []string{"idle", "detection", "look", "files"}
	for _, w := range ways {
		list = append(list, w.id)
	}
	return list
}

func (b *bench) wants(part string) bool { return len(b.only) == 0 || slices.Contains(b.only, part) }

func (b *bench) run(ctx context.Context, deb, only, write string) (err error) {
	if only != "" {
		b.only = strings.Split(only, ",")
	}
	for _, part := range b.only {
		if !slices.Contains(parts(), part) {
			return fmt.Errorf("-only %q: there is no such part, only %s", part, strings.Join(parts(), ", "))
		}
	}
	if b.repeat < 1 {
		return errors.New("-repeat: want at least 1")
	}
	packages, err := filepath.Glob(deb)
	if err != nil || len(packages) != 1 {
		return fmt.Errorf("-deb %q names %d files, want one package: run it as 'make bench'", deb, len(packages))
	}
	if b.cluster, err = controlplane.Up(ctx, controlplane.Options{Name: labName, Progress: os.Stderr}); err != nil {
		return err
	}
	defer func() {
		down := b.cluster.Down(context.WithoutCancel(ctx))
		if err == nil {
			err = down
		}
	}()
	b.node = b.cluster.Nodes[0]
	if err := b.node.InstallPackage(ctx, packages[0]); err != nil {
		return err
	}
	shipped, err := b.node.ReadFile(story.ConfigFile)
	if err != nil {
		return err
	}
	b.shipped = string(shipped)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := b.node.Copy(self, measurer, 0o755); err != nil {
		return err
	}

	p, err := b.measure(ctx)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := p.render(&text); err != nil {
		return err
	}
	if _, err := os.Stdout.Write(text.Bytes()); err != nil || write == "" {
		return err
	}
	return os.WriteFile(write, text.Bytes(), 0o644)
}

// measure measures everything that is wanted.
func (b *bench) measure(ctx context.Context) (p *page, err error) {
	if p, err = newPage(ctx, b); err != nil {
		return nil, err
	}
	if b.wants("idle") {
		if p.Idle, err = b.idleDaemon(ctx); err != nil {
			return nil, fmt.Errorf("idle daemon: %w", err)
		}
	}
	if b.wants("look") {
		if p.Looks, err = b.looks(ctx); err != nil {
			return nil, fmt.Errorf("looking once: %w", err)
		}
	}
	if b.wants("files") {
		if p.Files, err = b.manyFiles(ctx); err != nil {
			return nil, fmt.Errorf("many files: %w", err)
		}
	}
	results := map[string][]result{}
	// In turn, so that what changes on the machine meanwhile meets all of them.
	for i := range b.repeat {
		for _, w := range ways {
			if !b.wants(w.id) {
				continue
			}
			r, err := b.try(ctx, w)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", w.title, err)
			}
			b.out.Printf("%d of %d, %s: %s", i+1, b.repeat, w.id, r)
			results[w.id] = append(results[w.id], r)
		}
	}
	for _, w := range ways {
		if len(results[w.id]) > 0 {
			p.Ways = append(p.Ways, summarise(w, results[w.id]))
		}
	}
	if b.wants("detection") {
		if p.Detection, err = b.detection(ctx); err != nil {
			return nil, fmt.Errorf("detection: %w", err)
		}
	}
	p.Took = time.Since(p.Began)
	return p, nil
}
