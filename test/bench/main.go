//go:build linux

// Command bench measures kubecertd beside what it replaces, all in one run on one
// real control plane, so that the ratios mean something on any machine.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/kubecertd/kubecertd/test/lab/controlplane"
)

func main() {
	if len(os.Args) > 3 && os.Args[1] == "measure" {
		if err := measureHere(os.Args[2], os.Args[3:]); err != nil {
			fmt.Fprintf(os.Stderr, "bench measure: %v\n", err)
			os.Exit(1)
		}
		return
	}
	deb := flag.String("deb", "", "package to measure (make bench builds it)")
	repeat := flag.Int("repeat", 3, "how often each outage is measured")
	idle := flag.Duration("idle", time.Minute, "how long the idle daemon is watched")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := bench(ctx, *deb, *repeat, *idle)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// labName keeps the benchmark's lab apart from a person's.
const labName = "bench"

func bench(ctx context.Context, deb string, repeat int, idle time.Duration) (err error) {
	packages, err := filepath.Glob(deb)
	if err != nil || len(packages) != 1 {
		return fmt.Errorf("-deb %q names %d files, want one package: run it as 'make bench'", deb, len(packages))
	}
	cluster, err := controlplane.Up(ctx, controlplane.Options{Name: labName, Progress: os.Stderr})
	if err != nil {
		return err
	}
	defer func() {
		down := cluster.Down(context.WithoutCancel(ctx))
		if err == nil {
			err = down
		}
	}()
	node := cluster.Nodes[0]
	if err := node.InstallPackage(ctx, packages[0]); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := node.Copy(self, "/root/bench", 0o755); err != nil {
		return err
	}

	fmt.Printf("Kubernetes %s, one node\n", cluster.Kubernetes())
	for _, part := range []func() error{
		func() error { return daemon(ctx, node, idle) },
		func() error { return reading(ctx, node) },
		func() error { return outages(ctx, node, repeat) },
	} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

// reading compares what it costs to look at the certificates once.
func reading(ctx context.Context, node *controlplane.Node) error {
	fmt.Printf("\n%-44s %10s %12s\n", "looking once", "median", "peak memory")
	for _, command := range [][]string{
		{"kubecertd", "status", "--disk"},
		{"kubecertd", "status"},
		{"kubeadm", "certs", "check-expiration", "-o", "json"},
	} {
		result, err := node.Run(ctx, append([]string{"/root/bench", "measure", "11"}, command...)...)
		if err != nil {
			return err
		}
		var m measurement
		if err := json.Unmarshal([]byte(result.Stdout), &m); err != nil {
			return fmt.Errorf("measurement of %s: %w", command, err)
		}
		fmt.Printf("%-44s %7d ms %9.1f MiB\n", fmt.Sprint(command), m.Median.Milliseconds(), float64(m.PeakKiB)/1024)
	}
	return nil
}
