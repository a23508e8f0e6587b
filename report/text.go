package report

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"sigs.k8s.io/yaml"
)

// timeLayout is how times are written for people.
const timeLayout = "2006-01-02 15:04:05 MST"

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
	return span(end.Sub(now))
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// span writes a duration as people say it: the unit that matters and the next.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	if d < 0 {
		return "-" + span(-d)
	}
	switch {
	case d >= 100*day:
		return fmt.Sprintf("%dd", d/day)
	case d >= day:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	default:
		return fmt.Sprintf("%ds", d/time.Second)
	}
}
