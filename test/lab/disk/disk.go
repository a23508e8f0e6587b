//go:build linux

package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Disk is a mounted file system. It can be the target of bind mounts, and a whole node
// can live on it: what it was given is there when a system call returns, as on any
// other.
type Disk struct {
	// Dir is where it is mounted.
	Dir string

	server *fuse.Server

	mu      sync.Mutex
	live    *tree
	log     Log
	handles map[uint64]*handle
	// lastInode and lastHandle are never used again, also after a cut.
	lastInode, lastHandle uint64
	capacity              int64 // bytes
}

// handle is an open file or directory.
type handle struct {
	node *node
	// list is what a directory held when it was read from its beginning.
	list []fuse.DirEntry
}

// ErrUnsupported says why this machine cannot mount a Disk.
var ErrUnsupported = errors.New("a file system of the test's own needs root and /dev/fuse")

// maxIO is the most that is read or written at once, in bytes.
const maxIO = 128 << 10

// Mount mounts an empty file system on a directory, with the owner and mode of that.
// What a process that was killed has left mounted there is taken away first. The error
// is ErrUnsupported where there cannot be one; a test is skipped then.
func Mount(dir string) (*Disk, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: not root", ErrUnsupported)
	}
	if _, err := os.Lstat(dir); errors.Is(err, unix.ENOTCONN) {
		_ = unix.Unmount(dir, unix.MNT_DETACH)
	}
	var at unix.Stat_t
	if err := unix.Stat(dir, &at); err != nil {
		return nil, &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	// Opened and mounted here and not by go-fuse, which would let every program that
	// the test starts inherit the descriptor: the file system would then outlive the
	// test, and whoever looks at it would hang.
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: open /dev/fuse: %w", ErrUnsupported, err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=%o,user_id=0,group_id=0,max_read=%d,allow_other,default_permissions", fd, unix.S_IFDIR, maxIO)
	if err := unix.Mount("lossy", dir, "fuse.lossy", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: mount %s: %w", ErrUnsupported, dir, err), unix.Close(fd))
	}
	now := time.Now()
	d := &Disk{Dir: dir, live: newTree(at.Mode&0o7777, at.Uid, at.Gid, now), handles: map[uint64]*handle{},
		lastInode: root, capacity: 1 << 30}
	d.log.base = d.live.clone()
	d.server, err = fuse.NewServer(&server{RawFileSystem: fuse.NewDefaultRawFileSystem(), Disk: d}, fmt.Sprintf("/dev/fd/%d", fd),
		&fuse.MountOptions{Name: "lossy", MaxWrite: maxIO, DisableXAttrs: true, DisableReadDirPlus: true})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("serve %s: %w", dir, err), unix.Unmount(dir, unix.MNT_DETACH))
	}
	go d.server.Serve() // ends with the mount, see Close
	if err := d.refusePoll(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// refusePoll lets go-fuse tell the kernel once that files cannot be polled. Otherwise
// the Go runtime polls those that this process opens, with the thread that would have
// to answer (go-fuse: fuse/poll.go).
func (d *Disk) refusePoll() error {
	fd, err := unix.Open(filepath.Join(d.Dir, ".go-fuse-epoll-hack"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("first look at %s: %w", d.Dir, err)
	}
	_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return errors.Join(err, unix.Close(fd))
}

// Close unmounts it. What still uses it gets errors from then on.
func (d *Disk) Close() error {
	var err error
	for range 20 {
		if err = unix.Unmount(d.Dir, 0); err == nil {
			d.server.Wait()
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	d.unplug()
	return errors.Join(fmt.Errorf("unmount %s: %w: something still uses it", d.Dir, err), unix.Unmount(d.Dir, unix.MNT_DETACH))
}

// Sync makes everything so far durable, as sync(2) does, and begins the log anew. The
// kernel does not pass sync(2) on to a file system of this kind.
func (d *Disk) Sync() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log = Log{base: d.live.clone()}
}

// Log is what was done since the mount, or since the last Sync or Cut.
func (d *Disk) Log() Log {
	d.mu.Lock()
	defer d.mu.Unlock()
	return Log{Ops: slices.Clone(d.log.Ops), base: d.log.base.clone()}
}

// Cut cuts the power: what was not synced is lost, as loss says, and what is left is
// what the mount shows from then on. Files and directories that are open, or that
// were bound elsewhere, answer EIO; so the node that uses them should be off before.
func (d *Disk) Cut(loss Loss) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live = d.log.after(len(d.log.Ops), loss).reachable(d.nextInode)
	d.log = Log{base: d.live.clone()}
	clear(d.handles)
}

// Load makes the disk what it was when the first n operations of the log had been done,
// by a kernel that still runs: what had not been synced then is still not. What was
// there before is gone.
func (d *Disk) Load(log Log, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log = Log{Ops: slices.Clone(log.Ops[:n]), base: log.base.clone()}
	d.live = d.log.after(n, KeepAll)
	for id := range d.live.nodes {
		d.lastInode = max(d.lastInode, id)
	}
	clear(d.handles)
}

// unplug makes everything answer EIO.
func (d *Disk) unplug() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live = newTree(0, 0, 0, time.Now())
	clear(d.handles)
}

// Limit makes the file system as small as this, in bytes. What does not fit is refused
// with ENOSPC. It has room for 1 GiB otherwise.
func (d *Disk) Limit(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.capacity = bytes
}

// Used is how many bytes of it are taken, in whole blocks.
func (d *Disk) Used() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.used()
}

func (d *Disk) used() int64 {
	var blocks int64
	for _, n := range d.live.nodes {
		if n.parent != 0 || n.id == root {
			blocks += 1 + n.blocks()
		}
	}
	return blocks * blockSize
}

func (d *Disk) nextInode() uint64 {
	d.lastInode++
	return d.lastInode
}

// do logs an operation and carries it out.
func (d *Disk) do(o Op) {
	if o.Path == "" {
		o.Path = d.live.path(o.Inode)
	}
	if o.Time.IsZero() {
		o.Time = time.Now()
	}
	d.log.Ops = append(d.log.Ops, o)
	d.live.apply(o)
}
