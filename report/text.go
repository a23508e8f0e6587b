package report

import (
	"encoding/json"
	"io"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/kubecertd/kubecertd/pki"
)

// Write writes any of this package's documents as JSON or YAML.
func Write(w io.Writer, format string, document any) error {
	content, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return err
	}
	content = append(content, '\n')
	if format == "yaml" {
		if content, err = yaml.JSONToYAML(content); err != nil {
			return err
		}
	}
	_, err = w.Write(content)
	return err
}

func date(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04")
}

func remaining(end, now time.Time) string {
	if end.IsZero() {
		return "-"
	}
	return pki.Span(end.Sub(now))
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
