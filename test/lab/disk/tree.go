package disk

import (
	"path"
	"syscall"
	"time"
)

// root is the inode of the file system's root; FUSE fixes the number.
const root uint64 = 1

// tree is a file system at rest: inodes, and the names in the directories among them.
type tree struct{ nodes map[uint64]*node }

// node is one inode. It has one name at most: there are no hard links.
type node struct {
	id       uint64
	mode     uint32 // with the type, as in stat(2)
	uid, gid uint32
	modified time.Time
	data     []byte            // of a file
	shared   bool              // data belongs to another tree too, and is copied before it is written to
	target   string            // of a symbolic link
	entries  map[string]uint64 // of a directory

	// Where it hangs; no parent when it was removed.
	parent uint64
	name   string
}

func newTree(mode, uid, gid uint32, now time.Time) *tree {
	return &tree{nodes: map[uint64]*node{root: {
		id: root, mode: syscall.S_IFDIR | mode, uid: uid, gid: gid, modified: now, entries: map[string]uint64{},
	}}}
}

func (n *node) is(kind uint32) bool { return n.mode&syscall.S_IFMT == kind }

// clone is a copy that can be changed alone. The data of files is shared until it is
// written to.
func (t *tree) clone() *tree {
	c := &tree{nodes: make(map[uint64]*node, len(t.nodes))}
	for id, n := range t.nodes {
		twin := *n
		n.shared, twin.shared = true, true
		if n.entries != nil {
			twin.entries = make(map[string]uint64, len(n.entries))
			for name, child := range n.entries {
				twin.entries[name] = child
			}
		}
		c.nodes[id] = &twin
	}
	return c
}

// apply carries an operation out, whole.
func (t *tree) apply(o Op) {
	switch {
	case o.birth():
		t.bear(o)
		t.enter(o)
	case o.entry():
		t.enter(o)
	case o.data():
		t.change(o)
	case o.attribute():
		t.attribute(o)
	}
}

// bear makes a new inode, which has no name yet.
func (t *tree) bear(o Op) {
	n := &node{id: o.Inode, uid: o.UID, gid: o.GID, mode: o.Mode, modified: o.Time, target: o.To}
	if o.Kind == Mkdir {
		n.entries = map[string]uint64{}
	}
	t.nodes[o.Inode] = n
}

// enter changes names. It does as much as can be done: in what a cut leaves, an
// operation before this one may be missing.
func (t *tree) enter(o Op) {
	switch o.Kind {
	case Unlink, Rmdir:
		t.remove(o.dir, o.name, o.Inode, o.Time)
	case Rename:
		t.remove(o.dir, o.name, o.Inode, o.Time)
		t.set(o.newDir, o.newName, o.Inode, o.Time)
	default:
		t.set(o.dir, o.name, o.Inode, o.Time)
	}
}

func (t *tree) set(dir uint64, name string, id uint64, now time.Time) {
	d := t.nodes[dir]
	if d == nil || t.nodes[id] == nil {
		return
	}
	if old, ok := d.entries[name]; ok && old != id {
		t.nodes[old].parent, t.nodes[old].name = 0, ""
	}
	d.entries[name], d.modified = id, now
	t.nodes[id].parent, t.nodes[id].name = dir, name
}

func (t *tree) remove(dir uint64, name string, id uint64, now time.Time) {
	d := t.nodes[dir]
	if d == nil || d.entries[name] != id {
		return
	}
	delete(d.entries, name)
	d.modified = now
	t.nodes[id].parent, t.nodes[id].name = 0, ""
}

// change does a write or a truncation.
func (t *tree) change(o Op) {
	n := t.nodes[o.Inode]
	if n == nil {
		return
	}
	n.modified = o.Time
	if o.Kind == Truncate {
		n.resize(o.Size)
		return
	}
	n.resize(max(int64(len(n.data)), o.Offset+int64(len(o.Data))))
	copy(n.data[o.Offset:], o.Data)
}

// resize gives the file another size, and makes its data its own.
func (n *node) resize(size int64) {
	if n.shared || size > int64(cap(n.data)) {
		// Half as much again, so that a file that is appended to is not copied each time.
		own := make([]byte, size, size+size/2)
		copy(own, n.data)
		n.data, n.shared = own, false
		return
	}
	was := int64(len(n.data))
	n.data = n.data[:size]
	if size > was {
		clear(n.data[was:])
	}
}

func (t *tree) attribute(o Op) {
	n := t.nodes[o.Inode]
	if n == nil {
		return
	}
	switch o.Kind {
	case Chmod:
		n.mode = n.mode&syscall.S_IFMT | o.Mode&^syscall.S_IFMT
	case Chown:
		n.uid, n.gid = o.UID, o.GID
	case Utimens:
		n.modified = o.Time
	}
}

// path is where an inode hangs, for people.
func (t *tree) path(id uint64) string {
	if id == root {
		return "/"
	}
	n := t.nodes[id]
	if n == nil || n.parent == 0 {
		return "(removed)"
	}
	return path.Join(t.path(n.parent), n.name)
}

// reachable is the tree without inodes that have no name, which a check of the file
// system would throw away. Each inode but the root gets another number, so that
// whoever knows it by the old one is told that it is gone. next gives the numbers.
func (t *tree) reachable(next func() uint64) *tree {
	c := &tree{nodes: map[uint64]*node{}}
	var walk func(old, id, parent uint64, name string)
	walk = func(old, id, parent uint64, name string) {
		n := *t.nodes[old]
		t.nodes[old].shared = true
		n.id, n.parent, n.name, n.shared = id, parent, name, true
		c.nodes[id] = &n
		if n.entries == nil {
			return
		}
		n.entries = map[string]uint64{}
		for name, child := range t.nodes[old].entries {
			n.entries[name] = next()
			walk(child, n.entries[name], id, name)
		}
	}
	walk(root, root, 0, "")
	return c
}
