package pki

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// deepest is how many directories deep is looked, and mostWatched how many entries of
	// directories are: more than anybody keeps certificates in, and less than hurts.
	deepest     = 16
	mostWatched = 100_000
)

// Watch is what the configuration names besides the node's own files, as it was found.
type Watch struct {
	// Directories are those in which a change shows, as paths under the root.
	Directories []string
	layout      Layout
	files       []watchedFile
	named       []string      // directories that the configuration names
	wrong       []Certificate // what could not be looked for
}

// watchedFile is a file to be read. One that the configuration names itself must be a
// certificate; what is found in a directory need not be.
type watchedFile struct {
	path  string
	named bool
	in    string // the directory that is named
}

// watchedID tells files apart whatever they are called.
type watchedID struct{ device, inode uint64 }

// walk is the search for watched files.
type walk struct {
	*Watch
	in      string // the directory that is named
	paths   map[string]bool
	visited map[watchedID]bool // directories
	watched map[string]bool    // Directories
	entries int
}

// FindWatched looks for the files that the configuration names, without reading one.
// It takes as long as the file systems that they lie on.
func (l Layout) FindWatched() Watch {
	found := Watch{layout: l}
	w := walk{Watch: &found, paths: map[string]bool{}, visited: map[watchedID]bool{}, watched: map[string]bool{}}
	for _, entry := range l.watch {
		if strings.ContainsAny(entry, `*?[\`) {
			w.pattern(entry)
		} else {
			w.entry(path.Clean(entry), true)
		}
	}
	return found
}

// pattern adds what matches.
func (w *walk) pattern(pattern string) {
	fixed := pattern[:strings.IndexAny(pattern, `*?[\`)]
	w.changesIn(w.layout.follow(path.Dir(fixed + "x")))
	matches, err := filepath.Glob(w.layout.host(pattern))
	if err == nil && len(matches) == 0 {
		err = fmt.Errorf("no file matches it: %w", fs.ErrNotExist)
	}
	if err != nil {
		w.fail(pattern, err)
		return
	}
	for _, match := range matches {
		w.entry("/"+strings.TrimLeft(strings.TrimPrefix(match, w.layout.Root), "/"), false)
	}
}

// entry adds a file, or what is in a directory.
func (w *walk) entry(name string, named bool) {
	info, err := os.Stat(w.layout.follow(name))
	if err != nil || !info.IsDir() {
		w.changesIn(w.layout.follow(path.Dir(name)))
		w.changesIn(path.Dir(w.layout.Resolve(name)))
	}
	switch {
	case err != nil:
		w.fail(name, unwrapPath(err))
	case info.IsDir():
		if named {
			w.named, w.in = append(w.named, name), name
		}
		w.directory(name, info, 1)
		w.in = ""
	default:
		w.add(name, named)
	}
}

func (w *walk) add(name string, named bool) {
	if !w.paths[name] {
		w.paths[name] = true
		w.files = append(w.files, watchedFile{name, named, w.in})
		return
	}
	if named {
		for i := range w.files {
			w.files[i].named = w.files[i].named || w.files[i].path == name
		}
	}
}

// directory adds what looks like a certificate or a kubeconfig, here and below.
func (w *walk) directory(name string, info fs.FileInfo, depth int) {
	if id, ok := idOf(info); ok {
		if w.visited[id] {
			return // a loop of links, or named twice
		}
		w.visited[id] = true
	}
	if depth > deepest {
		w.fail(name, fmt.Errorf("it lies more than %d directories deep and is not looked into: name it in watch.files", deepest))
		return
	}
	if w.entries > mostWatched {
		return // said already
	}
	w.changesIn(w.layout.follow(name))
	entries, err := w.list(w.layout.follow(name))
	if err != nil {
		w.fail(name, err)
		return
	}
	for _, e := range entries {
		full := path.Join(name, e.Name())
		kind := e.Type()
		var info fs.FileInfo
		if kind&fs.ModeSymlink != 0 || kind.IsDir() {
			if info, err = os.Stat(w.layout.follow(full)); err != nil {
				continue // a link to nowhere, or gone since
			}
			kind = info.Mode().Type()
		}
		switch {
		case kind.IsDir():
			// What kubelet and kubectl swap in (..data) is behind links beside it.
			if !strings.HasPrefix(e.Name(), "..") {
				w.directory(full, info, depth+1)
			}
		case kind.IsRegular() && promising(e.Name()):
			w.add(full, false)
			if info != nil { // of what a link points at
				w.changesIn(path.Dir(w.layout.Resolve(full)))
			}
		}
	}
}

// list reads a directory, in the order of names, and stops at what nobody meant.
func (w *walk) list(place string) ([]fs.DirEntry, error) {
	d, err := os.Open(place)
	if err != nil {
		return nil, unwrapPath(err)
	}
	defer func() { _ = d.Close() }()
	var all []fs.DirEntry
	for {
		entries, err := d.ReadDir(1024)
		all = append(all, entries...)
		if w.entries += len(entries); w.entries > mostWatched {
			return nil, fmt.Errorf("there are more than %d files in what watch.files names: name the directories with certificates alone", mostWatched)
		}
		if errors.Is(err, io.EOF) {
			slices.SortFunc(all, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
			return all, nil
		}
		if err != nil {
			return nil, unwrapPath(err)
		}
	}
}

// promising says whether a file of a directory may be a certificate or a kubeconfig, by
// its name: reading all of /etc would cost more than it tells.
func promising(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".crt", ".pem", ".cer", ".cert", ".conf", ".kubeconfig":
		return true
	}
	return name == "config" || name == "kubeconfig" // ~/.kube/config
}

// changesIn adds a directory, as a path under the root, to those in which a change shows.
func (w *walk) changesIn(place string) {
	if !w.watched[place] {
		w.watched[place] = true
		w.Directories = append(w.Directories, place)
	}
}

// fail shows what could not be looked for as a certificate, so that it is alarmed.
func (w *walk) fail(name string, err error) {
	c := Certificate{Name: name, Path: name, Kind: PEM, Renewer: Nobody, Watched: true}
	if errors.Is(err, fs.ErrNotExist) {
		c.State, c.Reason = Missing, strings.TrimSuffix(err.Error(), ": "+fs.ErrNotExist.Error())
		if c.Reason == err.Error() {
			c.Reason = "there is no such file"
		}
	} else {
		c = c.invalid("it cannot be looked into: %s", err)
	}
	w.wrong = append(w.wrong, c)
}

// Read reads the files that were found, and shows those of them that are certificates.
// A file is read anew only if it has changed, as far as there is a cache.
func (w Watch) Read(now time.Time) []Certificate {
	cache := w.layout.cache
	if cache == nil {
		cache = NewCache()
	}
	// The node's own have names of their own; a file with two names is one certificate.
	seen := w.layout.ownFiles()
	list := make([]Certificate, 0, len(w.files)+len(w.wrong))
	filled := map[string]bool{} // named directories
	for _, file := range w.files {
		more, holds := file.read(w.layout, cache, seen, now)
		list = append(list, more...)
		filled[file.in] = filled[file.in] || holds
	}
	cache.forget()
	list = append(list, w.wrong...)
	for _, dir := range w.named {
		if !filled[dir] && len(w.wrong) == 0 {
			list = append(list, Certificate{Name: dir, Path: dir, Kind: PEM, Renewer: Nobody, Watched: true,
				State: Missing, Reason: "there is no certificate in this directory"})
		}
	}
	return list
}

// read is one file as certificates, none when it holds none and need not; holds says
// that there is one, which may be shown under another name.
func (file watchedFile) read(l Layout, cache *Cache, seen map[watchedID]whose, now time.Time) (list []Certificate, holds bool) {
	f, id, err := cache.file(file.path, l.follow(file.path))
	if shown, here := seen[id]; err == nil && here && (shown == own || !file.named) {
		return nil, true
	}
	if err == nil {
		seen[id] = other
	}
	c := Certificate{Name: file.path, Path: file.path, Kind: PEM, Renewer: Nobody, Watched: true}
	switch {
	case errors.Is(err, fs.ErrNotExist) && !file.named, errors.Is(err, errNoFile) && !file.named:
		return nil, false // gone since it was found
	case errors.Is(err, fs.ErrNotExist):
		c.State, c.Reason = Missing, "there is no such file"
		return []Certificate{c}, true
	case err != nil:
		return []Certificate{c.invalid("it cannot be read: %s", err)}, true
	case f.certificatePath != "":
		return file.behind(l, cache, f, now), true
	case f.nothing != "" && file.named:
		return []Certificate{c.invalid("%s", f.nothing)}, true
	case f.nothing != "":
		return nil, false
	}
	return f.certificatesAt(file.path, now), true
}

// behind is a kubeconfig whose certificate lies in another file.
func (file watchedFile) behind(l Layout, cache *Cache, f *found, now time.Time) []Certificate {
	c := Certificate{}
	c.watch(file.path, f)
	named, _, err := cache.file(f.certificatePath, l.follow(f.certificatePath))
	switch {
	case err != nil:
		return []Certificate{c.invalid("it names %s, which cannot be read: %s", f.certificatePath, err)}
	case named.nothing+named.problem != "" || len(named.certificates) == 0:
		return []Certificate{c.invalid("it names %s, which %s", f.certificatePath, named.nothing+named.problem)}
	}
	c = named.certificatesAt(file.path, now)[0]
	c.Kind, c.Server, c.User, c.Changed = Kubeconfig, f.server, f.user, named.changed
	return []Certificate{c}
}

// whose says whether a file is one of the node's own.
type whose bool

const (
	own   whose = true
	other whose = false
)

// ownFiles are the node's own certificates and keys.
func (l Layout) ownFiles() map[watchedID]whose {
	files := map[watchedID]whose{}
	for _, s := range l.sources {
		for _, name := range []string{s.path, s.key} {
			if name == "" {
				continue
			}
			if info, err := os.Stat(l.follow(name)); err == nil {
				if id, ok := idOf(info); ok {
					files[id] = own
				}
			}
		}
	}
	return files
}

func idOf(info fs.FileInfo) (watchedID, bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return watchedID{}, false
	}
	return watchedID{s.Dev, s.Ino}, true
}
