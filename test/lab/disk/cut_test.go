//go:build linux

package disk_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/test/lab/disk"
)

// contents are the files and what is in them.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for name := range picture(t, dir) {
		if info, err := os.Lstat(filepath.Join(dir, name)); err == nil && info.Mode().IsRegular() {
			content, err := os.ReadFile(filepath.Join(dir, name))
			must(t, err)
			found[name] = string(content)
		}
	}
	return found
}

// write writes a file as most programs do.
func write(name, content string) error { return os.WriteFile(name, []byte(content), 0o600) }

func sync(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// TestLosses says of each way to change a file what every loss leaves. All begin with
// a file "old" that holds "before" and is on disk.
func TestLosses(t *testing.T) {
	type files = map[string]string
	before := files{"old": "before"}
	zero := func(n int) string { return string(make([]byte, n)) }
	tests := map[string]struct {
		change func(dir string) error
		// want has all losses that do not leave "before".
		want map[string]files
	}{
		"a new file": {
			func(dir string) error { return write(dir+"/new", "after") },
			map[string]files{
				"keep-all": {"old": "before", "new": "after"}, "zero-length": {"old": "before", "new": ""},
				"zero-filled": {"old": "before", "new": zero(5)}, "names-only": {"old": "before", "new": ""},
			},
		},
		"a new file, synced": {
			func(dir string) error { return errors.Join(write(dir+"/new", "after"), sync(dir+"/new")) },
			map[string]files{
				"keep-all": {"old": "before", "new": "after"}, "zero-length": {"old": "before", "new": "after"},
				"zero-filled": {"old": "before", "new": "after"}, "names-only": {"old": "before", "new": "after"},
				"journal": {"old": "before", "new": "after"},
			},
		},
		"a new file whose directory is synced": {
			func(dir string) error { return errors.Join(write(dir+"/new", "after"), sync(dir)) },
			map[string]files{
				"keep-all": {"old": "before", "new": "after"}, "zero-length": {"old": "before", "new": ""},
				"zero-filled": {"old": "before", "new": zero(5)}, "names-only": {"old": "before", "new": ""},
				"journal": {"old": "before", "new": ""}, "strictest": {"old": "before", "new": ""},
				"data-only": {"old": "before", "new": "after"},
			},
		},
		"truncated and written": {
			func(dir string) error { return write(dir+"/old", "after that") },
			map[string]files{
				"keep-all": {"old": "after that"}, "data-only": {"old": "after that"},
				"zero-length": {"old": ""}, "zero-filled": {"old": zero(10)},
			},
		},
		"overwritten in place": {
			func(dir string) error {
				f, err := os.OpenFile(dir+"/old", os.O_WRONLY, 0)
				if err != nil {
					return err
				}
				_, err = f.WriteString("AFTER..and")
				return errors.Join(err, f.Close())
			},
			map[string]files{
				"keep-all": {"old": "AFTER..and"}, "data-only": {"old": "AFTER..and"},
				"zero-filled": {"old": "before" + zero(4)},
			},
		},
		"renamed over, not synced": {
			func(dir string) error {
				return errors.Join(write(dir+"/new", "after"), os.Rename(dir+"/new", dir+"/old"), sync(dir))
			},
			map[string]files{
				"keep-all": {"old": "after"}, "data-only": {"old": "after"}, "strictest": {"old": ""}, "journal": {"old": ""},
				"zero-length": {"old": ""}, "zero-filled": {"old": zero(5)}, "names-only": {"old": ""},
			},
		},
		"renamed over, file synced": {
			func(dir string) error {
				return errors.Join(write(dir+"/new", "after"), sync(dir+"/new"), os.Rename(dir+"/new", dir+"/old"))
			},
			map[string]files{
				"keep-all": {"old": "after"}, "zero-length": {"old": "after"}, "zero-filled": {"old": "after"}, "names-only": {"old": "after"},
				"journal": {"old": "before", "new": "after"},
			},
		},
		"removed": {
			func(dir string) error { return os.Remove(dir + "/old") },
			map[string]files{"keep-all": {}, "zero-length": {}, "zero-filled": {}, "names-only": {}},
		},
		"moved to a new directory that is not named on disk": {
			func(dir string) error {
				return errors.Join(os.Mkdir(dir+"/sub", 0o700), os.Rename(dir+"/old", dir+"/sub/old"))
			},
			map[string]files{
				"keep-all": {"sub/old": "before"}, "zero-length": {"sub/old": "before"},
				"zero-filled": {"sub/old": "before"}, "names-only": {"sub/old": "before"},
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for _, loss := range disk.Fixed {
				d := mount(t)
				must(t, write(d.Dir+"/old", "before"))
				d.Sync()
				must(t, test.change(d.Dir))
				log, apart := d.Log(), t.TempDir()
				d.Cut(loss)
				want, ok := test.want[loss.String()]
				if !ok {
					want = before
				}
				if diff := cmp.Diff(want, contents(t, d.Dir)); diff != "" {
					t.Errorf("%s leaves (-want +got):\n%s", loss, diff)
				}
				must(t, log.State(len(log.Ops), loss).Write(apart))
				if diff := cmp.Diff(picture(t, d.Dir), picture(t, apart)); diff != "" {
					t.Errorf("%s: the mount (-) and the state written out (+) differ:\n%s", loss, diff)
				}
			}
		})
	}
}

// TestRandomNeverBreaksPromises: whatever chance takes, what was synced is there, and
// a rename has happened or has not.
func TestRandomNeverBreaksPromises(t *testing.T) {
	d := mount(t)
	dir := d.Dir + "/dir"
	must(t, os.Mkdir(dir, 0o700), write(dir+"/file", "one"))
	d.Sync()
	for _, content := range []string{"two", "three"} {
		must(t, write(dir+"/file.new", content), sync(dir+"/file.new"), os.Rename(dir+"/file.new", dir+"/file"))
	}
	must(t, sync(dir), write(dir+"/junk", "some more than that"), write(dir+"/junk", "and again"))
	log := d.Log()
	settled := 0
	for i, o := range log.Ops {
		if o.Kind == disk.FsyncDir {
			settled = i + 1
		}
	}
	outcomes, junk := map[string]int{}, map[string]int{}
	for seed := range uint64(100) {
		for s := range log.States(0, disk.Random(seed)) {
			to := filepath.Join(t.TempDir(), "state")
			must(t, s.Write(to))
			found := contents(t, to)
			got := found["dir/file"]
			outcomes[got]++
			junk[found["dir/junk"]]++
			if got != "one" && got != "two" && got != "three" {
				t.Fatalf("%s: file holds %q", s.Name(), got)
			}
			if s.Prefix >= settled && got != "three" {
				t.Fatalf("%s: file holds %q, but its last rename was synced", s.Name(), got)
			}
			if again := log.State(s.Prefix, s.Loss); again.Sum() != s.Sum() {
				t.Fatalf("%s: the same seed lost something else", s.Name())
			}
			must(t, os.RemoveAll(to))
		}
	}
	if len(outcomes) != 3 || len(junk) < 8 {
		t.Errorf("chance left %v and %d kinds of junk: not all that can be", outcomes, len(junk))
	}
}

func TestAfterACut(t *testing.T) {
	d := mount(t)
	dir := d.Dir + "/dir"
	must(t, os.Mkdir(dir, 0o700), write(dir+"/file", "on disk"), os.Symlink("file", dir+"/link"))
	d.Sync()
	f, err := os.OpenFile(dir+"/file", os.O_RDWR, 0)
	must(t, err)
	defer func() { _ = f.Close() }() // its writes were lost
	_, err = f.WriteString("in memory")
	must(t, err)
	must(t, os.Chmod(dir+"/file", 0o644), os.Chmod(dir, 0o711))
	d.Cut(disk.Strictest)

	if _, err := f.WriteString("more"); !errors.Is(err, syscall.EIO) {
		t.Errorf("write to a file opened before: %v, want an input/output error", err)
	}
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("sync of a file opened before: %v, want an input/output error", err)
	}
	want := map[string]string{"dir": "drwx------ 0:0", "dir/file": "-rw------- 0:0 7 6f6e206469736b", "dir/link": "Lrwxrwxrwx 0:0 to file"}
	if diff := cmp.Diff(want, picture(t, d.Dir)); diff != "" {
		t.Errorf("after the cut (-want +got):\n%s", diff)
	}
	if ops := d.Log().Ops; len(ops) != 0 {
		t.Errorf("the log goes on from before the cut: %v", ops)
	}
	// It can be used, and cut, again.
	must(t, write(dir+"/file", "second life"), sync(dir+"/file"), write(dir+"/gone", "x"))
	d.Cut(disk.Strictest)
	if diff := cmp.Diff(map[string]string{"dir/file": "second life"}, contents(t, d.Dir)); diff != "" {
		t.Errorf("after the second cut (-want +got):\n%s", diff)
	}
}

// TestLoad: after a mere kill nothing is lost, until the power is cut as well.
func TestLoad(t *testing.T) {
	d := mount(t)
	must(t, write(d.Dir+"/file", "on disk"))
	d.Sync()
	must(t, write(d.Dir+"/file", "in memory"), write(d.Dir+"/file", "later"))
	log := d.Log()
	another := mount(t)
	another.Load(log, 2)
	if diff := cmp.Diff(map[string]string{"file": "in memory"}, contents(t, another.Dir)); diff != "" {
		t.Errorf("loaded (-want +got):\n%s", diff)
	}
	must(t, write(another.Dir+"/new", ""))
	if n := len(another.Log().Ops); n <= 2 {
		t.Errorf("the log has %d operations, want it to go on", n)
	}
	another.Cut(disk.Strictest)
	if diff := cmp.Diff(map[string]string{"file": "on disk"}, contents(t, another.Dir)); diff != "" {
		t.Errorf("loaded and cut (-want +got):\n%s", diff)
	}
}
