package systemd_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/kubecertd/kubecertd/systemd"
)

type sent struct {
	Message   string
	Priority  journal.Priority
	Variables map[string]string
}

// recorder is a journal that keeps what it is sent.
func recorder(level zapcore.Level) (*zap.Logger, *[]sent) {
	var got []sent
	core := systemd.JournalCore(level, func(message string, p journal.Priority, v map[string]string) error {
		got = append(got, sent{message, p, v})
		return nil
	}, os.Stderr, time.Minute)
	return zap.New(core), &got
}

func TestJournalEntry(t *testing.T) {
	notAfter := time.Date(2027, 3, 1, 13, 0, 0, 0, time.FixedZone("CET", 3600))
	tests := []struct {
		name string
		log  func(l *zap.Logger)
		want sent
	}{
		{"plain", func(l *zap.Logger) { l.Info("kubecertd started") },
			sent{"kubecertd started", journal.PriInfo, map[string]string{}}},
		{"fields", func(l *zap.Logger) {
			l.Named("renew").With(zap.String("run_id", "r1")).Info("certificate renewed",
				zap.String("message_id", "0c3cd0764d4e4be8be351f12eba555f3"), zap.String("certificate", "apiserver"), zap.Time("not_after", notAfter))
		}, sent{"certificate renewed certificate=apiserver not_after=2027-03-01T12:00:00Z", journal.PriInfo, map[string]string{
			"LOGGER": "renew", "RUN_ID": "r1", "MESSAGE_ID": "0c3cd0764d4e4be8be351f12eba555f3", "CERTIFICATE": "apiserver", "NOT_AFTER": "2027-03-01T12:00:00Z"}}},
		{"an error ends the sentence, on one line", func(l *zap.Logger) {
			l.Error("run failed", zap.Error(errors.Join(errors.New("one"), errors.New("two"))), zap.Duration("took", 3612345*time.Microsecond))
		}, sent{"run failed took=3.612s: one; two", journal.PriErr, map[string]string{"ERROR": "one\ntwo", "TOOK": "3.612s"}}},
		{"kinds", func(l *zap.Logger) {
			l.Warn("x", zap.Strings("renew", []string{"a", "b"}), zap.Bool("killed", true), zap.Int("n", 3), zap.Time("never", time.Time{}),
				zap.Duration("long", 47*time.Hour+1500*time.Millisecond), zap.Any("map", map[string]any{"k": 1}), zap.Skip())
		}, sent{`x renew="a, b" killed=true n=3 long=47h0m2s map={"k":1}`, journal.PriWarning, map[string]string{
			"RENEW": "a, b", "KILLED": "true", "N": "3", "NEVER": "", "LONG": "47h0m2s", "MAP": `{"k":1}`}}},
		{"names the journal would refuse or take for others", func(l *zap.Logger) {
			l.Debug("x", zap.String("message", "m"), zap.String("_pid", "1"), zap.String("9", "n"), zap.Namespace("etcd"), zap.String("peer url", `say "hi" now`))
		}, sent{`x message=m _pid=1 9=n etcd_peer url="say \"hi\" now"`, journal.PriDebug, map[string]string{
			"FIELD_MESSAGE": "m", "PID": "1", "FIELD_9": "n", "ETCD_PEER_URL": `say "hi" now`}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, got := recorder(zapcore.DebugLevel)
			tt.log(l)
			tt.want.Variables["SYSLOG_IDENTIFIER"] = "kubecertd"
			if diff := cmp.Diff([]sent{tt.want}, *got); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
		})
	}
}

func TestJournalCaller(t *testing.T) {
	l, got := recorder(zapcore.InfoLevel)
	l.WithOptions(zap.AddCaller()).Info("x")
	if v := (*got)[0].Variables; !strings.HasSuffix(v["CODE_FILE"], "journal_test.go") || v["CODE_LINE"] == "" || !strings.Contains(v["CODE_FUNC"], "TestJournalCaller") {
		t.Errorf("got %v", v)
	}
}

func TestJournalLevel(t *testing.T) {
	l, got := recorder(zapcore.WarnLevel)
	l.Info("not this")
	l.Warn("this")
	if len(*got) != 1 || (*got)[0].Message != "this" {
		t.Errorf("got %v", *got)
	}
}

// With must not let one logger's fields run into another's.
func TestJournalWith(t *testing.T) {
	l, got := recorder(zapcore.InfoLevel)
	parent := l.With(zap.String("a", "1"))
	one, two := parent.With(zap.String("b", "2")), parent.With(zap.String("c", "3"))
	one.Info("one")
	two.Info("two")
	if diff := cmp.Diff([]string{"one a=1 b=2", "two a=1 c=3"}, []string{(*got)[0].Message, (*got)[1].Message}); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
}

func TestJournalGone(t *testing.T) {
	var stderr bytes.Buffer
	core := systemd.JournalCore(zapcore.InfoLevel, func(string, journal.Priority, map[string]string) error {
		return errors.New("no such socket")
	}, &stderr, time.Minute)
	zap.New(core).Warn("blocked", zap.String("gate", "kubelet"))
	if want := "<4>blocked gate=kubelet\n"; stderr.String() != want {
		t.Errorf("stderr %q, want %q", stderr.String(), want)
	}
}

// A journal that hangs costs its patience once, not for every line, and hears
// afterwards what it missed.
func TestJournalHangs(t *testing.T) {
	release := make(chan struct{})
	got := make(chan string, 10)
	core := systemd.JournalCore(zapcore.InfoLevel, func(message string, _ journal.Priority, _ map[string]string) error {
		<-release
		got <- message
		return nil
	}, os.Stderr, 50*time.Millisecond)
	l := zap.New(core)
	began := time.Now()
	for i := range 100 {
		l.Info("line " + fmt.Sprint(i))
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("100 lines took %s", took)
	}
	if err := l.Sync(); err == nil || !strings.Contains(err.Error(), "the journal hangs") {
		t.Errorf("sync: %v", err)
	}
	close(release)
	if first := <-got; first != "line 0" {
		t.Errorf("first %q", first)
	}
	if err := l.Sync(); err != nil {
		t.Error(err)
	}
	l.Info("after")
	if diff := cmp.Diff([]string{"the journal hung: 99 entries were dropped before this one", "after"}, []string{<-got, <-got}); diff != "" {
		t.Errorf("after it went on (-want +got):\n%s", diff)
	}
}

func TestUnderJournal(t *testing.T) {
	var stat syscall.Stat_t
	if err := syscall.Fstat(int(os.Stderr.Fd()), &stat); err != nil {
		t.Fatal(err)
	}
	for stream, want := range map[string]bool{
		"":                                       false,
		"nonsense":                               false,
		"1:2":                                    false,
		fmt.Sprintf("%d:%d", stat.Dev, stat.Ino): true,
	} {
		t.Setenv("JOURNAL_STREAM", stream)
		if got := systemd.UnderJournal(); got != want {
			t.Errorf("JOURNAL_STREAM=%q: %v, want %v", stream, got, want)
		}
	}
}
