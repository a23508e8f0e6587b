package systemd

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap/zapcore"
)

// value is one field of a log entry as text.
type value struct{ key, text string }

// flatten turns zap's fields into text, in their order.
func flatten(fields []zapcore.Field) []value {
	var values []value
	prefix := ""
	for _, f := range fields {
		if f.Type == zapcore.NamespaceType {
			prefix += f.Key + "_"
			continue
		}
		// One field may become several: an error has a verbose form too, an object
		// that is inlined has its members.
		object := zapcore.NewMapObjectEncoder()
		f.AddTo(object)
		for _, key := range slices.Sorted(maps.Keys(object.Fields)) {
			if f.Type == zapcore.ErrorType && key == f.Key+"Verbose" {
				continue
			}
			values = append(values, value{prefix + key, text(object.Fields[key])})
		}
	}
	return values
}

func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case time.Time:
		if v.IsZero() {
			return ""
		}
		return v.UTC().Format(time.RFC3339)
	case time.Duration:
		return round(v).String()
	case []any:
		var parts []string
		for _, part := range v {
			parts = append(parts, text(part))
		}
		return strings.Join(parts, ", ")
	case map[string]any:
		if content, err := json.Marshal(v); err == nil {
			return string(content)
		}
	}
	return fmt.Sprint(v)
}

// round keeps of a duration what a person reads: 3.612s, 12ms, 47h30m0s.
func round(d time.Duration) time.Duration {
	switch {
	case d.Abs() >= time.Minute:
		return d.Round(time.Second)
	case d.Abs() >= time.Second:
		return d.Round(time.Millisecond)
	default:
		return d.Round(time.Microsecond)
	}
}

// taken are names that mean something else to the journal
// (systemd.journal-fields(7)).
var taken = []string{"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "SYSLOG_FACILITY", "SYSLOG_PID", "SYSLOG_TIMESTAMP",
	"CODE_FILE", "CODE_LINE", "CODE_FUNC", "ERRNO", "LOGGER", "STACK", "UNIT", "INVOCATION_ID", "USER_UNIT", "USER_INVOCATION_ID",
	"DOCUMENTATION", "TID", "OBJECT_PID"}

// variable makes a name that the journal accepts: capitals, digits and underscores,
// not with an underscore or a digit first, 64 characters at most. Anything else
// would make it drop the field.
func variable(key string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case (r >= 'A' && r <= 'Z') || (r >= '0' && r <= '9'):
			return r
		default:
			return '_'
		}
	}, key)
	name = strings.TrimLeft(name, "_")
	if name == "" || (name[0] >= '0' && name[0] <= '9') || slices.Contains(taken, name) {
		name = "FIELD_" + name
	}
	return name[:min(len(name), 64)]
}

// silent are fields that a person reading the text has no use for.
var silent = []string{"message_id", "run_id"}

// sentence is what a person reads: the message, the fields, and the error at its
// end, on one line.
func sentence(message string, values []value) string {
	var b strings.Builder
	b.WriteString(message)
	failure := ""
	for _, v := range values {
		switch {
		case slices.Contains(silent, v.key) || v.text == "":
		case v.key == "error":
			failure = v.text
		default:
			b.WriteString(" " + v.key + "=" + quoted(v.text))
		}
	}
	if failure != "" {
		b.WriteString(": " + failure)
	}
	return strings.ReplaceAll(strings.TrimRight(b.String(), "\n"), "\n", "; ")
}

// quoted puts text with blanks between quotation marks, without escaping what is
// harmless there.
func quoted(s string) string {
	if strings.ContainsAny(s, " \t\n") {
		if strings.Contains(s, `"`) {
			return strconv.Quote(s)
		}
		return `"` + s + `"`
	}
	return s
}
