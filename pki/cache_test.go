package pki_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/pki/pkitest"
)

// shelf is a directory of many certificates.
type shelf struct {
	*pkitest.Node
	cache *pki.Cache
}

// newShelf makes count certificate files, no two of them the same file.
func newShelf(t testing.TB, count int) shelf {
	t.Helper()
	n := pkitest.New(t, now)
	leaf, err := os.ReadFile(n.Certificate("apiserver"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range count {
		n.Write(fmt.Sprintf("/srv/tls/%02d/site-%05d.crt", i%100, i), string(leaf))
	}
	return shelf{n, pki.NewCache()}
}

func (s shelf) look() []pki.Certificate {
	l, _ := pki.Locate(pki.Options{Root: s.Root, Watch: []string{"/srv/tls"}, Cache: s.cache})
	return l.FindWatched().Read(now)
}

// reads is how many files a look reads.
func (s shelf) reads() int {
	before := s.cache.Read()
	s.look()
	return s.cache.Read() - before
}

// What has not changed is not parsed again, and what has changed is, however it was
// changed. The cost of a look is one reading for each file, however many there are.
func TestUnchangedFilesAreNotReadAgain(t *testing.T) {
	for _, count := range []int{10, 100, 1000} {
		s := newShelf(t, count)
		if got := s.reads(); got != count {
			t.Errorf("the first look at %d files read %d", count, got)
		}
	}
	s := newShelf(t, 20)
	pki.SettledNow(s.cache) // as if all were written long ago
	if got := s.reads(); got != 20 {
		t.Fatalf("the first look read %d files of 20", got)
	}
	for range 3 {
		if got := s.reads(); got != 0 {
			t.Errorf("a look at unchanged files read %d", got)
		}
	}
	if got := len(s.look()); got != 20 {
		t.Errorf("%d certificates from memory, want 20", got)
	}

	file := s.Path("/srv/tls/00/site-00000.crt")
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func() error{
		"written": func() error { return os.WriteFile(file, content, 0o644) },
		"written, its time put back": func() error {
			_ = os.WriteFile(file, content, 0o644)
			return os.Chtimes(file, info.ModTime(), info.ModTime())
		},
		"replaced, its time put back":   func() error { return replace(file, content, info.ModTime()) },
		"longer, with comments":         func() error { return os.WriteFile(file, append([]byte("# site\n"), content...), 0o644) },
		"its mode, which is not needed": func() error { return os.Chmod(file, 0o600) },
	} {
		time.Sleep(20 * time.Millisecond) // the kernel's clock ticks up to every 10 ms
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if got := s.reads(); got != 1 {
			t.Errorf("%s: a look read %d files, want the one", name, got)
		}
	}
	if err := os.RemoveAll(s.Path("/srv/tls/01")); err != nil {
		t.Fatal(err)
	}
	if got := len(s.look()); got != 19 {
		t.Errorf("%d certificates after one was removed, want 19", got)
	}
	if got := pki.Remembered(s.cache); got != 19 {
		t.Errorf("%d files are remembered, want 19", got)
	}
}

func replace(file string, content []byte, when time.Time) error {
	if err := os.WriteFile(file+".new", content, 0o644); err != nil {
		return err
	}
	if err := os.Chtimes(file+".new", when, when); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// Two certificates written within one tick of the clock that dates files cannot be told
// apart by their times, so that what was just written is read anew.
func TestFreshFilesAreNotBelieved(t *testing.T) {
	n := pkitest.New(t, now)
	s := shelf{n, pki.NewCache()}
	one := n.Issue("apiserver", now, now.Add(100*pkitest.Day))
	first := contentOf(t, n.Certificate("apiserver"))
	second := first
	for len(second) != len(first) || second == first {
		n.Issue("apiserver", now, now.Add(200*pkitest.Day))
		second = contentOf(t, n.Certificate("apiserver"))
	}
	n.Write("/srv/tls/site.crt", first)
	for range 50 {
		for content, want := range map[string]time.Time{first: one.NotAfter, second: now.Add(200 * pkitest.Day)} {
			n.Write("/srv/tls/site.crt", content)
			if got := s.look()[0].NotAfter; !got.Equal(want.UTC().Truncate(time.Second)) {
				t.Fatalf("a look right after the file was written says that it ends at %s, want %s", got, want)
			}
		}
	}
}

// The node's own certificates are read from disk whatever the cache believes.
func TestOwnFilesAreAlwaysRead(t *testing.T) {
	n := pkitest.New(t, now)
	cache := pki.NewCache()
	pki.SettledNow(cache)
	for days := range 20 {
		end := now.Add(time.Duration(100+days) * pkitest.Day)
		n.Issue("apiserver", now, end)
		l, _ := pki.Locate(pki.Options{Root: n.Root, Watch: []string{"/etc/kubernetes"}, Cache: cache})
		l.FindWatched().Read(now)
		for _, c := range l.Read(now) {
			if c.Name == "apiserver" && !c.NotAfter.Equal(end.Truncate(time.Second)) {
				t.Fatalf("ends %s, want %s", c.NotAfter, end)
			}
		}
	}
}

func BenchmarkWatched(b *testing.B) {
	for _, count := range []int{1000, 10_000} {
		s := newShelf(b, count)
		b.Run(fmt.Sprintf("cold/%d", count), func(b *testing.B) {
			for b.Loop() {
				s.cache = pki.NewCache()
				s.all(b, count)
			}
		})
		s.cache = pki.NewCache()
		pki.SettledNow(s.cache)
		s.all(b, count)
		b.Run(fmt.Sprintf("warm/%d", count), func(b *testing.B) {
			for b.Loop() {
				s.all(b, count)
			}
			if got := s.cache.Read(); got != count {
				b.Errorf("%d readings of %d files", got, count)
			}
		})
	}
}

func (s shelf) all(b *testing.B, count int) {
	b.Helper()
	list := s.look()
	if len(list) != count || strings.Contains(list[0].Name, s.Root) {
		b.Fatalf("%d certificates, want %d; the first is %s", len(list), count, list[0].Name)
	}
}

// A manifest is parsed once for each content it has: a remembered one is neither what
// was there before nor what cannot be read now, and costs a fraction of parsing it.
func TestRememberedManifests(t *testing.T) {
	n := pkitest.New(t, now)
	cache := pki.NewCache()
	locate := func() (pki.Layout, []error) { return pki.Locate(pki.Options{Root: n.Root, Cache: cache}) }
	locate()
	edit(t, n, apiserver, "--secure-port=6443", "--secure-port=7443")
	for range 2 {
		if l, _ := locate(); !strings.HasSuffix(l.Address("kube-apiserver"), ":7443") {
			t.Errorf("kube-apiserver is at %s, want port 7443", l.Address("kube-apiserver"))
		}
	}
	again := testing.AllocsPerRun(10, func() { locate() })
	anew := testing.AllocsPerRun(10, func() { pki.Locate(pki.Options{Root: n.Root}) })
	if again > anew/2 {
		t.Errorf("%.0f allocations with what was remembered, %.0f without", again, anew)
	}
	n.Write(apiserver, "no: [manifest")
	for range 2 {
		if _, problems := locate(); len(problems) == 0 {
			t.Error("a manifest that cannot be parsed is no problem")
		}
	}
}
