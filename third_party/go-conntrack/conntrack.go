// Package conntrack stands in for github.com/mwitkow/go-conntrack, of which the
// configuration of Prometheus' HTTP client (prometheus/common/config) uses these four
// functions. kubecertd has no such client: it only reads web configurations with that
// package, through exporter-toolkit.
//
// The original imports golang.org/x/net/trace, whose pages are templates. Templates call
// methods by name, so that the linker has to keep every method of every type (Go:
// cmd/link/internal/ld/deadcode.go), and the program is five megabytes larger, of which the
// idle daemon has nearly three in memory. gRPC's traces are left out for the same reason
// (grpcnotrace, Makefile).
package conntrack

import (
	"context"
	"net"
)

// DialContext dials, as net.Dialer does.
type DialContext = func(ctx context.Context, network, address string) (net.Conn, error)

// Option is an option of NewDialContextFunc.
type Option func(*DialContext)

// NewDialContextFunc dials without counting and tracing.
func NewDialContextFunc(options ...Option) func(context.Context, string, string) (net.Conn, error) {
	dial := (&net.Dialer{}).DialContext
	for _, o := range options {
		o(&dial)
	}
	return dial
}

// DialWithName names what is counted: nothing.
func DialWithName(string) Option { return func(*DialContext) {} }

// DialWithTracing traces nothing.
func DialWithTracing() Option { return func(*DialContext) {} }

// DialWithDialContextFunc dials with another function.
func DialWithDialContextFunc(f func(context.Context, string, string) (net.Conn, error)) Option {
	return func(dial *DialContext) { *dial = f }
}
