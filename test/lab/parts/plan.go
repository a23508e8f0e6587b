//go:build linux

package parts

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// recipeEdition goes into every recipe: raise it to have all parts made anew.
const recipeEdition = "1"

//go:embed pause/main.go
var pauseSource string

// debianPackages are what a node needs beside what is built here: the
// processes of any Debian server, the runtime's runc, and what kubeadm and
// the kubelet call.
var debianPackages = []string{
	"ca-certificates", "conntrack", "curl", "dbus", "ethtool", "iproute2", "iptables", "kmod",
	"less", "mount", "openssl", "procps", "runc", "socat", "systemd", "systemd-sysv", "util-linux",
}

// binary is one command of a goModule and its place in a node or an image.
type binary struct {
	name     string
	pkg      string
	place    string // folder
	expected time.Duration
}

var kubernetesBinaries = []binary{
	{"kubeadm", "k8s.io/kubernetes/cmd/kubeadm", "usr/bin", 2 * time.Minute},
	{"kubelet", "k8s.io/kubernetes/cmd/kubelet", "usr/bin", 150 * time.Second},
	{"kubectl", "k8s.io/kubernetes/cmd/kubectl", "usr/bin", 30 * time.Second},
	{"kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", "usr/local/bin", 100 * time.Second},
	{"kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager", "usr/local/bin", 50 * time.Second},
	{"kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler", "usr/local/bin", 10 * time.Second},
}

// imageBinaries are the components that run as images rather than in the node.
var imageBinaries = []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd", "pause"}

func (c *Cache) plan(version string) []part {
	plan := []part{debian()}
	for _, b := range kubernetesBinaries {
		plan = append(plan, c.kubernetes(version, b))
	}
	plan = append(plan, c.etcd(), c.containerd(), pause())
	return append(plan, c.store(version))
}

func (c *Cache) kubernetes(version string, b binary) part {
	minor := strings.Split(strings.TrimPrefix(version, "v"), ".")[1]
	// Without these kubeadm believes that it is v0.0.0 and refuses the cluster.
	const stamp = "-X k8s.io/component-base/version."
	ldflags := fmt.Sprintf("-s -w %[1]sgitVersion=%[2]s %[1]sgitMajor=1 %[1]sgitMinor=%[3]s %[1]sgitTreeState=clean",
		stamp, version, minor)
	build := goBuild{
		module:   goModule{path: "k8s.io/kubernetes", version: version, staged: true},
		all:      packagesOf(kubernetesBinaries),
		binaries: []binary{b},
		ldflags:  ldflags,
	}
	return build.part(c, b.name+" "+version, b.expected)
}

func (c *Cache) etcd() part {
	b := binary{name: "etcd", pkg: "go.etcd.io/etcd/server/v3", place: "usr/local/bin"}
	build := goBuild{
		module:   goModule{path: "go.etcd.io/etcd/server/v3", version: etcdVersion},
		all:      []string{b.pkg},
		binaries: []binary{b},
		ldflags:  "-s -w",
	}
	return build.part(c, "etcd "+etcdVersion, 30*time.Second)
}

func (c *Cache) containerd() part {
	const module = "github.com/containerd/containerd/v2"
	var binaries []binary
	for _, name := range []string{"containerd", "containerd-shim-runc-v2", "ctr"} {
		binaries = append(binaries, binary{name: name, pkg: module + "/cmd/" + name, place: "usr/local/bin"})
	}
	build := goBuild{
		module:   goModule{path: module, version: containerdVersion},
		all:      packagesOf(binaries),
		binaries: binaries,
		tags:     "no_btrfs,no_devmapper,no_zfs",
		ldflags:  fmt.Sprintf("-s -w -X %s/version.Version=%s", module, strings.TrimPrefix(containerdVersion, "v")),
	}
	return build.part(c, "containerd "+containerdVersion, time.Minute)
}

func packagesOf(binaries []binary) []string {
	var packages []string
	for _, b := range binaries {
		packages = append(packages, b.pkg)
	}
	return packages
}

// goBuild builds commands of one module.
type goBuild struct {
	module   goModule
	all      []string // packages that the module is made for
	binaries []binary // those to build now
	tags     string
	ldflags  string
}

func (b goBuild) part(c *Cache, name string, expected time.Duration) part {
	return part{
		name:     name,
		recipe:   strings.Join([]string{recipeEdition, fmt.Sprintf("%+v", b), strings.Join(goEnv, " ")}, "\n"),
		expected: expected,
		build: func(ctx context.Context, dir string, log io.Writer) error {
			return b.build(ctx, c, dir, log)
		},
	}
}

func (b goBuild) build(ctx context.Context, c *Cache, dir string, log io.Writer) error {
	workshop := filepath.Join(c.dir, "modules", strings.ReplaceAll(b.module.path, "/", "-")+"-"+b.module.version)
	if err := b.module.prepare(ctx, workshop, b.all, log); err != nil {
		return err
	}
	for _, binary := range b.binaries {
		argv := []string{"go", "build", "-trimpath", "-ldflags", b.ldflags}
		if b.tags != "" {
			argv = append(argv, "-tags", b.tags)
		}
		argv = append(argv, "-o", filepath.Join(dir, binary.place, binary.name), binary.pkg)
		if err := run(ctx, log, command{dir: workshop, env: goEnv, argv: argv}); err != nil {
			return err
		}
	}
	return nil
}

func pause() part {
	return part{
		name:     "pause",
		recipe:   recipeEdition + pauseSource,
		expected: 5 * time.Second,
		build: func(ctx context.Context, dir string, log io.Writer) error {
			source := filepath.Join(dir, "main.go")
			if err := os.WriteFile(source, []byte(pauseSource), 0o644); err != nil {
				return fmt.Errorf("write the source of pause: %w", err)
			}
			argv := []string{"go", "build", "-trimpath", "-ldflags", "-s -w", "-o", "usr/local/bin/pause", "main.go"}
			if err := run(ctx, log, command{dir: dir, env: goEnv, argv: argv}); err != nil {
				return err
			}
			return os.Remove(source)
		},
	}
}

func debian() part {
	packages := strings.Join(debianPackages, ",")
	return part{
		name:     "debian " + debianSuite,
		recipe:   strings.Join([]string{recipeEdition, debianSuite, packages}, "\n"),
		expected: time.Minute,
		build: func(ctx context.Context, dir string, log io.Writer) error {
			return run(ctx, log, command{sealed: true, argv: []string{
				"mmdebstrap", "--mode=root", "--variant=minbase", "--include=" + packages, debianSuite, dir,
			}})
		},
	}
}
