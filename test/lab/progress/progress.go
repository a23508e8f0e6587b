// Package progress tells a person what a long piece of work is doing, so that
// eight minutes of building never look like a hang.
package progress

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// Heartbeat is the longest silence on an output that is not a terminal.
const Heartbeat = 15 * time.Second

// Printer writes one line when a step starts to take long and one when it
// ends. A terminal sees the current step count its seconds in place; anything
// else sees a line every Heartbeat. It is safe for concurrent use, and a nil
// Printer is silent.
type Printer struct {
	mu       sync.Mutex
	w        io.Writer
	start    time.Time
	terminal bool
}

// New returns a Printer that writes to w. A nil w is silent.
func New(w io.Writer) *Printer {
	if w == nil {
		return nil
	}
	p := &Printer{w: w, start: time.Now()}
	if f, ok := w.(*os.File); ok {
		p.terminal = term.IsTerminal(int(f.Fd()))
	}
	return p
}

// Printf writes one line with the time since the Printer was made.
func (p *Printer) Printf(format string, args ...any) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line(fmt.Sprintf(format, args...))
}

// Do runs work and tells how long it has taken. The expected duration is
// shown when it is not zero. The error is returned as it is.
func (p *Printer) Do(title string, expected time.Duration, work func() error) error {
	if p == nil {
		return work()
	}
	began := time.Now()
	about := ""
	if expected > 0 {
		about = fmt.Sprintf(", about %s", expected)
	}
	if !p.terminal {
		p.Printf("%s …%s", title, about)
	}

	stop := make(chan struct{})
	var beating sync.WaitGroup
	beating.Add(1)
	go func() {
		defer beating.Done()
		p.beat(stop, title, about, began)
	}()
	err := work()
	close(stop)
	beating.Wait()

	outcome := "done"
	if err != nil {
		outcome = "failed"
	}
	p.Printf("%s: %s in %s", title, outcome, elapsed(began))
	return err
}

func (p *Printer) beat(stop <-chan struct{}, title, about string, began time.Time) {
	interval := Heartbeat
	if p.terminal {
		interval = time.Second
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		text := fmt.Sprintf("%s … %s%s", title, elapsed(began), about)
		p.mu.Lock()
		if p.terminal {
			_, _ = fmt.Fprintf(p.w, "\r\033[K%s %s", p.stamp(), text)
		} else {
			p.line(text)
		}
		p.mu.Unlock()
	}
}

// line needs the lock held.
func (p *Printer) line(text string) {
	overwrite := ""
	if p.terminal {
		overwrite = "\r\033[K"
	}
	_, _ = fmt.Fprintf(p.w, "%s%s %s\n", overwrite, p.stamp(), text)
}

func (p *Printer) stamp() string {
	return fmt.Sprintf("[%4ds]", int(time.Since(p.start).Seconds()))
}

func elapsed(began time.Time) time.Duration {
	d := time.Since(began)
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Second)
}
