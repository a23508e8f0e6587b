package renew

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/pki"
)

// What a process that started at some time has read, by what a daemon has seen on disk
// since. Times are minutes of the boot clock; the wall clock is noon at its start, unless
// it is stepped.
func TestLedger(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	type look struct {
		at      int    // minutes after boot
		step    int    // by which the wall clock is off
		boot    string // another one than the first
		content string
		// Minutes of the wall clock: of the file, and of its inode.
		changed, touched int
		broken           bool
	}
	tests := []struct {
		name    string
		looks   []look
		started int
		read    bool
	}{
		{"installed after the start", []look{{at: 60, content: "a", changed: 10, touched: 10}}, 30, true},
		{"installed after a renewal that nobody read", []look{{at: 60, content: "a", changed: 40, touched: 40}}, 30, false},
		{"installed after a chmod", []look{{at: 60, content: "a", changed: 10, touched: 40}}, 30, true},
		{"touched since", []look{{at: 20, content: "a", changed: 10, touched: 10}, {at: 60, content: "a", changed: 50, touched: 50}}, 30, true},
		{"renewed since", []look{{at: 20, content: "a", changed: 10, touched: 10}, {at: 60, content: "b", changed: 50, touched: 50}}, 30, false},
		{"renewed and read", []look{{at: 20, content: "a", changed: 10, touched: 10}, {at: 60, content: "b", changed: 25, touched: 25}}, 30, true},
		{"restored with its old time", []look{{at: 20, content: "a", changed: 10, touched: 10}, {at: 60, content: "b", changed: 1, touched: 50}}, 30, false},
		{"renewed, and given the time of the one before", []look{{at: 20, content: "a", changed: 10, touched: 10}, {at: 60, content: "b", changed: 10, touched: 50}, {at: 70, content: "b", changed: 10, touched: 65}}, 30, false},
		{"renewed and put back", []look{{at: 20, content: "a", changed: 10, touched: 10}, {at: 40, content: "b", changed: 40, touched: 40}, {at: 60, content: "a", changed: 50, touched: 50}}, 30, true},
		{"started between a renewal and its withdrawal", []look{{at: 20, content: "a", changed: 10, touched: 10}, {at: 40, content: "b", changed: 35, touched: 35}, {at: 60, content: "a", changed: 10, touched: 50}}, 38, false},
		{"a broken one came and went", []look{{at: 20, content: "a", changed: 10, touched: 10}, {at: 40, content: "b", changed: 35, touched: 35, broken: true}, {at: 60, content: "a", changed: 50, touched: 50}}, 38, true},
		{"clock set back after the renewal", []look{{at: 20, content: "a", changed: 10, touched: 10}, {at: 42, step: -30, content: "b", changed: 40, touched: 40}}, 38, false},
		{"clock set back after the renewal that was read", []look{{at: 20, content: "a", changed: 10, touched: 10}, {at: 42, content: "b", changed: 40, touched: 40}, {at: 60, step: -30, content: "b", changed: 40, touched: 40}}, 45, true},
		{"clock set forward after the renewal", []look{{at: 20, content: "a", changed: 10, touched: 10}, {at: 42, step: 30, content: "b", changed: 40, touched: 40}}, 38, false},
		{"clock set forward before the renewal", []look{{at: 20, content: "a", changed: 10, touched: 10}, {at: 42, step: 30, content: "b", changed: 70, touched: 70}}, 38, false},
		{"clock set forward before the renewal that was read", []look{{at: 20, content: "a", changed: 10, touched: 10}, {at: 25, step: 30, content: "a", changed: 10, touched: 10}, {at: 42, step: 30, content: "b", changed: 60, touched: 60}}, 38, true},
		{"renewed before this boot", []look{{at: 20, content: "a", changed: 10, touched: 10}, {at: 40, content: "b", changed: 35, touched: 35}, {at: 1, step: 60, boot: "next", content: "b", changed: 35, touched: 35}}, 0, true},
		{"renewed between the boots", []look{{at: 20, content: "a", changed: 10, touched: 10}, {at: 1, step: 60, boot: "next", content: "b", changed: 50, touched: 50}}, 0, true},
		{"renewed before this boot, whose clock is behind", []look{{at: 20, content: "a", changed: 10, touched: 10}, {at: 40, content: "b", changed: 35, touched: 35}, {at: 1, step: -600, boot: "next", content: "b", changed: 35, touched: 35}}, 0, true},
		{"renewed in this boot, which a container calls by another name", []look{{at: 20, content: "a", changed: 10, touched: 10}, {at: 60, boot: "alias", content: "b", changed: 50, touched: 50}, {at: 61, content: "b", changed: 50, touched: 50}}, 30, false},
		{"renewed after this boot", []look{{at: 20, content: "a", changed: 10, touched: 10}, {at: 5, step: 60, boot: "next", content: "b", changed: 63, touched: 63}}, 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := State{Dir: filepath.Join(t.TempDir(), "state")}
			var clocks Clocks
			n := &Node{State: s, Now: func() time.Time { return clocks.Wall }, Clocks: func() (Clocks, error) { return clocks, nil }}
			var o Observation
			for _, l := range tt.looks {
				up := time.Duration(l.at) * time.Minute
				clocks = Clocks{Boot: "first" + l.boot, Up: up, Wall: noon.Add(up + time.Duration(l.step)*time.Minute)}
				c := pki.Certificate{Name: "scheduler.conf", SHA256: l.content, State: pki.OK, KeyMatches: true,
					Changed: noon.Add(time.Duration(l.changed) * time.Minute), Touched: noon.Add(time.Duration(l.touched) * time.Minute)}
				if l.broken {
					c.State, c.KeyMatches = pki.Invalid, false
				}
				o = Observation{At: clocks.Wall, Certificates: []pki.Certificate{c}}
				o.Contents = n.contents(o.Certificates)
				if err := n.noteContents(o.Certificates); err != nil {
					t.Fatal(err)
				}
				// What is written down says what the look said.
				for name, contents := range n.contents(o.Certificates) {
					for i, c := range contents {
						if was := o.Contents[name]; i >= len(was) || was[i].SHA256 != c.SHA256 || was[i].Since.Sub(c.Since).Abs() > time.Millisecond {
							t.Errorf("%s: %v on disk, %v seen", name, contents, was)
						}
					}
				}
			}
			started := clocks.booted().Add(time.Duration(tt.started) * time.Minute)
			if got := o.readBy(started, o.Certificates[0]); got != tt.read {
				t.Errorf("read: %t, want %t; on disk were %v, and the process started %s", got, tt.read, o.Contents, started)
			}
		})
	}
}

