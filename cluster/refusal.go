package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
)

// RefusedError says that a credential is no good: a server was reached and refused
// it, or it cannot even be shown to one.
type RefusedError struct {
	// Server is who refused, for people: "the API server at 192.0.2.1:6443". Empty
	// when the files are of no use, so that nobody was asked.
	Server string
	Err    error
}

func (e *RefusedError) Error() string {
	if e.Server == "" {
		return "the credential cannot be used: " + e.Err.Error()
	}
	return e.Server + " refused the credential: " + e.Err.Error()
}

func (e *RefusedError) Unwrap() error { return e.Err }

// accusations are the alerts with which a server turns down what the client proves
// itself with (RFC 8446, section 6.2). Others, such as handshake_failure, leave open
// whose fault it is.
var accusations = func() []string {
	var texts []string
	for _, code := range []tls.AlertError{
		42,  // bad_certificate
		43,  // unsupported_certificate
		44,  // certificate_revoked
		45,  // certificate_expired
		46,  // certificate_unknown
		48,  // unknown_ca
		49,  // access_denied
		51,  // decrypt_error: the signature with our key
		116, // certificate_required
	} {
		texts = append(texts, code.Error())
	}
	return texts
}()

// alert is an alert of these, if err has one that came from the server. Errors of
// our own side, such as a server's certificate that does not verify, carry alerts
// too: those that we sent.
func alert(err error) error {
	var remote *net.OpError
	// crypto/tls marks them so; the alert's own type is not exported.
	if errors.As(err, &remote) && remote.Op == "remote error" && slices.Contains(accusations, remote.Err.Error()) {
		return remote
	}
	return nil
}

// witness remembers the alert that ended a connection.
//
// With TLS 1.3 the client's handshake is over before the server has seen the
// client's certificate. The refusal then meets a request under way, and whether a
// client reports the alert that it read or the write that broke is a matter of luck.
type witness struct {
	mu   sync.Mutex
	seen error
}

func (w *witness) note(err error) {
	if found := alert(err); found != nil {
		w.mu.Lock()
		w.seen = found
		w.mu.Unlock()
	}
}

func (w *witness) alert() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen
}

// lastWords bounds the wait for the reason when a write broke. The reason was sent
// before the connection was closed, so that it is already here.
const lastWords = 200 * time.Millisecond

// watched is a TLS connection in front of a witness.
type watched struct {
	net.Conn
	witness *witness
}

func (c *watched) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.witness.note(err)
	return n, err
}

func (c *watched) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil {
		_ = c.SetReadDeadline(time.Now().Add(lastWords))
		// crypto/tls keeps the error that a reader beside us may have got.
		for _, failed := c.Read(make([]byte, 512)); failed == nil; {
			_, failed = c.Read(make([]byte, 512))
		}
	}
	return n, err
}

// dialTLS is for http.Transport.
func (w *witness) dialTLS(config *tls.Config) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, network, address)
		if err != nil {
			w.note(err)
			return nil, err
		}
		return &watched{conn, w}, nil
	}
}

// witnessed are credentials for gRPC, which keeps of a failed connection only a text.
type witnessed struct {
	credentials.TransportCredentials
	witness *witness
}

func (c witnessed) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		c.witness.note(err)
		return nil, nil, err
	}
	return &watched{conn, c.witness}, info, nil
}

func (c witnessed) Clone() credentials.TransportCredentials {
	return witnessed{c.TransportCredentials.Clone(), c.witness}
}
