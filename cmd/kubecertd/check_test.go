package main

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubecertd/kubecertd/report"
)

// A file system that hangs does not hang the monitoring.
func TestCheckGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		defer cancel()
		began, free := time.Now(), make(chan struct{})
		level, line := within(ctx, 8*time.Second, func() (report.Level, string) {
			<-free
			return report.LevelOK, "OK: it came too late"
		})
		close(free)
		if took := time.Since(began); took != 8*time.Second || level != report.LevelUnknown || !strings.HasPrefix(line, "UNKNOWN: ") {
			t.Errorf("after %s it says %q, level %s", took, line, level)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	free := make(chan struct{})
	defer close(free)
	if level, line := within(ctx, time.Second, func() (report.Level, string) { <-free; return report.LevelOK, "" }); level != report.LevelUnknown || !strings.Contains(line, "told to stop") {
		t.Errorf("stopped, it says %q, level %s", line, level)
	}
}
