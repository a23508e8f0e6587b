package progress_test

import (
	"bytes"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/test/lab/progress"
)

func TestDoIsNeverSilentForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := progress.New(&out)
		err := p.Do("part 2 of 3: kubelet", 150*time.Second, func() error {
			time.Sleep(35 * time.Second) // no real time passes
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		want := `[   0s] part 2 of 3: kubelet …, about 2m30s
[  15s] part 2 of 3: kubelet … 15s, about 2m30s
[  30s] part 2 of 3: kubelet … 30s, about 2m30s
[  35s] part 2 of 3: kubelet: done in 35s
`
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("output (-want +got):\n%s", diff)
		}
	})
}

func TestDoSaysThatWorkFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		broken := errors.New("disk full")
		err := progress.New(&out).Do("boot", 0, func() error { return broken })
		if !errors.Is(err, broken) {
			t.Errorf("err = %v, want the work's own", err)
		}
		want := "[   0s] boot …\n[   0s] boot: failed in 0s\n"
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("output (-want +got):\n%s", diff)
		}
	})
}

func TestNilPrinterIsSilent(t *testing.T) {
	p := progress.New(nil)
	p.Printf("nobody reads %s", "this")
	ran := false
	if err := p.Do("work", 0, func() error { ran = true; return nil }); err != nil || !ran {
		t.Errorf("ran = %v, err = %v; want the work done", ran, err)
	}
}
