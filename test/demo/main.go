//go:build linux

// Command demo shows a person the main job of kubecertd on a real one-node control
// plane: what is due, what happens step by step, and what it cost.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/test/lab/controlplane"
)

func main() {
	deb := flag.String("deb", "", "package to install (make demo builds it)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := demo(ctx, *deb)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		os.Exit(1)
	}
}

func demo(ctx context.Context, deb string) error {
	packages, err := filepath.Glob(deb)
	if err != nil || len(packages) != 1 {
		return fmt.Errorf("-deb %q names %d files, want one package: run it as 'make demo'", deb, len(packages))
	}

	title("A kubeadm control plane")
	cluster, err := controlplane.Up(ctx, controlplane.Options{Progress: os.Stderr})
	if err != nil {
		return err
	}
	node := cluster.Nodes[0]
	say("%s runs systemd, containerd, kubelet, etcd and the control plane of Kubernetes %s.", node.Name(), cluster.Kubernetes())
	say("Its certificates are a year old: they are replaced by ones that its own CA signed 355 days ago.")
	now := time.Now()
	var leaves []string
	for _, name := range controlplane.CertificateNames() {
		if name != "kubelet-client" { // the kubelet renews its own
			leaves = append(leaves, name)
		}
	}
	if err := node.MintCertificates(now.Add(-355*24*time.Hour), now.Add(10*24*time.Hour), leaves...); err != nil {
		return err
	}

	title("Install the package")
	inside := "/root/" + filepath.Base(packages[0])
	if err := node.Copy(packages[0], inside, 0o644); err != nil {
		return err
	}
	if err := show(ctx, node, "dpkg", "--install", inside); err != nil {
		return err
	}

	// The node has the clock of this machine, which may be kept by nobody.
	if err := node.WriteFile("/etc/kubecertd/kubecertd.yaml", []byte("clock: {requireSync: false}\n"), 0o644); err != nil {
		return err
	}

	title("Before: what is due")
	if err := show(ctx, node, "kubecertd", "status"); err != nil {
		return err
	}
	if err := show(ctx, node, "kubecertd", "plan"); err != nil {
		return err
	}

	title("Start the daemon, and watch its journal")
	poll := node.PollAPI(ctx, 10*time.Millisecond)
	began := time.Now()
	err = follow(ctx, node)
	if err == nil {
		// The last look after the run says that nothing is left to do.
		say("\nThe run took %s.", time.Since(began).Round(100*time.Millisecond))
	}
	available := poll.Stop()
	if err != nil {
		return err
	}

	title("After: new on disk, and loaded")
	for _, command := range [][]string{{"kubecertd", "status"}, {"kubecertd", "plan"}, {"kubecertd", "history"},
		{"systemctl", "status", "--no-pager", "--lines=0", "kubecertd"}} {
		if err := show(ctx, node, command...); err != nil {
			return err
		}
	}
	say("The API, asked every 10 ms on a new connection: %s.", available)
	say("The documented way (manifests out for 20 s, and back) takes it away for about 34 s; 'make bench' measures both.")

	title("It is yours now")
	say("Look inside:  go run ./test/lab sh %s            (then: kubecertd status -o wide, journalctl -u kubecertd)", node.Name())
	say("Remove it:    make lab-down")
	return nil
}

// follow starts the daemon and prints its journal until the run has ended.
func follow(ctx context.Context, node *controlplane.Node) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	journal, err := node.Command(ctx, "journalctl", "--unit=kubecertd", "--follow", "--lines=all", "--output=json", "--output-fields=MESSAGE,MESSAGE_ID")
	if err != nil {
		return err
	}
	lines, err := journal.StdoutPipe()
	if err != nil {
		return err
	}
	if err := journal.Start(); err != nil {
		return err
	}
	// Ending it is how following ends.
	defer func() { cancel(); _ = journal.Wait() }()
	if err := show(ctx, node, "systemctl", "enable", "--now", "kubecertd"); err != nil {
		return err
	}
	began := time.Now()
	for scanner := bufio.NewScanner(lines); scanner.Scan(); {
		entry, err := parse(scanner.Bytes())
		if err != nil {
			return err
		}
		fmt.Printf("  %6.1fs  %s\n", time.Since(began).Seconds(), entry.message)
		switch entry.id {
		case renew.EventRunDone:
			return nil
		case renew.EventRunFailed:
			return errors.New("the run failed; look at the journal: go run ./test/lab sh cp1 journalctl -u kubecertd")
		}
	}
	return errors.New("the journal ended before the run did")
}

// show runs a command in the node as a person would see it.
func show(ctx context.Context, node *controlplane.Node, argv ...string) error {
	fmt.Printf("\n%s# %s\n", node.Name(), strings.Join(argv, " "))
	cmd, err := node.Command(ctx, argv...)
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	err = cmd.Run()
	// plan says by exit code 2 that there is something to do.
	if argv[0] == "kubecertd" && cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == 2 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	return nil
}

func title(text string) { fmt.Printf("\n== %s\n\n", text) }

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }
