package renew

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Host is where to look for what else is at work on this machine. Its zero value is
// the machine itself.
type Host struct {
	Proc string // where procfs is mounted; "" is /proc
	Root string // before the paths of package databases; "" is /
}

// Busy is something else at work that no run may meet halfway.
type Busy struct {
	What string `json:"what"`          // one of the names below
	PID  string `json:"pid,omitempty"` // of the process, as this process sees it
	// Detail is a sentence. It never holds a whole command line, because those of
	// kubeadm join and of package managers carry tokens and passwords.
	Detail string `json:"detail"`
}

// What a Busy can be about.
const (
	BusyKubeadm = "kubeadm" // it writes certificates and manifests, or takes the node apart
	BusyDpkg    = "dpkg"
	BusyRpm     = "rpm"
	BusyUnknown = "unknown" // it could not be told: closed rather than open
)

// Busy says what else is at work: kubeadm, or the package manager. It takes a few
// milliseconds and no lock of anybody's.
func (h Host) Busy() []Busy {
	return append(h.kubeadms(), h.packages()...)
}

// kubeadms are the kubeadm of others that change this node. Our own are children of
// this process, and those of other process namespaces are of other nodes (kind, a
// nested control plane).
func (h Host) kubeadms() []Busy {
	entries, err := os.ReadDir(h.proc())
	if err != nil {
		return []Busy{{What: BusyUnknown, Detail: "whether kubeadm is at work cannot be told: " + err.Error()}}
	}
	var found []Busy
	for _, e := range entries {
		pid := e.Name()
		if pid[0] < '0' || pid[0] > '9' || !kubeadmName.MatchString(h.comm(pid)) {
			continue // most processes cost one small file
		}
		cmdline, err := os.ReadFile(h.proc(pid, "cmdline"))
		if err != nil {
			continue // it has ended
		}
		words := kubeadmWords(strings.Split(strings.TrimRight(string(cmdline), "\x00"), "\x00"))
		if words == "" || h.ended(pid) || h.elsewhere(pid) || h.ours(pid) {
			continue
		}
		found = append(found, Busy{BusyKubeadm, pid, fmt.Sprintf("%s is running (process %s)", words, pid)})
	}
	return found
}

// kubeadmName is kubeadm as the kernel names the process: the program's or the
// script's base name, also with a version in it (kubeadm-1.36).
var kubeadmName = regexp.MustCompile(`^kubeadm([-_.]?v?\d[\w.+-]*)?$`)

// kubeadmCommands are the first words that kubeadm knows; true for those that change
// the node. Of certs only renew does: the others look, or write elsewhere.
var kubeadmCommands = map[string]bool{"init": true, "join": true, "upgrade": true, "reset": true, "certs": false,
	"config": false, "token": false, "version": false, "kubeconfig": false, "completion": false, "help": false}

// kubeadmWords is the command of a kubeadm that changes the node, without its flags
// and their values: "kubeadm upgrade apply v1.36.3". It is "" for one that does not.
func kubeadmWords(argv []string) string {
	// `/bin/sh /opt/kubeadm init`: a script comes after its interpreter.
	for i, arg := range argv {
		if kubeadmName.MatchString(filepath.Base(arg)) {
			argv = argv[i:]
			break
		}
	}
	for i, arg := range argv[1:] {
		changes, known := kubeadmCommands[arg]
		if !known {
			continue // a flag or its value, which may precede; "alpha" of old versions
		}
		words := argv[1+i:]
		if !changes && (arg != "certs" || !slices.Contains(words, "renew")) {
			return ""
		}
		if flag := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "-") }); flag >= 0 {
			words = words[:flag]
		}
		return "kubeadm " + strings.Join(words[:min(len(words), 3)], " ")
	}
	return ""
}

// ended says that a process is dead and only waits to be asked how it ended. One
// that is frozen (SIGSTOP, a debugger, the freezer) may go on at any time.
func (h Host) ended(pid string) bool {
	state := h.status(pid, "State")
	return state == "" || state[0] == 'Z' || state[0] == 'X'
}

// elsewhere says that a process lives in a process namespace below ours: it then has
// an id there, too. The link /proc/PID/ns/pid would say the same, but reading it of a
// process with more capabilities than ours needs CAP_SYS_PTRACE, which the daemon
// does not have (kernel: __ptrace_may_access). Kernels before 4.1 do not tell.
func (h Host) elsewhere(pid string) bool {
	return len(strings.Fields(h.status(pid, "NSpid"))) > 1
}

