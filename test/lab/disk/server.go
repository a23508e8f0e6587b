//go:build linux

package disk

import (
	"maps"
	"path"
	"slices"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// server answers the kernel. Nothing is cached but pages of files, which the kernel
// writes through; a node's number is its inode's. What was there before a cut has
// numbers and handles that are not known any more, and gets EIO.
type server struct {
	fuse.RawFileSystem // for what is not supported: ENOSYS
	*Disk
}

const (
	blockSize = 4096
	maxName   = 255
	gone      = fuse.EIO
	exists    = fuse.Status(syscall.EEXIST)
	noSpace   = fuse.Status(syscall.ENOSPC)
)

func (s *server) String() string { return "lossy" }

func (n *node) blocks() int64 { return (int64(len(n.data)) + blockSize - 1) / blockSize }

// fill gives the attributes. A directory has one link, which says that its
// subdirectories cannot be told from it (as btrfs does).
func (n *node) fill(out *fuse.Attr) {
	size := uint64(len(n.data) + len(n.target))
	if n.entries != nil {
		size = blockSize
	}
	*out = fuse.Attr{Ino: n.id, Size: size, Blocks: uint64(n.blocks()) * blockSize / 512, Blksize: blockSize, Mode: n.mode, Nlink: 1,
		Owner: fuse.Owner{Uid: n.uid, Gid: n.gid}}
	if n.parent == 0 && n.id != root {
		out.Nlink = 0
	}
	out.SetTimes(&n.modified, &n.modified, &n.modified)
}

func (n *node) entry(out *fuse.EntryOut) {
	*out = fuse.EntryOut{NodeId: n.id}
	n.fill(&out.Attr)
}

// child finds a name in a directory.
func (s *server) child(dir uint64, name string) (d, child *node, status fuse.Status) {
	d = s.live.nodes[dir]
	switch {
	case d == nil:
		return nil, nil, gone
	case d.entries == nil:
		return d, nil, fuse.ENOTDIR
	case len(name) > maxName:
		return d, nil, fuse.Status(syscall.ENAMETOOLONG)
	}
	return d, s.live.nodes[d.entries[name]], fuse.OK
}

func (s *server) Lookup(_ <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, n, status := s.child(in.NodeId, name)
	if status.Ok() && n == nil {
		status = fuse.ENOENT
	}
	if status.Ok() {
		n.entry(out)
	}
	return status
}

func (s *server) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.live.nodes[in.NodeId]
	if n == nil {
		return gone
	}
	n.fill(&out.Attr)
	return fuse.OK
}

func (s *server) Readlink(_ <-chan struct{}, in *fuse.InHeader) ([]byte, fuse.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.live.nodes[in.NodeId]
	if n == nil {
		return nil, gone
	}
	return []byte(n.target), fuse.OK
}

// handle opens an inode.
func (s *server) handle(n *node, out *fuse.OpenOut) fuse.Status {
	if n == nil {
		return gone
	}
	s.lastHandle++
	s.handles[s.lastHandle] = &handle{node: n}
	*out = fuse.OpenOut{Fh: s.lastHandle}
	return fuse.OK
}

// Open is told of O_TRUNC by a SetAttr of its own.
func (s *server) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.handle(s.live.nodes[in.NodeId], out)
}

func (s *server) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.handle(s.live.nodes[in.NodeId], out)
}

func (s *server) Release(_ <-chan struct{}, in *fuse.ReleaseIn) { s.ReleaseDir(in) }

func (s *server) ReleaseDir(in *fuse.ReleaseIn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.handles, in.Fh)
}

// Flush is not wanted. The kernel asks once and then closes files without asking; one
// that this process has open is closed in the middle of its fork, when nothing else
// of it may be running.
func (s *server) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.ENOSYS }

func (s *server) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.handles[in.Fh]
	if h == nil {
		return nil, gone
	}
	from := min(in.Offset, uint64(len(h.node.data)))
	return fuse.ReadResultData(buf[:copy(buf, h.node.data[from:])]), fuse.OK
}

func (s *server) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.handles[in.Fh]
	if h == nil {
		return gone
	}
	if in.Offset == 0 {
		d := h.node
		h.list = []fuse.DirEntry{{Name: ".", Ino: d.id, Mode: d.mode}, {Name: "..", Ino: max(d.parent, root), Mode: d.mode}}
		for _, name := range slices.Sorted(maps.Keys(d.entries)) {
			h.list = append(h.list, fuse.DirEntry{Name: name, Ino: d.entries[name], Mode: s.live.nodes[d.entries[name]].mode})
		}
	}
	for i := int(in.Offset); i < len(h.list); i++ {
		e := h.list[i]
		e.Off = uint64(i + 1)
		if !out.AddDirEntry(e) {
			break
		}
	}
	return fuse.OK
}

func (s *server) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	free := uint64(max(s.capacity-s.used(), 0)) / blockSize
	*out = fuse.StatfsOut{Bsize: blockSize, Frsize: blockSize, NameLen: maxName, Blocks: uint64(s.capacity) / blockSize,
		Bfree: free, Bavail: free, Files: 1 << 20, Ffree: 1<<20 - uint64(len(s.live.nodes))}
	return fuse.OK
}

// sync logs that an inode was synced.
func (s *server) sync(in *fuse.FsyncIn, kind Kind) fuse.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live.nodes[in.NodeId] == nil {
		return gone
	}
	s.do(Op{Kind: kind, Inode: in.NodeId})
	return fuse.OK
}

func (s *server) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	if in.FsyncFlags&1 != 0 { // FUSE_FSYNC_FDATASYNC
		return s.sync(in, Fdatasync)
	}
	return s.sync(in, Fsync)
}

func (s *server) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return s.sync(in, FsyncDir)
}

// within is the path of a name in a directory.
func (s *server) within(dir uint64, name string) string { return path.Join(s.live.path(dir), name) }

// full says that there is no room for this many bytes more.
func (s *server) full(more int64) bool { return more > 0 && s.used()+more > s.capacity }

var _ fuse.RawFileSystem = (*server)(nil)

// at is a time as the kernel gives it.
func at(seconds uint64, nanoseconds uint32) time.Time {
	return time.Unix(int64(seconds), int64(nanoseconds))
}
