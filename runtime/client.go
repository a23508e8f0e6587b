package runtime

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	// callTimeout bounds every call to the runtime but StopContainer, which has
	// its grace on top.
	callTimeout = 10 * time.Second
	// maxMessage is the kubelet's own limit for CRI messages (cri-client:
	// remote/utils.go); a list of many containers exceeds gRPC's 4 MiB.
	maxMessage = 16 << 20
	// reconnect is the longest wait before a lost runtime is dialled again. gRPC's
	// own two minutes would outlast every deadline of a restart.
	reconnect = time.Second
)

// Client talks to one container runtime. It may be used by several goroutines.
type Client struct {
	endpoint endpoint
	conn     *grpc.ClientConn
	cri      cri.RuntimeServiceClient

	mu      sync.Mutex
	known   bool // whether the runtime has said what it is
	native  *native
	stopped map[string]*stop // by container id
}

// Dial makes a client for an endpoint such as unix:///run/containerd/containerd.sock.
// Nothing is connected before the first call, so that an error can only mean an
// endpoint that cannot be one.
func Dial(address string) (*Client, error) {
	e, err := parseEndpoint(address)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("unix://"+e.path,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnect},
			MinConnectTimeout: callTimeout,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
	)
	if err != nil {
		return nil, fmt.Errorf("container runtime endpoint %s: %w", address, err)
	}
	return &Client{endpoint: e, conn: conn, cri: cri.NewRuntimeServiceClient(conn), stopped: map[string]*stop{}}, nil
}

// Close ends every connection. Calls that are under way fail.
func (c *Client) Close() error { return c.conn.Close() }

// Version returns the name and the version of the runtime, such as "containerd"
// and "v2.2.1".
func (c *Client) Version(ctx context.Context) (name, version string, err error) {
	err = c.call(ctx, "tell its version", func(ctx context.Context) error {
		v, err := c.cri.Version(ctx, &cri.VersionRequest{})
		name, version = v.GetRuntimeName(), v.GetRuntimeVersion()
		return err
	})
	return name, version, err
}

// call makes one call under the common deadline. what completes "was asked to …".
func (c *Client) call(ctx context.Context, what string, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	began := time.Now()
	if err := f(ctx); err != nil {
		return c.endpoint.explain(what, time.Since(began), err)
	}
	return nil
}