// A certificate cannot have been read before it was issued, whatever the time of its file.
func TestLedgerIssuedLaterThanWritten(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	n := &Node{State: State{Dir: t.TempDir()}, Now: time.Now, Clocks: func() (Clocks, error) { return Clocks{"this", now, 100 * day}, nil }}
	c := pki.Certificate{Name: "scheduler.conf", SHA256: "a", State: pki.OK, Changed: now.Add(-50 * day), NotBefore: now.Add(-day)}
	o := Observation{At: now, Contents: n.contents([]pki.Certificate{c})}
	if o.readBy(now.Add(-2*day), c) || !o.readBy(now.Add(-time.Hour), c) {
		t.Errorf("on disk %v", o.Contents)
	}
	// One whose file is of tomorrow is not known, and is not written down as if it were.
	c = pki.Certificate{Name: "scheduler.conf", SHA256: "a", State: pki.OK, Changed: now.Add(day)}
	if contents := n.contents([]pki.Certificate{c}); len(contents) > 0 {
		t.Errorf("on disk %v", contents)
	}
}

func TestLedgerIsWrittenWhenSomethingIsNew(t *testing.T) {
	s := State{Dir: t.TempDir()}
	up := time.Hour
	wall := func() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(up) }
	n := &Node{State: s, Now: wall, Clocks: func() (Clocks, error) { return Clocks{"this", wall(), up}, nil }}
	list := []pki.Certificate{{Name: "scheduler.conf", SHA256: "a", State: pki.OK, Changed: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}}
	note := func() {
		t.Helper()
		if err := n.noteContents(list); err != nil {
			t.Fatal(err)
		}
	}
	note()
	if err := os.Chtimes(s.path(ledgerFile), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	up += time.Hour
	note()
	if info, err := os.Stat(s.path(ledgerFile)); err != nil || !info.ModTime().Equal(time.Unix(1, 0)) {
		t.Error("written anew though nothing had changed")
	}
	for i := range 3 * keepContents {
		list[0].SHA256 = strings.Repeat("b", i+1)
		note()
	}
	if kept := s.readLedger().Certificates["scheduler.conf"]; len(kept) != keepContents || kept[keepContents-1].SHA256 != list[0].SHA256 {
		t.Errorf("kept %+v", kept)
	}

	// One that cannot be read is nothing, and is written anew.
	if err := os.WriteFile(s.path(ledgerFile), []byte(`{"certificates": {"sched`), 0o600); err != nil {
		t.Fatal(err)
	}
	note()
	if kept := s.readLedger().Certificates["scheduler.conf"]; len(kept) != 1 {
		t.Errorf("kept %+v", kept)
	}

	// Where nothing can be written, that is said.
	n.State.Dir = filepath.Join(s.path(ledgerFile), "no directory")
	if err := n.noteContents(list); err == nil || !strings.Contains(err.Error(), "could not be written down") {
		t.Errorf("error %v", err)
	}
}
