package renew

// reporter shows to others what the loop has seen and done. It is called on the loop's own
// goroutine and waits for nobody.
type reporter interface {
	// Looked is called after each look.
	Looked(Look)
	// Ran is called once for each run of this daemon that has ended, and for one that was
	// cut off when its end is on record.
	Ran(Run)
}

// looked reports a look. One that was kept from looking by another run has seen nothing.
func (l *Loop) looked(seen Look) {
	if l.Report != nil && !seen.Observation.At.IsZero() {
		seen.Owes = l.owes
		l.Report.Looked(seen)
	}
}

func (l *Loop) ran(run Run) {
	if l.Report != nil {
		l.Report.Ran(run)
	}
}

// ended tells of a run whose end is on record. One that still owes something has none, and
// is told of when it has been ended.
func (n *Node) ended(r *recorder) {
	if n.Ran != nil && r.run.Outcome != Unfinished {
		n.Ran(r.run)
	}
}
