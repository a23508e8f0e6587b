package renew

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/pki"
)

// credentials tries client certificates against the servers that run now.
type credentials interface {
	// Try uses a certificate of this node where its holder would. refused says that the
	// server was there and turned it away, and err why. An error without it says that
	// it could not be tried. What no server asks for is accepted.
	Try(ctx context.Context, c pki.Certificate) (refused bool, err error)
}

// preflight tries each renewed credential before anything is stopped. One that is
// refused is put back; a server that cannot be reached says nothing about it. stop is
// for what must end the run: a credential that could not be put back.
func (r *run) preflight(ctx context.Context) (refused, stop error) {
	if len(r.renewed) == 0 || r.Credentials == nil {
		return nil, nil
	}
	if err := r.begin("preflight", strings.Join(r.renewed, ", ")); err != nil {
		return nil, err
	}
	r.alive()
	layout, _ := r.Locate()
	now := Observation{Certificates: layout.Read(r.Now())}
	type result struct {
		refused bool
		err     error
	}
	results := make([]result, len(r.renewed))
	var wg sync.WaitGroup
	for i, name := range r.renewed {
		wg.Go(func() {
			c, _ := now.Certificate(name)
			results[i].refused, results[i].err = r.Credentials.Try(ctx, c)
		})
	}
	wg.Wait()
	var turnedAway, untried, good []string
	var failed []error
	for i, name := range r.renewed {
		switch result := results[i]; {
		case result.refused:
			turnedAway = append(turnedAway, name)
			failed = append(failed, fmt.Errorf("the new %s is refused by the server it is for: %w", name, result.err))
		case result.err != nil:
			untried = append(untried, fmt.Sprintf("%s (%s)", name, result.err))
			good = append(good, name)
		default:
			good = append(good, name)
		}
	}
	refused = errors.Join(failed...)
	r.renewed = good
	if len(untried) > 0 {
		r.log.Warn("not every new credential could be tried", event(EventPreflight), zap.Strings("untried", untried))
	}
	recording := r.write(Entry{Step: "preflight", Event: "end", Reason: untriedReason(untried), Error: text(refused)})
	for i, name := range turnedAway {
		r.log.Error("a new credential is refused", event(EventPreflight), zap.String("certificate", name), zap.Error(failed[i]))
		// It counts as a renewal that failed.
		recording = errors.Join(recording, r.end("renew "+name, "", "", failed[i]))
		if err := r.putBack(layout, name, "refused by the server it is for", false); err != nil {
			return refused, fmt.Errorf("nothing is restarted: %w", err)
		}
	}
	return refused, recording
}

func untriedReason(untried []string) string {
	if len(untried) == 0 {
		return "all accepted"
	}
	return "could not be tried: " + strings.Join(untried, "; ")
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
