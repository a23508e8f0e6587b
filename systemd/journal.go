package systemd

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"go.uber.org/zap/zapcore"
)

// identifier is SYSLOG_IDENTIFIER, what journalctl -t looks for.
const identifier = "kubecertd"

// journalTimeout is how long one message may take. A journal that hangs must not
// hang a restart.
const journalTimeout = 2 * time.Second

// UnderJournal says whether stderr leads to the journal, by the rule of
// systemd.exec(5): $JOURNAL_STREAM names its device and inode. Whoever redirects
// stderr gets lines of text.
func UnderJournal() bool {
	yes, err := journal.StderrIsJournalStream()
	return err == nil && yes
}

// NewJournalCore returns a zap core that writes to the journal natively: each field
// is a field of the entry under its name in capitals (not_after becomes NOT_AFTER),
// message_id becomes MESSAGE_ID, and MESSAGE carries the fields once more, so that a
// plain journalctl -u tells everything.
//
// Should the journal not take an entry, its text goes to stderr. Should it hang,
// entries are dropped, and how many is the first thing it hears afterwards.
func NewJournalCore(level zapcore.LevelEnabler) zapcore.Core {
	return &journalCore{LevelEnabler: level, out: &outlet{send: journal.Send, stderr: os.Stderr, patience: journalTimeout}}
}

// journalCore is a zapcore.Core. Its fields are those given by With.
type journalCore struct {
	zapcore.LevelEnabler
	fields []zapcore.Field
	out    *outlet
}

func (c *journalCore) With(fields []zapcore.Field) zapcore.Core {
	all := make([]zapcore.Field, 0, len(c.fields)+len(fields))
	all = append(append(all, c.fields...), fields...)
	return &journalCore{c.LevelEnabler, all, c.out}
}

func (c *journalCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

func (c *journalCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	values := flatten(append(c.fields[:len(c.fields):len(c.fields)], fields...))
	variables := make(map[string]string, len(values)+4)
	for _, v := range values {
		variables[variable(v.key)] = v.text
	}
	variables["SYSLOG_IDENTIFIER"] = identifier
	if e.LoggerName != "" {
		variables["LOGGER"] = e.LoggerName
	}
	if e.Caller.Defined {
		variables["CODE_FILE"] = e.Caller.File
		variables["CODE_LINE"] = fmt.Sprint(e.Caller.Line)
		variables["CODE_FUNC"] = e.Caller.Function
	}
	if e.Stack != "" {
		variables["STACK"] = e.Stack
	}
	return c.out.write(entry{sentence(e.Message, values), priority(e.Level), variables})
}

// Sync waits for an entry that is still on its way.
func (c *journalCore) Sync() error { return c.out.flush() }

// priority is syslog's, as journalctl -p understands it.
func priority(level zapcore.Level) journal.Priority {
	switch {
	case level <= zapcore.DebugLevel:
		return journal.PriDebug
	case level == zapcore.InfoLevel:
		return journal.PriInfo
	case level == zapcore.WarnLevel:
		return journal.PriWarning
	case level == zapcore.ErrorLevel:
		return journal.PriErr
	default:
		return journal.PriCrit
	}
}

type entry struct {
	message   string
	priority  journal.Priority
	variables map[string]string
}

// outlet is the way to the journal, one entry at a time.
type outlet struct {
	send     func(message string, p journal.Priority, variables map[string]string) error
	stderr   io.Writer
	patience time.Duration

	mu      sync.Mutex
	pending chan error // of an entry that took too long; nil when there is none
	dropped int
}

func (o *outlet) write(e entry) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.settled(0) {
		o.dropped++
		return nil
	}
	if o.dropped > 0 {
		note := entry{fmt.Sprintf("the journal hung: %d entries were dropped before this one", o.dropped), journal.PriWarning,
			map[string]string{"SYSLOG_IDENTIFIER": identifier}}
		o.dropped = 0
		if err := o.deliver(note); err != nil {
			return err
		}
	}
	return o.deliver(e)
}

// deliver sends one entry and waits for it, but not for ever.
func (o *outlet) deliver(e entry) error {
	if o.pending != nil {
		o.dropped++
		return nil
	}
	done := make(chan error, 1)
	go func() {
		err := o.send(e.message, e.priority, e.variables)
		if err != nil {
			// The number is the priority, as systemd reads it from a service's stderr
			// (sd-daemon(3)).
			_, err = fmt.Fprintf(o.stderr, "<%d>%s\n", e.priority, strings.ReplaceAll(e.message, "\n", " "))
		}
		done <- err
	}()
	o.pending = done
	o.settled(o.patience)
	return nil
}

// settled says whether nothing is on its way any more, after waiting for it.
func (o *outlet) settled(patience time.Duration) bool {
	if o.pending == nil {
		return true
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	var err error
	select {
	case err = <-o.pending:
	default: // both may be ready below, and then either would be chosen
		select {
		case err = <-o.pending:
		case <-timer.C:
			return false
		}
	}
	o.pending = nil
	if err != nil { // not even stderr took it
		o.dropped++
	}
	return true
}

func (o *outlet) flush() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.settled(o.patience) {
		return fmt.Errorf("the journal hangs: its last entry was not taken within %s", o.patience)
	}
	return nil
}
