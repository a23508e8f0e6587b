package renew

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/pki"
)

// SeenCopy is a kubeconfig that may be a copy of admin.conf, as it was found.
type SeenCopy struct {
	pki.Copy
	// Refused says why it would not be written although the configuration names it;
	// empty when it would.
	Refused string `json:"refused,omitempty"`
}

// CopyState says what a copy holds.
type CopyState string

const (
	// CopyCurrent holds what is in admin.conf or super-admin.conf now.
	CopyCurrent CopyState = "current"
	// CopyStale holds what was in it before, by a snapshot.
	CopyStale CopyState = "stale"
	// CopyForeign holds nothing of ours.
	CopyForeign CopyState = "foreign"
	// CopyMissing is a configured path without a file.
	CopyMissing CopyState = "missing"
	// CopyUnreadable cannot be read as a kubeconfig.
	CopyUnreadable CopyState = "unreadable"
)

// CopyVerdict is what is known about a copy, and what is done about it.
type CopyVerdict struct {
	Path       string    `json:"path"`
	Configured bool      `json:"configured"`
	State      CopyState `json:"state"`
	// Certificate is the one whose copy it is; empty for foreign ones.
	Certificate string    `json:"certificate,omitempty"`
	NotAfter    time.Time `json:"notAfter,omitzero"` // of what it holds
	Reason      string    `json:"reason"`
	// Refresh says that it can be given the new credentials.
	Refresh bool `json:"refresh,omitempty"`
}

// Refresh is one copy that is to be given new credentials.
type Refresh struct {
	Path        string `json:"path"`
	Certificate string `json:"certificate"`
	Reason      string `json:"reason"`
}

// copied are the kubeconfigs of kubeadm that people copy.
var copied = []string{"admin.conf", "super-admin.conf"}

// Verdicts says what each copy holds and whether it can be refreshed. It is a pure
// function.
func (o Observation) Verdicts() []CopyVerdict {
	var list []CopyVerdict
	for _, c := range o.Copies {
		list = append(list, o.verdict(c))
	}
	return list
}

func (o Observation) verdict(c SeenCopy) CopyVerdict {
	v := CopyVerdict{Path: c.Path, Configured: c.Configured}
	switch {
	case c.Missing:
		v.State, v.Reason = CopyMissing, "there is no such file"
		return v
	case c.Problem != "":
		v.State, v.Reason = CopyUnreadable, c.Problem
		return v
	}
	v.State, v.Reason = CopyForeign, "it holds no certificate that is or was in admin.conf or super-admin.conf of this node"
	for _, user := range c.Users {
		for _, name := range copied {
			now, _ := o.Certificate(name)
			if user.SHA256 == now.SHA256 && v.State == CopyForeign {
				v.State, v.Certificate, v.NotAfter = CopyCurrent, name, user.NotAfter
				v.Reason = fmt.Sprintf("user %s holds the certificate of %s", user.Name, name)
			}
		}
		name, was := o.Before[user.SHA256]
		now, _ := o.Certificate(name)
		if !was || user.SHA256 == now.SHA256 || v.State == CopyStale {
			continue
		}
		v.State, v.Certificate, v.NotAfter = CopyStale, name, user.NotAfter
		v.Reason = fmt.Sprintf("user %s holds the certificate that was in %s before, which ends %s", user.Name, name, user.NotAfter.UTC().Format(pki.TimeLayout))
		switch {
		case !c.Configured:
			v.Reason += "; it is refreshed if renew.copies names it"
		case c.Refused != "":
			v.Reason += "; it is not refreshed: " + c.Refused
		case !user.KeyMatches:
			// Certificates are no secret. Whoever has only the old one gets no new key.
			v.Reason += "; it is not refreshed: the key of that certificate is not in it"
		case now.State != pki.OK && now.State != pki.Due, !now.KeyMatches:
			v.Reason += fmt.Sprintf("; it is not refreshed while %s is %s", name, now.State)
		case !now.NotAfter.After(user.NotAfter):
			v.Reason += fmt.Sprintf("; it is not refreshed: what is in %s ends no later", name)
		default:
			v.Refresh = true
		}
	}
	return v
}