// ours says that a process descends from this one.
func (h Host) ours(pid string) bool {
	self := strconv.Itoa(os.Getpid())
	for range 64 { // of a chain that changes while it is read
		if pid == self {
			return true
		}
		if pid = h.status(pid, "PPid"); pid == "" || pid == "0" {
			return false
		}
	}
	return false
}

// packages says whether dpkg or rpm is at work, by the lock of its database. Which
// packages it replaces cannot be told from outside, and it is short: so any work
// counts as if it replaced kubeadm, the kubelet or us.
func (h Host) packages() []Busy {
	var found []Busy
	front, err1 := h.locked("/var/lib/dpkg/lock-frontend")
	inner, err2 := h.locked("/var/lib/dpkg/lock")
	if err := errors.Join(err1, err2); err != nil {
		found = append(found, Busy{What: BusyUnknown, Detail: "whether dpkg is at work cannot be told: " + err.Error()})
	}
	// apt holds both for as long as it asks questions and downloads, which may be for
	// days on a forgotten terminal. It lets go of the inner one, and of that alone,
	// while it has dpkg called (apt: apt-pkg/deb/dpkgpm.cc, UnLockInner).
	waiting := inner != "" && inner == front && front != unknownHolder && h.comm(front) != "dpkg"
	if holder := inner; (inner != "" || front != "") && !waiting {
		if inner == "" {
			holder = front
		}
		found = append(found, h.database(BusyDpkg, "/var/lib/dpkg/lock", holder))
	}
	for _, lock := range []string{"/var/lib/rpm/.rpm.lock", "/usr/lib/sysimage/rpm/.rpm.lock"} {
		holder, err := h.locked(lock)
		switch {
		case err != nil:
			found = append(found, Busy{What: BusyUnknown, Detail: "whether rpm is at work cannot be told: " + err.Error()})
		case holder != "" && !slices.ContainsFunc(found, func(b Busy) bool { return b.What == BusyRpm }): // one may be a link to the other
			found = append(found, h.database(BusyRpm, lock, holder))
		}
	}
	return found
}

func (h Host) database(what, lock, holder string) Busy {
	if holder == unknownHolder {
		return Busy{What: what, Detail: fmt.Sprintf("packages are being installed or removed: %s is locked by a process of another namespace", lock)}
	}
	name := h.comm(holder)
	if name == "" {
		name = "a process that has just ended"
	}
	return Busy{what, holder, fmt.Sprintf("packages are being installed or removed: %s is locked by %s (process %s)", lock, name, holder)}
}

// unknownHolder holds a lock and cannot be named: it is not in our process
// namespace, or its lock belongs to an open file instead of a process (fcntl(2)).
const unknownHolder = "?"

// locked names the process that holds a write lock on a file, as dpkg and rpm do; ""
// when nobody does or there is no such file.
func (h Host) locked(path string) (pid string, err error) {
	f, err := os.OpenFile(filepath.Join(h.Root, path), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	// Would a lock for reading be granted? Asking takes none.
	lock := syscall.Flock_t{Type: syscall.F_RDLCK}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_GETLK, &lock); err != nil {
		return "", fmt.Errorf("%s: %w", f.Name(), err)
	}
	switch {
	case lock.Type == syscall.F_UNLCK:
		return "", nil
	case lock.Pid <= 0:
		return unknownHolder, nil
	default:
		return strconv.Itoa(int(lock.Pid)), nil
	}
}

func (h Host) proc(elem ...string) string {
	proc := h.Proc
	if proc == "" {
		proc = "/proc"
	}
	return filepath.Join(append([]string{proc}, elem...)...)
}

// comm is the name of a process, up to fifteen bytes of it; "" when it has ended.
func (h Host) comm(pid string) string {
	name, _ := os.ReadFile(h.proc(pid, "comm"))
	return string(bytes.TrimRight(name, "\n"))
}

// status is one line of what procfs says about a process (proc_pid_status(5)).
func (h Host) status(pid, key string) string {
	content, _ := os.ReadFile(h.proc(pid, "status"))
	for line := range strings.Lines(string(content)) {
		if name, value, ok := strings.Cut(line, ":"); ok && name == key {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
