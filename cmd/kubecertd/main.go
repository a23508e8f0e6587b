// Command kubecertd keeps the certificates of a kubeadm node alive: it renews them
// with kubeadm, restarts what holds the old ones, and proves that the new ones are
// loaded. This package wires the others together and decides nothing.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	goruntime "runtime"
	"runtime/debug"
	"syscall"

	"google.golang.org/grpc/grpclog"

	"github.com/kubecertd/kubecertd/renew"
)

// version and built, the date of the source in seconds since 1970, are set by the linker
// (Makefile).
var (
	version = "0.0.0-dev"
	built   = ""
)

func main() {
	// A core dump would hold private keys, of this process or of the kubeadm that it
	// runs. The unit says the same; a shell does not. Refused, there is nothing to do.
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})

	// A look at thousands of watched files leaves more garbage than the program needs
	// memory. $GOMEMLIMIT sets another limit.
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(memory)
	}

	// gRPC writes every failed dial to stderr by itself; the errors are returned.
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))

	// It works for a few milliseconds an hour, and mostly waits then for what it has asked:
	// each processor more would cost memory, and threads that wake one another. Set, it is
	// also not asked again every 30 seconds. $GOMAXPROCS cannot raise it.
	goruntime.GOMAXPROCS(min(processors, goruntime.GOMAXPROCS(0)))

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	var done exitStatus
	if err != nil && !errors.As(err, &done) {
		fmt.Fprintf(os.Stderr, "kubecertd: %v\n", err)
	}
	os.Exit(exitCode(err))
}

// processors is how many run Go code at once.
const processors = 1

// memory is what Go's garbage collector tries to stay below, in bytes.
const memory = 32 << 20

// The exit codes, as `kubecertd --help` documents them.
const (
	exitFailed  = 1
	exitWork    = 2 // plan: there is something to do
	exitUsage   = 3 // the command line or the configuration is wrong
	exitBlocked = 4 // a gate is closed, or another run is under way: nothing was touched
)

// exitStatus is an exit code that needs no message.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// usageError is a wrong command line or configuration.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func exitCode(err error) int {
	var status exitStatus
	var usage usageError
	var blocked *renew.BlockedError
	var locked *renew.LockedError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &blocked), errors.As(err, &locked):
		return exitBlocked
	default:
		return exitFailed
	}
}
