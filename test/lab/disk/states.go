package disk

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// State is what one power cut leaves.
type State struct {
	// Prefix is how many operations of the log had been done.
	Prefix int
	// Last is the last of these, for people.
	Last string
	Loss Loss

	tree *tree
}

// Name says where the power was cut and what was lost.
func (s State) Name() string { return fmt.Sprintf("%04d after %s, %s", s.Prefix, s.Last, s.Loss) }

// States are what is left when the power is cut after each operation, from the given
// number of operations on to all of them, with each of the losses.
func (l Log) States(from int, losses ...Loss) iter.Seq[State] {
	return func(yield func(State) bool) {
		for n := from; n <= len(l.Ops); n++ {
			for _, loss := range losses {
				if !yield(l.State(n, loss)) {
					return
				}
			}
		}
	}
}

// State is what is left when the power is cut after the first n operations.
func (l Log) State(n int, loss Loss) State {
	s := State{Prefix: n, Last: "nothing", Loss: loss, tree: l.after(n, loss)}
	if n > 0 {
		s.Last = l.Ops[n-1].String()
	}
	return s
}

// Sum is equal for states that are equal but for the times of directories, so that
// each has to be tried only once.
func (s State) Sum() [sha256.Size]byte {
	h := sha256.New()
	number := func(n uint64) {
		_ = binary.Write(h, binary.LittleEndian, n) // a hash takes everything
	}
	_ = s.tree.walk("", root, func(path string, n *node) error {
		number(uint64(len(path)))
		_, _ = io.WriteString(h, path)
		number(uint64(n.mode)<<32 | uint64(len(n.target)))
		number(uint64(n.uid)<<32 | uint64(n.gid))
		_, _ = io.WriteString(h, n.target)
		if n.entries == nil {
			number(uint64(n.modified.UnixNano()))
			number(uint64(len(n.data)))
			_, _ = h.Write(n.data)
		}
		return nil
	})
	return [sha256.Size]byte(h.Sum(nil))
}

// Write makes an ordinary directory hold the state. The directory is made if it is
// missing, and should be empty otherwise.
func (s State) Write(dir string) error {
	var after []func() error
	err := s.tree.walk("", root, func(path string, n *node) error {
		to := filepath.Join(dir, path)
		var err error
		switch {
		case n.is(syscall.S_IFLNK):
			if err := os.Symlink(n.target, to); err != nil {
				return err
			}
			return os.Lchown(to, int(n.uid), int(n.gid))
		case n.entries != nil:
			if err = os.Mkdir(to, 0o700); path == "" && os.IsExist(err) {
				err = nil
			}
		default:
			err = os.WriteFile(to, n.data, 0o600)
		}
		if err != nil {
			return err
		}
		// Directories last, the innermost first: what is made in one changes its time.
		after = append(after, func() error {
			if err := os.Lchown(to, int(n.uid), int(n.gid)); err != nil {
				return err
			}
			if err := syscall.Chmod(to, n.mode&^syscall.S_IFMT); err != nil {
				return &os.PathError{Op: "chmod", Path: to, Err: err}
			}
			return os.Chtimes(to, n.modified, n.modified)
		})
		return nil
	})
	if err != nil {
		return err
	}
	for _, last := range slices.Backward(after) {
		if err := last(); err != nil {
			return err
		}
	}
	return nil
}

// walk visits each inode that has a name, sorted, a directory before what is in it.
func (t *tree) walk(path string, id uint64, visit func(path string, n *node) error) error {
	n := t.nodes[id]
	if err := visit(path, n); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(n.entries)) {
		if err := t.walk(filepath.Join(path, name), n.entries[name], visit); err != nil {
			return err
		}
	}
	return nil
}
