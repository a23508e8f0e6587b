package disk

import (
	"fmt"
	"time"
)

// Kind is what an operation does.
type Kind string

// The operations that are logged. Those that change nothing are not.
const (
	Create   Kind = "create"
	Mkdir    Kind = "mkdir"
	Symlink  Kind = "symlink"
	Rename   Kind = "rename"
	Unlink   Kind = "unlink"
	Rmdir    Kind = "rmdir"
	Write    Kind = "write"
	Truncate Kind = "truncate"
	Chmod    Kind = "chmod"
	Chown    Kind = "chown"
	Utimens  Kind = "utimens"
	// Fsync is of a file; with its attributes, which Fdatasync leaves out.
	Fsync     Kind = "fsync"
	Fdatasync Kind = "fdatasync"
	FsyncDir  Kind = "fsyncdir"
)

// Op is one operation, as the kernel asked for it.
type Op struct {
	Kind Kind
	// Path is what it was done to, from the root of the file system, as it was called
	// then; the old name of a rename.
	Path string
	// To is the new path of a rename, or what a symbolic link points at.
	To string
	// Inode is the file or directory itself.
	Inode uint64
	// Offset and Data are a write's.
	Offset int64
	Data   []byte
	// Size is what a file is truncated to, in bytes.
	Size int64
	// Mode, UID and GID are those of a new inode, or what they are changed to.
	Mode, UID, GID uint32
	// Time is when; for Utimens, the new time of modification.
	Time time.Time

	// The names that it changes.
	dir, newDir   uint64
	name, newName string
}

// String is for people: the names of failed tests say where the power was cut.
func (o Op) String() string {
	switch o.Kind {
	case Write:
		return fmt.Sprintf("write %d bytes at %d of %s", len(o.Data), o.Offset, o.Path)
	case Truncate:
		return fmt.Sprintf("truncate %s to %d", o.Path, o.Size)
	case Rename, Symlink:
		return fmt.Sprintf("%s %s to %s", o.Kind, o.Path, o.To)
	case Chmod:
		return fmt.Sprintf("chmod %s %o", o.Path, o.Mode)
	default:
		return string(o.Kind) + " " + o.Path
	}
}

// entry says that it changes names in directories.
func (o Op) entry() bool {
	switch o.Kind {
	case Create, Mkdir, Symlink, Rename, Unlink, Rmdir:
		return true
	}
	return false
}

// birth says that it makes an inode.
func (o Op) birth() bool { return o.Kind == Create || o.Kind == Mkdir || o.Kind == Symlink }

// data says that it changes what is in a file.
func (o Op) data() bool { return o.Kind == Write || o.Kind == Truncate }

// attribute says that it changes owner, mode or time.
func (o Op) attribute() bool { return o.Kind == Chmod || o.Kind == Chown || o.Kind == Utimens }

// place is one name in one directory.
type place struct {
	dir  uint64
	name string
}

// places are the names that it changes.
func (o Op) places() []place {
	if o.Kind == Rename {
		return []place{{o.dir, o.name}, {o.newDir, o.newName}}
	}
	return []place{{o.dir, o.name}}
}
