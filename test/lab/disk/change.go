//go:build linux

package disk

import (
	"bytes"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// add makes a new inode with a name.
func (s *server) add(in *fuse.InHeader, name string, o Op) (*node, fuse.Status) {
	dir, n, status := s.child(in.NodeId, name)
	switch {
	case !status.Ok():
		return nil, status
	case n != nil:
		return nil, exists
	case dir.parent == 0 && dir.id != root:
		return nil, fuse.ENOENT // it was removed
	case s.full(blockSize):
		return nil, noSpace
	}
	o.Inode, o.UID, o.GID = s.nextInode(), in.Uid, in.Gid
	if dir.mode&syscall.S_ISGID != 0 {
		o.GID = dir.gid
		if o.Kind == Mkdir {
			o.Mode |= syscall.S_ISGID
		}
	}
	o.dir, o.name, o.Path = dir.id, name, s.within(dir.id, name)
	s.do(o)
	return s.live.nodes[o.Inode], fuse.OK
}

// Create opens a new file. The kernel has looked before, and taken the umask off.
func (s *server) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, status := s.add(&in.InHeader, name, Op{Kind: Create, Mode: syscall.S_IFREG | in.Mode&0o7777})
	if !status.Ok() {
		return status
	}
	n.entry(&out.EntryOut)
	return s.handle(n, &out.OpenOut)
}

func (s *server) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	if in.Mode&syscall.S_IFMT != syscall.S_IFREG {
		return fuse.EPERM
	}
	return s.make(&in.InHeader, name, out, Op{Kind: Create, Mode: in.Mode})
}

func (s *server) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return s.make(&in.InHeader, name, out, Op{Kind: Mkdir, Mode: syscall.S_IFDIR | in.Mode&0o7777})
}

func (s *server) Symlink(_ <-chan struct{}, in *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	return s.make(in, name, out, Op{Kind: Symlink, Mode: syscall.S_IFLNK | 0o777, To: target})
}

func (s *server) make(in *fuse.InHeader, name string, out *fuse.EntryOut, o Op) fuse.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, status := s.add(in, name, o)
	if status.Ok() {
		n.entry(out)
	}
	return status
}

func (s *server) Unlink(_ <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return s.remove(in.NodeId, name, Unlink)
}

func (s *server) Rmdir(_ <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return s.remove(in.NodeId, name, Rmdir)
}

func (s *server) remove(dir uint64, name string, kind Kind) fuse.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, n, status := s.child(dir, name)
	switch {
	case !status.Ok():
		return status
	case n == nil:
		return fuse.ENOENT
	case kind == Unlink && n.entries != nil:
		return fuse.EISDIR
	case kind == Rmdir && n.entries == nil:
		return fuse.ENOTDIR
	case kind == Rmdir && len(n.entries) > 0:
		return fuse.Status(syscall.ENOTEMPTY)
	}
	s.do(Op{Kind: kind, Inode: n.id, dir: dir, name: name})
	return fuse.OK
}

// Rename is never asked to move a directory into itself: the kernel has looked.
func (s *server) Rename(_ <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, n, status := s.child(in.NodeId, oldName)
	if !status.Ok() {
		return status
	}
	dir, there, status := s.child(in.Newdir, newName)
	const noReplace = 1 // RENAME_NOREPLACE
	switch {
	case !status.Ok():
		return status
	case in.Flags&^noReplace != 0:
		return fuse.EINVAL
	case n == nil, dir.parent == 0 && dir.id != root:
		return fuse.ENOENT
	case n == there:
		return fuse.OK
	case there == nil:
	case in.Flags&noReplace != 0:
		return exists
	case n.entries == nil && there.entries != nil:
		return fuse.EISDIR
	case n.entries != nil && there.entries == nil:
		return fuse.ENOTDIR
	case len(there.entries) > 0:
		return fuse.Status(syscall.ENOTEMPTY)
	}
	s.do(Op{Kind: Rename, Inode: n.id, To: s.within(dir.id, newName), dir: in.NodeId, name: oldName, newDir: in.Newdir, newName: newName})
	return fuse.OK
}

func (s *server) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.handles[in.Fh]
	if h == nil {
		return 0, gone
	}
	n := h.node
	end := int64(in.Offset) + int64(len(data))
	if s.full((end - n.blocks()*blockSize + blockSize - 1) / blockSize * blockSize) {
		return 0, noSpace
	}
	// The buffer is used again by go-fuse, the log keeps what it is given.
	s.do(Op{Kind: Write, Inode: n.id, Offset: int64(in.Offset), Data: bytes.Clone(data)})
	return uint32(len(data)), fuse.OK
}

// SetAttr is chmod, chown, truncate and utimens, or several of them at once.
func (s *server) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.live.nodes[in.NodeId]
	if n == nil {
		return gone
	}
	if size, ok := in.GetSize(); ok {
		if n.entries != nil {
			return fuse.EISDIR
		}
		if size > uint64(s.capacity) {
			return noSpace
		}
		s.do(Op{Kind: Truncate, Inode: n.id, Size: int64(size)})
	}
	if mode, ok := in.GetMode(); ok {
		s.do(Op{Kind: Chmod, Inode: n.id, Mode: mode})
	}
	uid, newUID := in.GetUID()
	gid, newGID := in.GetGID()
	if newUID || newGID {
		o := Op{Kind: Chown, Inode: n.id, UID: n.uid, GID: n.gid}
		if newUID {
			o.UID = uid
		}
		if newGID {
			o.GID = gid
		}
		s.do(o)
	}
	if in.Valid&fuse.FATTR_MTIME != 0 && in.Valid&fuse.FATTR_SIZE == 0 {
		o := Op{Kind: Utimens, Inode: n.id, Time: time.Now()}
		if in.Valid&fuse.FATTR_MTIME_NOW == 0 {
			o.Time = at(in.Mtime, in.Mtimensec)
		}
		s.do(o)
	}
	n.fill(&out.Attr)
	return fuse.OK
}
