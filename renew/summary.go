package renew

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kubecertd/kubecertd/pki"
)

// Summary is what a node says of its certificates to the cluster: the annotation that
// `kubecertd fleet` reads. Fields are only ever added; what changes its meaning is a new
// schema.
type Summary struct {
	Schema  int    `json:"schema"`
	Version string `json:"version"` // of kubecertd
	// Looked is when the node was looked at. A later look that has seen the same is not
	// written down before the next heartbeat.
	Looked time.Time `json:"looked"`
	// Due is when the next certificate becomes due.
	Due          time.Time        `json:"due,omitzero"`
	Certificates []SummarizedCert `json:"certificates"`
	// Omitted is how many more certificates there are, for which there was no room: of
	// the watched ones those that end last.
	Omitted int `json:"omitted,omitempty"`
	// Stale are the components that have not loaded what is on disk.
	Stale []string `json:"stale,omitempty"`
	// Turn is who holds the turn, where this look had to know.
	Turn string `json:"turn,omitempty"`
	// Paused says until when, why and by whom.
	Paused string `json:"paused,omitempty"`
}

// SummarizedCert is a certificate in a Summary.
type SummarizedCert struct {
	Name     string    `json:"name"`
	NotAfter time.Time `json:"notAfter,omitzero"`
	State    pki.State `json:"state"`
}

// summarySchema is the schema that this program writes and understands.
const summarySchema = 1

// summaryBytes bounds the certificates in a summary: it is sent to everybody who watches
// nodes.
const summaryBytes = 3 << 10

// Summarize makes a summary of a look.
func Summarize(l Look, version string) Summary {
	o := l.Observation
	s := Summary{Schema: summarySchema, Version: version, Looked: second(o.At), Due: second(l.Plan.Next), Stale: l.Stale()}
	if t := l.Plan.Turn; t != nil {
		s.Turn = t.Holder
	}
	if o.Paused != nil {
		s.Paused = brief(o.Paused.String())
	}
	type row struct {
		SummarizedCert
		watched bool
	}
	var rows []row
	for i, c := range o.Certificates {
		if c.State == pki.Missing && c.Optional {
			continue
		}
		state := c.State
		if i < len(l.Plan.Decisions) {
			state = l.Plan.Decisions[i].State // it knows due as well
		}
		rows = append(rows, row{SummarizedCert{c.Name, second(c.NotAfter), state}, c.Watched})
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		return cmp.Or(boolean(a.watched)-boolean(b.watched), a.NotAfter.Compare(b.NotAfter), cmp.Compare(a.Name, b.Name))
	})
	size := 0
	s.Certificates = []SummarizedCert{}
	for i, r := range rows {
		text, _ := json.Marshal(r.SummarizedCert) // cannot fail: text and times
		if size += len(text) + 1; size > summaryBytes {
			s.Omitted = len(rows) - i
			break
		}
		s.Certificates = append(s.Certificates, r.SummarizedCert)
	}
	return s
}

// ReadSummary reads what a node says.
func ReadSummary(text string) (Summary, error) {
	var s Summary
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return Summary{}, fmt.Errorf("it cannot be read: %w", err)
	}
	if s.Schema != summarySchema {
		return Summary{}, fmt.Errorf("it is of schema %d, and this kubecertd knows %d: use the newest kubecertd of the cluster", s.Schema, summarySchema)
	}
	return s, nil
}

// text is a summary as ReadSummary reads it.
func (s Summary) text() string {
	content, _ := json.Marshal(s) // cannot fail: text, numbers and times
	return string(content)
}

// same says that two summaries say the same, if at different times.
func (s Summary) same(other Summary) bool {
	s.Looked, other.Looked = time.Time{}, time.Time{}
	return s.text() == other.text()
}

func second(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Second)
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// brief cuts what people and programs wrote to a size that may be shown to a whole
// cluster.
func brief(text string) string {
	const most = 300
	runes := []rune(strings.ToValidUTF8(text, "?"))
	if len(runes) <= most {
		return string(runes)
	}
	return string(runes[:most]) + "…"
}
