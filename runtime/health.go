package runtime

import (
	"context"
	"crypto/tls"
	"time"
)

// Check is a health endpoint of a component.
type Check struct {
	Component string
	// URL is http or https; a server certificate is not verified.
	URL string
	// ClientCertificate returns a certificate for servers that refuse to answer
	// strangers (401, 403). It may be nil.
	ClientCertificate func() (*tls.Certificate, error)
}

// Healthy asks once.
func Healthy(ctx context.Context, check Check) error { return errSkeleton }

// Await asks until the answer is good or the context ends.
func Await(ctx context.Context, check Check, every time.Duration, progress func(string)) error {
	return errSkeleton
}
