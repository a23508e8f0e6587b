package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// drawn is what is to be read on a terminal to which this was written.
func drawn(written string) string {
	var lines []string
	for _, line := range strings.Split(written, "\n") {
		lines = append(lines, line[strings.LastIndex(line, clearLine)+len(clearLine):])
	}
	return strings.Join(lines, "\n")
}

// A person sees each step, what is under way and for how long, and in the end the steps.
func TestProgress(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := newProgress(terminal{out: &out, is: true, color: "auto", size: func() (int, int) { return 60, 24 }})
		stop := p.begin()
		log := zap.New(steps{LevelEnabler: zapcore.InfoLevel, to: p}).With(zap.String("run_id", "r1"))
		see := func(when, want string) {
			t.Helper()
			synctest.Wait()
			p.mu.Lock()
			defer p.mu.Unlock()
			if diff := cmp.Diff(want, drawn(out.String())); diff != "" {
				t.Errorf("%s (-want +got)\n%s", when, diff)
			}
		}
		log.Debug("not for people")
		log.Info("run started", zap.String("trigger", "command"), zap.Strings("renew", []string{"apiserver", "etcd-server"}), zap.Strings("restart", nil))
		const first = "   0.0s  run started renew apiserver, etcd-server\n"
		see("at first", first+"   ... 0s  run started renew apiserver, etcd-server")
		time.Sleep(2500 * time.Millisecond)
		see("it counts", first+"   ... 2s  run started renew apiserver, etcd-server")
		log.With(zap.String("component", "kube-apiserver")).Info("stopping component", zap.Duration("grace", time.Second), zap.String("reason", "holds\napiserver"))
		const second = "   2.5s  stopping component kube-apiserver: holds apiserver\n"
		time.Sleep(3 * time.Second)
		log.Info("waiting", zap.String("component", "kube-apiserver"), zap.String("for", "its health endpoint, which says that etcd is not there yet"))
		see("what is waited for, as wide as the terminal", first+second+"   ... 3s  waiting for kube-apiserver: its health endpoint,")
		log.Error("component did not come back", zap.String("component", "etcd"), zap.Error(errors.New("no answer")))
		stop()
		stop()
		const third = "   5.5s  component did not come back etcd: no answer\n"
		see("in the end", first+second+third)
		written := out.Len()
		time.Sleep(5 * time.Second)
		if out.Len() != written {
			t.Error("it was not stopped")
		}
	})
}

// What went wrong is seen at once where there are colours.
func TestProgressColors(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	var out bytes.Buffer
	p := newProgress(terminal{out: &out, is: true, color: "auto", size: func() (int, int) { return 60, 24 }})
	log := zap.New(steps{LevelEnabler: zapcore.InfoLevel, to: p})
	log.Warn("put back")
	log.Error("run failed")
	log.Info("run done")
	for _, want := range []string{"\x1b[33m   0.0s  put back\x1b[0m\n", "\x1b[1;31m   0.0s  run failed\x1b[0m\n", clearLine + "   0.0s  run done\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("want %q in %q", want, out.String())
		}
	}
}
