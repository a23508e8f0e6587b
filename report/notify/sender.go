package notify

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/renew"
)

const (
	// most is how many events wait for one target. What comes then is left out, and that
	// is said.
	most = 64
	// attempts and age are how often and how long one event is tried.
	attempts = 10
	age      = time.Hour
	// grace is how long what is not sent yet has at the end.
	grace = 3 * time.Second
	// longest is the longest that is waited between two attempts.
	longest = 5 * time.Minute
)

// backoff is how long it waits before an attempt is made again: a second, and each time
// twice as long.
func backoff(attempt int) time.Duration {
	return min(time.Second<<min(attempt, 20), longest)
}

// sender sends to one target, one event after the other, in a goroutine of its own.
type sender struct {
	target Target
	log    *zap.Logger
	wait   func(attempt int) time.Duration
	queue  chan Event
	full   bool // so that it is said once

	closing chan struct{} // closed at the end: nothing is tried again
	cancel  context.CancelFunc
	ended   chan struct{}
}

// start begins to send, until finish.
func (n *Notifier) start(t Target) *sender {
	ctx, cancel := context.WithCancel(context.Background())
	s := &sender{target: t, log: n.log, wait: n.wait, queue: make(chan Event, most),
		closing: make(chan struct{}), cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		for e := range s.queue {
			if err := s.deliver(ctx, e); err != nil {
				s.log.Error("a notification was given up", zap.String("message_id", renew.EventNotice), zap.Error(err))
			}
		}
	}()
	return s
}

// finish ends them all, and waits for it.
func finish(senders []*sender) {
	for _, s := range senders {
		close(s.closing)
		close(s.queue)
	}
	var all sync.WaitGroup
	for _, s := range senders {
		all.Go(func() {
			patience := time.NewTimer(grace)
			defer patience.Stop()
			select {
			case <-s.ended:
			case <-patience.C:
			}
			s.cancel()
			<-s.ended
		})
	}
	all.Wait()
}

// send has an event sent, and waits for nobody.
func (s *sender) send(e Event) {
	select {
	case s.queue <- e:
		s.full = false
	default:
		if !s.full {
			s.full = true
			s.log.Error("a notification was left out", zap.String("message_id", renew.EventNotice),
				zap.Error(fmt.Errorf("notify: %s: %d wait for it already: kubecertd notify test %s says what is wrong", s.target.Name, most, s.target.Name)))
		}
	}
}

// deliver tries until it is done, or is no use.
func (s *sender) deliver(ctx context.Context, e Event) error {
	began := time.Now()
	for attempt := 0; ; attempt++ {
		_, err := s.target.attempt(ctx, e)
		if err == nil {
			return nil
		}
		err = fmt.Errorf("notify: %s: %s: %w: kubecertd notify test %s tries it", s.target.Name, e.Event, err, s.target.Name)
		wait := s.wait(attempt)
		var refused *refusal
		if errors.As(err, &refused) {
			if refused.final {
				return err
			}
			wait = max(wait, min(refused.after, longest))
		}
		if attempt+1 == attempts || time.Since(began)+wait > age {
			return err
		}
		again := time.NewTimer(wait)
		select {
		case <-again.C:
		case <-s.closing:
			again.Stop()
			return err
		}
	}
}
