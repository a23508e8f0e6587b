package pki

import (
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"
)

// Cache remembers what watched files held, so that one that has not changed is not
// parsed again. The node's own certificates never pass through it: what validates a
// renewal reads them from disk each time.
//
// A file counts as unchanged while device, inode, size and both of its times are the
// same. Times are coarse: a file that is written twice within one tick has the same
// ones, so that what was read within settled of a change is not believed the next time.
// Git has the same rule for its index (git: Documentation/technical/racy-git.adoc).
type Cache struct {
	mu        sync.Mutex
	files     map[string]remembered
	manifests map[string]parsed // by name of the file
	kubelet   parsedKubelet
	// read counts the files that were read, and not remembered.
	read int
	// now is the clock by which the kernel dates files, and no other.
	now func() time.Time
}

// settled is how much older than its reading the change of a file must be: more than
// the coarsest time stamps that are still met, the two seconds of FAT.
const settled = 3 * time.Second

// NewCache makes an empty cache.
func NewCache() *Cache {
	return &Cache{files: map[string]remembered{}, manifests: map[string]parsed{}, now: time.Now}
}

// Read is how many files were read since the cache was made, each reading counted.
func (c *Cache) Read() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read
}

// stamp tells two states of a file apart.
type stamp struct {
	watchedID
	size int64
	// Times in nanoseconds. The change of the inode cannot be set by anybody, as that of
	// the content can.
	modified, changed int64
}

type remembered struct {
	stamp
	found *found
	used  bool // in this look
}

func stampOf(info fs.FileInfo) (stamp, bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return stamp{}, false
	}
	return stamp{watchedID{s.Dev, s.Ino}, s.Size, s.Mtim.Nano(), s.Ctim.Nano()}, true
}

// file is what a file of the node holds, from memory if it is the same as when it was
// last read, and which file that is. place is where it lies on this host. An error is
// never remembered.
func (c *Cache) file(name, place string) (*found, watchedID, error) {
	info, err := os.Stat(place)
	if err != nil {
		return nil, watchedID{}, unwrapPath(err)
	}
	now, ok := stampOf(info)
	c.mu.Lock()
	known, here := c.files[name]
	if here && ok && known.stamp == now {
		known.used = true
		c.files[name] = known
		c.mu.Unlock()
		return known.found, now.watchedID, nil
	}
	c.read++
	c.mu.Unlock()

	began := c.now()
	content, info, err := ReadFile(place)
	if err != nil {
		return nil, now.watchedID, err
	}
	f := examine(content, name)
	f.changed = info.ModTime().UTC()
	if now, ok = stampOf(info); ok && max(now.modified, now.changed) < began.Add(-settled).UnixNano() {
		c.mu.Lock()
		c.files[name] = remembered{now, f, true}
		c.mu.Unlock()
	}
	return f, now.watchedID, nil
}

// parsed is a manifest and the content that it was parsed from.
type parsed struct {
	content  string
	manifest Manifest
}

// manyManifests is when those of files long gone are forgotten.
const manyManifests = 100

// manifest is what parseManifest says. Manifests are read several times in a look, and
// to parse them is the largest part of a look at a node of its own; they are small enough
// for their contents to be compared.
func (c *Cache) manifest(name string, content []byte) (Manifest, error) {
	if c == nil {
		return parseManifest(content)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, here := c.manifests[name]; here && known.content == string(content) {
		return known.manifest, nil
	}
	m, err := parseManifest(content)
	if err != nil {
		return m, err
	}
	if len(c.manifests) >= manyManifests {
		clear(c.manifests)
	}
	c.manifests[name] = parsed{string(content), m}
	return m, nil
}

// parsedKubelet is the kubelet's configuration and the content that it was parsed from.
type parsedKubelet struct {
	content string
	config  kubeletConfig
}

// kubeletConfig is what parseKubeletConfig says; it is read as often as the manifests.
func (c *Cache) kubeletConfig(content []byte) (kubeletConfig, error) {
	if c == nil {
		return parseKubeletConfig(content)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kubelet.content == string(content) {
		return c.kubelet.config, nil
	}
	config, err := parseKubeletConfig(content)
	if err == nil {
		c.kubelet = parsedKubelet{string(content), config}
	}
	return config, err
}

// forget drops what was not asked for since it was last called: files that are gone, or
// no longer watched.
func (c *Cache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, r := range c.files {
		if !r.used {
			delete(c.files, name)
			continue
		}
		r.used = false
		c.files[name] = r
	}
}
