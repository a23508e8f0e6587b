package renew

import "time"

func (s State) PruneSnapshots(keep Retention, now time.Time) { s.pruneSnapshots(keep, now) }