// decideCopies adds to a plan the copies that are to be refreshed now, or will be once
// the plan has renewed what they hold.
func decideCopies(o Observation, policy Policy, p *Plan) {
	for _, v := range o.Verdicts() {
		if v.State == CopyCurrent && v.Configured {
			renewed := slices.ContainsFunc(p.Renew, func(r Renewal) bool { return r.Certificate == v.Certificate })
			seen := o.Copies[slices.IndexFunc(o.Copies, func(c SeenCopy) bool { return c.Path == v.Path })]
			if renewed && seen.Refused == "" {
				p.Copies = append(p.Copies, Refresh{v.Path, v.Certificate, "holds the certificate of " + v.Certificate + ", which is renewed"})
			}
			continue
		}
		switch until, held := o.held(policy.Retry, copyStep(v.Path), unlimited); {
		case v.State == CopyUnreadable && v.Configured:
			p.notice(Notice{ID: "copy-unreadable", About: v.Path, Severity: Warning, Text: fmt.Sprintf("%s (renew.copies) cannot be read: %s", v.Path, v.Reason),
				Remedy: "copy admin.conf there again, or take it off renew.copies"})
		case v.State != CopyStale:
		case !v.Refresh:
			p.notice(Notice{ID: "copy-stale", About: v.Path, Severity: Warning, Text: fmt.Sprintf("%s is a stale copy of %s: %s", v.Path, v.Certificate, v.Reason),
				Remedy: "copy it again, or name it in renew.copies"})
		case held != "":
			p.notice(Notice{ID: "copy-failed", About: v.Path, Severity: Warning, At: until,
				Text: fmt.Sprintf("%s is a stale copy of %s, and its refreshing %s", v.Path, v.Certificate, held)})
			if p.Next.IsZero() || until.Before(p.Next) {
				p.Next, p.NextReason = until, v.Path+" is tried again"
			}
		default:
			p.Copies = append(p.Copies, Refresh{v.Path, v.Certificate, v.Reason})
		}
	}
}

func copyStep(path string) string { return "copy " + path }

// observeCopies adds what is in the copies of admin.conf, and, where one of them holds
// something else than admin.conf, what the snapshots say was in it before.
func (n *Node) observeCopies(o *Observation) {
	layout, _ := n.Locate()
	read := make(chan []SeenCopy, 1)
	done := n.aside(func() {
		var seen []SeenCopy
		for _, c := range layout.Copies() {
			s := SeenCopy{Copy: c}
			if c.Configured && !c.Missing && c.Problem == "" {
				if place, err := openPlace(layout.Root, c.Path); err != nil {
					s.Refused = err.Error()
				} else {
					place.close()
				}
			}
			seen = append(seen, s)
		}
		read <- seen
	})
	if !done {
		o.Problems = append(o.Problems, Problem{problemCopies,
			fmt.Sprintf("not read within %s: does a file system that they lie on hang?", patience)})
		return
	}
	o.Copies = <-read
	for _, c := range o.Copies {
		if slices.ContainsFunc(c.Users, func(u pki.CopyUser) bool { return !o.current(u.SHA256) }) {
			o.Before = n.State.before()
			return
		}
	}
}

// problemCopies is the name of what could not be seen of renew.copies.
const problemCopies = "renew.copies"

// current says whether a certificate is in admin.conf or super-admin.conf.
func (o Observation) current(sha256 string) bool {
	return slices.ContainsFunc(copied, func(name string) bool {
		c, _ := o.Certificate(name)
		return c.SHA256 == sha256
	})
}

// before says which certificates the snapshots have of kubeadm's kubeconfigs, by their
// SHA-256.
func (s State) before() map[string]string {
	known := map[string]string{}
	for _, id := range s.snapshotIDs() {
		snap, err := s.manifest(id)
		if err != nil {
			continue
		}
		for _, f := range snap.Files {
			if f.Absent || !slices.Contains(copied, f.Certificate) {
				continue
			}
			content, err := snap.content(f)
			if err != nil {
				continue
			}
			users, _ := pki.KubeconfigUsers(content)
			for _, u := range users {
				known[u.SHA256] = f.Certificate
			}
		}
	}
	return known
}

// refreshCopies gives the copies what is now in the files they were copied from. A copy
// that fails fails nothing else: it is said, and found again by a later look. wished
// are those that the plan names; all is whatever is stale now.
func (r *run) refreshCopies() {
	layout, _ := r.Locate()
	o := Observation{At: r.Now(), Certificates: layout.Read(r.Now())}
	r.observeCopies(&o)
	for _, p := range o.Problems {
		r.log.Warn("copies of admin.conf are not refreshed", event(EventCopyFailed), zap.String("reason", p.Err))
	}
	for _, v := range o.Verdicts() {
		if !v.Refresh || !slices.ContainsFunc(r.plan.Copies, func(c Refresh) bool { return c.Path == v.Path }) {
			continue
		}
		r.alive()
		r.refreshCopy(layout, o, v)
	}
}

// refreshCopy refreshes one copy.
func (r *run) refreshCopy(layout pki.Layout, o Observation, v CopyVerdict) {
	if err := r.begin(copyStep(v.Path), v.Reason); err != nil {
		return
	}
	var users []string
	err := errors.New("not done within " + patience.String() + ": does the file system hang?")
	type result struct {
		users []string
		err   error
	}
	done := make(chan result, 1)
	if r.aside(func() {
		users, err := rewriteCopy(layout, o, v.Path)
		done <- result{users, err}
	}) {
		got := <-done
		users, err = got.users, got.err
	}
	_ = r.end(copyStep(v.Path), strings.Join(users, ", "), "", err)
	if err != nil {
		r.log.Warn("a copy is not refreshed", event(EventCopyFailed), zap.String("path", v.Path), zap.String("reason", err.Error()))
		return
	}
	now, _ := o.Certificate(v.Certificate)
	r.log.Info("a copy has the new certificate", event(EventCopied), zap.String("path", v.Path),
		zap.String("certificate", v.Certificate), zap.Time("not_after", now.NotAfter))
}
