package disk

import (
	"math/rand/v2"
	"slices"
)

// Log is what was done to a file system, and what it was before.
type Log struct {
	// Ops are the operations in order.
	Ops []Op

	base *tree
}

// after is what is on the disk when the power is cut after the first n operations.
func (l Log) after(n int, loss Loss) *tree {
	c := cut{ops: l.Ops[:n], loss: loss, rng: rand.New(rand.NewPCG(loss.seed, uint64(n)))}
	if loss.entries == random {
		c.loss.journal = c.rng.IntN(2) == 0
	}
	c.findSyncs()
	c.t = l.base.clone()
	names, data := c.names(), c.data()
	for i, o := range c.ops {
		if o.birth() {
			c.t.bear(o)
		}
		switch {
		case o.entry() && names[i]:
			c.t.enter(o)
		case o.data():
			data[i].apply(c.t, o)
		case o.attribute() && (c.attributeSynced(i) || c.choose(loss.attributes)):
			c.t.attribute(o)
		}
	}
	return c.t
}

// cut works out what is left.
type cut struct {
	ops  []Op
	loss Loss
	rng  *rand.Rand
	t    *tree

	// The last sync of each inode, as an index into ops.
	dataSync, allSync map[uint64]int
	// journaled is the last sync of any file.
	journaled int
}

func (c *cut) findSyncs() {
	c.dataSync, c.allSync, c.journaled = map[uint64]int{}, map[uint64]int{}, -1
	for i, o := range c.ops {
		switch o.Kind {
		case Fsync:
			c.dataSync[o.Inode], c.allSync[o.Inode] = i, i
		case Fdatasync:
			c.dataSync[o.Inode] = i
		case FsyncDir:
			c.allSync[o.Inode] = i
		default:
			continue
		}
		c.journaled = i
	}
}

func (c *cut) inJournal(i int) bool { return c.loss.journal && i < c.journaled }

func (c *cut) attributeSynced(i int) bool {
	return c.inJournal(i) || i < c.allSync[c.ops[i].Inode]
}

// nameSynced says that a change of names has reached the disk. A rename is in one
// transaction, so that a sync of either directory saves it.
func (c *cut) nameSynced(i int) bool {
	return c.inJournal(i) || slices.ContainsFunc(c.ops[i].places(), func(p place) bool { return i < c.allSync[p.dir] })
}

// choose says whether a change that was not synced is kept.
func (c *cut) choose(p policy) bool {
	return p == kept || p == random && c.rng.IntN(2) == 0
}

// names says of each operation whether the change of names that it made is kept. With
// one that is kept all earlier ones of the same names are: no file system reorders
// these, and a rename would not be one thing otherwise.
func (c *cut) names() []bool {
	keep := make([]bool, len(c.ops))
	needed := map[place]bool{}
	// Half of the random cuts are at one point of time, as a journal's are.
	point := -1
	if c.loss.entries == random && c.rng.IntN(2) == 0 {
		point = c.rng.IntN(len(c.ops) + 1)
	}
	for i, o := range slices.Backward(c.ops) {
		if !o.entry() {
			continue
		}
		chosen := i < point
		if point < 0 {
			chosen = c.choose(c.loss.entries)
		}
		isNeeded := slices.ContainsFunc(o.places(), func(p place) bool { return needed[p] })
		if keep[i] = c.nameSynced(i) || chosen || isNeeded; keep[i] {
			for _, p := range o.places() {
				needed[p] = true
			}
		}
	}
	return keep
}

// fate is what becomes of one write or truncation.
type fate struct {
	kept bool
	// sized says that of a lost write the size is kept.
	sized bool
	// torn is how many bytes of a kept write are kept; all when it is 0.
	torn int
}

func (f fate) apply(t *tree, o Op) {
	switch {
	case f.torn > 0:
		o.Data = o.Data[:f.torn]
		t.change(o)
	case f.kept:
		t.change(o)
	case f.sized:
		if n := t.nodes[o.Inode]; n != nil && o.Kind == Write && o.Offset+int64(len(o.Data)) > int64(len(n.data)) {
			o.Kind, o.Size = Truncate, o.Offset+int64(len(o.Data))
			t.change(o)
		}
	}
}

// data says of each write and truncation what becomes of it.
func (c *cut) data() []fate {
	fates := make([]fate, len(c.ops))
	unsynced := map[uint64][]int{}
	var inodes []uint64 // in order, for the same seed to lose the same
	for i, o := range c.ops {
		switch {
		case !o.data():
		case i < c.dataSync[o.Inode]:
			fates[i].kept = true
		default:
			if len(unsynced[o.Inode]) == 0 {
				inodes = append(inodes, o.Inode)
			}
			unsynced[o.Inode] = append(unsynced[o.Inode], i)
		}
	}
	for _, inode := range inodes {
		c.lose(unsynced[inode], fates)
	}
	return fates
}

// lose decides about the changes of one file that were not synced.
func (c *cut) lose(changes []int, fates []fate) {
	p, prefix, torn, some := c.loss.data, len(changes), false, false
	if p == random {
		switch c.rng.IntN(7) {
		case 0:
			p = lost
		case 1:
			p = kept
		case 2:
			p = empty
		case 3:
			p = zeros
		case 4:
			p, some = zeros, true
		case 5:
			torn = true
			fallthrough
		default:
			p, prefix = kept, c.rng.IntN(len(changes)+1)
		}
	}
	for k, i := range changes {
		write := c.ops[i].Kind == Write
		switch p {
		case kept:
			fates[i].kept = k < prefix
			if size := len(c.ops[i].Data); k == prefix && torn && size > 1 {
				fates[i] = fate{kept: true, torn: 1 + c.rng.IntN(size-1)}
			}
		case empty:
			fates[i].kept = !write
		case zeros:
			fates[i] = fate{kept: !write || some && c.rng.IntN(2) == 0, sized: true}
		}
	}
}
