package notify

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/template"
	"time"

	"github.com/kubecertd/kubecertd/renew"
)

// body is what is sent.
func (t Target) body(e Event) ([]byte, error) {
	switch {
	case t.Type == "slack":
		return json.Marshal(map[string]string{"text": e.slack()})
	case t.Type == "alertmanager":
		return json.Marshal([]alert{e.alert(t.Repeat)})
	case t.Template != "":
		return t.own(e)
	default:
		return json.Marshal(e)
	}
}

// mostBody is how long a body of one's own can be, in bytes.
const mostBody = 64 << 10

// own is the body that a template makes.
func (t Target) own(e Event) ([]byte, error) {
	made, err := template.New("template").Funcs(template.FuncMap{"json": toJSON, "join": strings.Join}).Parse(t.Template)
	if err != nil {
		return nil, fmt.Errorf("%w: see docs/notifications.md for what it can use", err)
	}
	var b bytes.Buffer
	if err := made.Execute(&bounded{&b}, e); err != nil {
		return nil, fmt.Errorf("%w: see docs/notifications.md for what it can use", err)
	}
	return b.Bytes(), nil
}

// toJSON is a value as JSON has it, for a template.
func toJSON(v any) (string, error) {
	content, err := json.Marshal(v)
	return string(content), err
}

// bounded refuses more than a body can be.
type bounded struct{ *bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > mostBody {
		return 0, errors.New("the body is too long")
	}
	return b.Buffer.Write(p)
}

// slack is the event for a chat.
func (e Event) slack() string {
	sign := map[renew.Severity]string{renew.Critical: ":red_circle:", renew.Warning: ":warning:", renew.Info: ":information_source:"}[e.Severity]
	if e.Event == Recovered {
		sign = ":white_check_mark:"
	}
	// What slack takes for its own markup (https://docs.slack.dev/messaging/formatting-message-text).
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace
	text := fmt.Sprintf("%s *%s* on %s: %s", sign, e.Event, escape(e.Node), escape(e.Text))
	if e.Remedy != "" {
		text += "\nTo do: " + escape(e.Remedy)
	}
	return text
}

// alert is one of Alertmanager's (POST /api/v2/alerts).
type alert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	StartsAt    time.Time         `json:"startsAt"`
	EndsAt      time.Time         `json:"endsAt"`
}

// moment is how long something that only happens is an alert.
const moment = 5 * time.Minute

// alert is the event for Alertmanager. What lasts is an alert until twice the time after
// which it is told again, or until it is over; its labels are the same then.
func (e Event) alert(repeat time.Duration) alert {
	name, ends := e.Event, e.At.Add(moment)
	switch {
	case e.Event == Recovered:
		name, ends = e.Of, e.At
	case e.lasts:
		ends = e.At.Add(2 * repeat)
	}
	words := strings.Split(name, "-")
	for i, w := range words {
		words[i] = strings.ToUpper(w[:1]) + w[1:]
	}
	a := alert{Labels: map[string]string{"alertname": "Kubecertd" + strings.Join(words, ""), "instance": e.Node, "severity": string(cmp.Or(e.was, e.Severity))}, Annotations: map[string]string{"summary": e.Text},
		StartsAt: e.At, EndsAt: ends}
	for label, value := range map[string]string{"about": e.About, "finding": e.Finding} {
		if value != "" {
			a.Labels[label] = value
		}
	}
	for name, value := range map[string]string{"remedy": e.Remedy, "run": e.Run} {
		if value != "" {
			a.Annotations[name] = value
		}
	}
	return a
}

// variables are the event for a program.
func (e Event) variables() []string {
	list := []string{"KUBECERTD_EVENT=" + e.Event}
	add := func(name, value string) {
		list = append(list, "KUBECERTD_EVENT_"+name+"="+strings.ReplaceAll(value, "\x00", ""))
	}
	add("OF", e.Of)
	add("SEVERITY", string(e.Severity))
	add("NODE", e.Node)
	add("ABOUT", e.About)
	add("FINDING", e.Finding)
	add("TEXT", e.Text)
	add("REMEDY", e.Remedy)
	add("RUN", e.Run)
	add("OUTCOME", string(e.Outcome))
	add("CERTIFICATES", strings.Join(e.Certificates, " "))
	add("COMPONENTS", strings.Join(e.Components, " "))
	add("AT", e.At.UTC().Format(time.RFC3339))
	return list
}
