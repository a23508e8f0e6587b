package disk

import "fmt"

// Loss says what of that which was not synced a power cut takes.
type Loss struct {
	name       string
	entries    policy
	data       policy
	attributes policy
	// journal says that every fsync of a file saves all changes of names and
	// attributes before it, as ext4, xfs and btrfs mostly do.
	journal bool
	seed    uint64
}

// policy is what becomes of changes that were not synced.
type policy uint8

const (
	lost policy = iota
	kept
	random
	// empty keeps truncations and loses writes.
	empty
	// zeros keeps sizes, and what was written beyond the old one reads as zeros.
	zeros
)

var (
	// Strictest loses everything that was not synced: what POSIX promises, no more.
	Strictest = Loss{name: "strictest"}
	// KeepAll loses nothing: only the processes are gone.
	KeepAll = Loss{name: "keep-all", entries: kept, data: kept, attributes: kept}
	// Journal loses data that was not synced, but an fsync of any file saves all names
	// before it.
	Journal = Loss{name: "journal", journal: true}
	// ZeroLength keeps all names, and a file that was truncated or made and then
	// written to is empty: delayed allocation on ext4 and xfs.
	ZeroLength = Loss{name: "zero-length", entries: kept, data: empty, attributes: kept}
	// ZeroFilled keeps all names and sizes, and what was appended reads as zeros.
	ZeroFilled = Loss{name: "zero-filled", entries: kept, data: zeros, attributes: kept}
	// NamesOnly keeps all names and loses all data: a new file is empty, an old one is
	// what it was.
	NamesOnly = Loss{name: "names-only", entries: kept}
	// DataOnly keeps all data and loses all names.
	DataOnly = Loss{name: "data-only", data: kept, attributes: kept}
)

// Fixed are the losses that leave nothing to chance.
var Fixed = []Loss{Strictest, KeepAll, Journal, ZeroLength, ZeroFilled, NamesOnly, DataOnly}

// Random loses what the seed says: any names, of each file any prefix of its writes,
// the last perhaps torn, or any of them, in any order. The same seed loses the same.
func Random(seed uint64) Loss {
	return Loss{name: fmt.Sprintf("random-%d", seed), entries: random, data: random, attributes: random, seed: seed}
}

func (l Loss) String() string { return l.name }
