package report

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/kubecertd/kubecertd/renew"
)

// WriteSnapshots writes the snapshots for people, newest first.
func WriteSnapshots(w io.Writer, snapshots []renew.Snapshot) error {
	if len(snapshots) == 0 {
		_, err := fmt.Fprintln(w, "No snapshots yet.")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "SNAPSHOT\tTAKEN\tFILES\tSIZE")
	for i := len(snapshots) - 1; i >= 0; i-- {
		s := snapshots[i]
		files, size := 0, int64(0)
		for _, f := range s.Files {
			if !f.Absent {
				files, size = files+1, size+f.Size
			}
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d KiB\n", s.ID, date(s.Taken), files, (size+1023)>>10)
	}
	return t.Flush()
}

// WriteDifferences writes what a snapshot holds beside what is there now.
func WriteDifferences(w io.Writer, differences []renew.Difference, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "CERTIFICATE\tTHEN UNTIL\tREMAINING\tNOW\tNOW UNTIL\tRESTORE")
	for _, d := range differences {
		restore := "would change it"
		switch {
		case d.Same:
			restore = "same as now"
		case d.Problem != "":
			restore = "not possible: " + d.Problem
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", d.Certificate, date(d.Then.NotAfter), remaining(d.Then.NotAfter, now),
			d.Now.State, date(d.Now.NotAfter), restore)
	}
	return t.Flush()
}
