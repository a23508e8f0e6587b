package renew

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/kubecertd/kubecertd/pki"
)

// blamed is a certificate that keeps a component from becoming healthy, and the
// evidence.
type blamed struct {
	Certificate string
	Evidence    string
}

// blame says which of the renewed certificates keep a component from becoming healthy:
// those that cannot be used as they are on disk now, or else those that the component
// itself complains of. It is a pure function of what is on disk and what the component
// said.
func blame(o Observation, renewed []string, component, said string) []blamed {
	var held []pki.Certificate
	var found []blamed
	for _, c := range o.Certificates {
		if !slices.Contains(renewed, c.Name) || !o.holds(component, c.Name) {
			continue
		}
		held = append(held, c)
		if c.State != pki.OK {
			found = append(found, blamed{c.Name, fmt.Sprintf("%s is %s: %s", c.Path, c.State, c.Reason)})
		}
	}
	if len(found) > 0 {
		return found
	}
	lines := complaints(said)
	if len(lines) == 0 {
		return nil
	}
	for _, c := range held {
		for _, line := range lines {
			if strings.Contains(line, c.Path) || (c.KeyPath != "" && strings.Contains(line, c.KeyPath)) {
				found = append(found, blamed{c.Name, fmt.Sprintf("%s said: %s", component, line)})
				break
			}
		}
	}
	if len(found) > 0 {
		return found
	}
	for _, c := range held {
		found = append(found, blamed{c.Name, fmt.Sprintf("%s said: %s", component, lines[len(lines)-1])})
	}
	return found
}

// complaint is what a component says when it cannot use its own credentials (Go:
// crypto/tls, crypto/x509; apiserver: server/options/serving.go; client-go: rest).
var complaint = regexp.MustCompile(`(?i)tls: (failed to (find|parse)|private key)|x509: (malformed|certificate|cannot|invalid)|` +
	`(unable|failed) to load .*(cert|key|kubeconfig)|error loading .*(cert|key)|invalid configuration|unauthorized|asked for the client to provide credentials`)

// complaints are the lines in which a component complains of its own credentials. What
// a server says of its clients is about theirs.
func complaints(said string) []string {
	var lines []string
	for line := range strings.Lines(said) {
		if line = strings.TrimSpace(line); complaint.MatchString(line) &&
			!strings.Contains(line, "TLS handshake error from") && !strings.Contains(line, "rejected connection") {
			lines = append(lines, line[:min(len(line), 400)])
		}
	}
	return lines
}
