package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/term"

	"github.com/kubecertd/kubecertd/configs"
)

// newPersonLogger makes the logger of a command that carries something out. A person at a
// terminal sees its steps with their seconds and what is waited for; everything else, and
// a log.format that is set, gets what newLogger makes. stop must be called before
// something else is written.
func newPersonLogger(c configs.Log) (log *zap.Logger, stop func(), err error) {
	log, err = newLogger(c, false)
	if err != nil || c.Format != "auto" || !term.IsTerminal(int(os.Stderr.Fd())) || os.Getenv("TERM") == "dumb" {
		return log, func() {}, err
	}
	t := terminal{out: os.Stderr, is: true, color: "auto", size: func() (int, int) {
		width, height, _ := term.GetSize(int(os.Stderr.Fd()))
		return width, height
	}}
	p := newProgress(t)
	return zap.New(steps{LevelEnabler: log.Level(), to: p}), p.begin(), nil
}

// progress shows on a terminal what a run does: a line for each step, and under them one
// that counts the seconds of what is under way.
type progress struct {
	terminal
	began time.Time

	mu    sync.Mutex
	doing string
	since time.Time
}

func newProgress(t terminal) *progress { return &progress{terminal: t, began: time.Now()} }

// begin keeps the seconds going. stop waits until nothing is written any more, and takes
// the last line away.
func (p *progress) begin() (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
				p.mu.Lock()
				_, _ = io.WriteString(p.out, p.current())
				p.mu.Unlock()
			}
		}
	}()
	return sync.OnceFunc(func() {
		close(end)
		<-ended
		_, _ = io.WriteString(p.out, "\r"+clearLine)
	})
}

// step writes a line, and what is under way below it.
func (p *progress) step(text, style string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doing, p.since = text, time.Now()
	line := fmt.Sprintf("%6.1fs  %s", time.Since(p.began).Seconds(), text)
	if p.colored() && style != "" {
		line = "\x1b[" + style + "m" + line + "\x1b[0m"
	}
	_, _ = io.WriteString(p.out, "\r"+clearLine+line+"\n"+p.current())
}

// waiting says what is waited for, which is no step of its own.
func (p *progress) waiting(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doing = text
	_, _ = io.WriteString(p.out, p.current())
}

// current is the line that changes. It must not be wider than the terminal, or taking it
// away would leave a part of it there.
func (p *progress) current() string {
	if p.doing == "" {
		return ""
	}
	text := []rune(fmt.Sprintf("   ... %ds  %s", int(time.Since(p.since).Seconds()), p.doing))
	if width := p.width() - 1; len(text) > width {
		text = text[:max(width, 0)]
	}
	return "\r" + clearLine + string(text)
}

// steps is a zapcore.Core whose messages a person follows.
type steps struct {
	zapcore.LevelEnabler
	fields []zapcore.Field
	to     *progress
}

// With returns the core with fields of its own.
func (s steps) With(fields []zapcore.Field) zapcore.Core {
	s.fields = append(s.fields[:len(s.fields):len(s.fields)], fields...)
	return s
}

// Check takes charge of what is logged at all.
func (s steps) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if s.Enabled(e.Level) {
		return checked.AddCore(e, s)
	}
	return checked
}

// Write shows a message.
func (s steps) Write(e zapcore.Entry, fields []zapcore.Field) error {
	fields = append(s.fields[:len(s.fields):len(s.fields)], fields...)
	text := stepText(e.Message, fields)
	switch {
	case e.Message == "waiting":
		s.to.waiting(stepText("waiting for", fields))
	case e.Level >= zapcore.ErrorLevel:
		s.to.step(text, "1;31")
	case e.Level == zapcore.WarnLevel:
		s.to.step(text, "33")
	default:
		s.to.step(text, "")
	}
	return nil
}

// Sync has nothing to wait for.
func (s steps) Sync() error { return nil }

// stepText is a message with what it is about, and why. The history and the journal of
// the daemon have the rest.
func stepText(message string, fields []zapcore.Field) string {
	var about, why []string
	for _, f := range fields {
		object := zapcore.NewMapObjectEncoder()
		f.AddTo(object)
		value := oneLine(valueText(object.Fields[f.Key]))
		switch f.Key {
		case "certificate", "component", "components", "path", "request", "holder":
			about = append(about, value)
		case "renew", "restart":
			if value != "" {
				about = append(about, f.Key+" "+value)
			}
		case "not_after":
			about = append(about, "until "+value)
		case "took", "healthy_after":
			about = append(about, "after "+value)
		case "reason", "for", "error", "found", "proof", "remedy", "not_restarted":
			if value != "" {
				why = append(why, value)
			}
		}
	}
	text := message
	if len(about) > 0 {
		text += " " + strings.Join(about, ", ")
	}
	if len(why) > 0 {
		text += ": " + strings.Join(why, ": ")
	}
	return text
}

func valueText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case time.Time:
		return v.UTC().Format("2006-01-02 15:04")
	case time.Duration:
		return v.Round(100 * time.Millisecond).String()
	case []any:
		parts := make([]string, len(v))
		for i, part := range v {
			parts[i] = valueText(part)
		}
		return strings.Join(parts, ", ")
	default:
		return fmt.Sprint(v)
	}
}
