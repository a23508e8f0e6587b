package configs

import (
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Target is who is told of events. Only the file can name one. Its fields are those of
// notify.Target.
type Target struct {
	Name string
	// Type is webhook, slack, alertmanager or command.
	Type string
	// Events are those that it is told of.
	Events []string
	// URL is where it is reached; URLFile is a file with it, for one that is a secret.
	URL, URLFile string
	// TokenFile is a file with a bearer token, HeadersFile one with headers.
	TokenFile, HeadersFile string
	// Template makes the body of a webhook; empty is the event as JSON.
	Template string
	// Command is the program of a command, with its arguments.
	Command []string
	// Timeout is how long one attempt may take.
	Timeout time.Duration
	// Repeat is after what time something that has not changed is told again.
	Repeat time.Duration
	// BlockedAfter is how long a gate must be closed to be told of.
	BlockedAfter time.Duration
}

// The names of what a target can be, and be told of. Attention is what is told where
// nothing else is said: what may need a person, and that it is over.
var (
	TargetTypes = []string{"webhook", "slack", "alertmanager", "command"}
	Events      = []string{"due", "renewed", "restarted", "failed", "put-back", "stale", "ca-expiring", "blocked", "notice", "recovered"}
	Attention   = []string{"failed", "put-back", "stale", "ca-expiring", "blocked", "notice", "recovered"}
)

// notify is the key of the list of targets.
const notify = "notify"

// mostTargets is how many there can be.
const mostTargets = 10

// targets reads the list of targets.
func (s settings) targets(node *yaml.Node) Problems {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind == yaml.ScalarNode && node.Tag == "!!null" {
		return nil
	}
	if node.Kind != yaml.SequenceNode {
		return Problems{s.problem(node.Line, notify, "must be a list "+describe(node), "write one target after the other, each begun with a dash")}
	}
	var list []Target
	var problems Problems
	for i, entry := range node.Content {
		if entry.Kind == yaml.AliasNode {
			entry = entry.Alias
		}
		prefix := notify + "[" + strconv.Itoa(i) + "]"
		s.lines[prefix] = entry.Line
		t := Target{Events: Attention, Timeout: 10 * time.Second, Repeat: day, BlockedAfter: time.Hour}
		problems = append(problems, s.target(&t, entry, prefix)...)
		list = append(list, t)
	}
	s.values[notify] = list
	return problems
}

// target reads one.
func (s settings) target(t *Target, node *yaml.Node, prefix string) Problems {
	fields := map[string]any{"name": &t.Name, "type": &t.Type, "events": &t.Events, "url": &t.URL, "urlFile": &t.URLFile, "tokenFile": &t.TokenFile,
		"headersFile": &t.HeadersFile, "template": &t.Template, "command": &t.Command, "timeout": &t.Timeout, "repeat": &t.Repeat, "blockedAfter": &t.BlockedAfter}
	if node.Kind != yaml.MappingNode {
		return Problems{s.problem(node.Line, prefix, "must be a target "+describe(node), "write its keys, one a line: name, type, …")}
	}
	var problems Problems
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i].Value, node.Content[i+1]
		path := prefix + "." + key
		field, known := fields[key]
		first, twice := s.lines[path]
		s.lines[path] = value.Line
		switch f := field.(type) {
		case *string:
			if value.Kind != yaml.ScalarNode || value.Tag != "!!str" {
				problems = append(problems, s.problem(value.Line, path, "must be text "+describe(value), "put it in quotes"))
			}
			*f = value.Value
		case *time.Duration:
			d, err := ParseDuration(value.Value)
			if err != nil || value.Kind != yaml.ScalarNode {
				problems = append(problems, s.problem(value.Line, path, "is no duration "+describe(value), "write a number with a unit, such as 90s, 1h30m or 30d"))
				continue
			}
			*f = d
		case *[]string:
			*f = nil
			if value.Kind != yaml.SequenceNode || value.Decode(f) != nil {
				problems = append(problems, s.problem(value.Line, path, "must be a list of texts "+describe(value), `write it in brackets, such as ["one", "two"]`))
			}
		}
		switch {
		case !known:
			do := "the keys here are name, type, events, url, urlFile, tokenFile, headersFile, template, command, timeout, repeat, blockedAfter"
			if meant := Nearest(key, sortedKeys(fields)); meant != "" {
				do = "did you mean " + meant + "?"
			}
			problems = append(problems, s.problem(node.Content[i].Line, path, "is not a key of a target", do))
		case twice:
			problems = append(problems, s.problem(value.Line, path, fmt.Sprintf("is set twice, first in line %d", first), "keep one of them"))
		}
	}
	return problems
}

func sortedKeys(fields map[string]any) []string {
	var keys []string
	for key := range fields {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// takeTargets takes the targets out of what the file sets: they are no keys.
func (s settings) takeTargets() []Target {
	list, _ := s.values[notify].([]Target)
	delete(s.values, notify)
	return list
}

var targetName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$`)

// targets checks who is told of events. What may be a secret is in no problem.
func (p *Problems) targets(list []Target) {
	if len(list) > mostTargets {
		p.add(notify, fmt.Sprintf("has %d targets", len(list)), fmt.Sprintf("name at most %d, and let one of them tell the others", mostTargets))
	}
	for i, t := range list {
		at := notify + "[" + strconv.Itoa(i) + "]"
		if !targetName.MatchString(t.Name) {
			p.add(at+".name", "must be a name of lower case letters, digits and dashes "+got(t.Name), "give it one, such as ops-channel: errors and `kubecertd notify test` call it so")
		}
		if slices.ContainsFunc(list[:i], func(o Target) bool { return o.Name == t.Name }) {
			p.add(at+".name", "is the name of another target too "+got(t.Name), "give each its own")
		}
		p.oneOf(at+".type", t.Type, TargetTypes...)
		if len(t.Events) == 0 {
			p.add(at+".events", "names no event", "name some of "+strings.Join(Events, ", ")+", or remove the line")
		}
		for _, e := range t.Events {
			if !slices.Contains(Events, e) {
				p.oneOf(at+".events", e, Events...)
			}
		}
		p.between(at+".timeout", t.Timeout, time.Second, time.Minute)
		p.between(at+".repeat", t.Repeat, time.Minute, 365*day)
		p.between(at+".blockedAfter", t.BlockedAfter, 0, 30*day)
		if t.Type == "command" {
			p.argv(at+".command", t.Command, true)
			for key, value := range map[string]string{"url": t.URL, "urlFile": t.URLFile, "tokenFile": t.TokenFile, "headersFile": t.HeadersFile, "template": t.Template} {
				if value != "" {
					p.add(at+"."+key, "is not for a command", "remove the line, or set type to webhook")
				}
			}
			continue
		}
		if len(t.Command) > 0 {
			p.add(at+".command", "is not for a "+t.Type, "remove the line, or set type to command")
		}
		if t.Template != "" && t.Type != "webhook" {
			p.add(at+".template", "is not for a "+t.Type+", which has a form of its own", "remove the line, or set type to webhook")
		}
		p.targetURL(at, t)
		for key, file := range map[string]string{"urlFile": t.URLFile, "tokenFile": t.TokenFile, "headersFile": t.HeadersFile} {
			if strings.ContainsAny(file, "\x00\n") || !filepath.IsAbs(file) && strings.Contains(file, "/") {
				p.add(at+"."+key, "must be an absolute path, or the name of a systemd credential", "write /PATH, or NAME with LoadCredential=NAME:/PATH in the unit (systemctl edit kubecertd)")
			}
		}
	}
}

// targetURL checks where a target is reached. The URL itself may be a secret.
func (p *Problems) targetURL(at string, t Target) {
	switch u, err := url.Parse(t.URL); {
	case (t.URL == "") == (t.URLFile == ""):
		p.add(at+".url", "must be set, or urlFile, and not both", "write the address into one of them; one that is a secret belongs into a file (urlFile)")
	case t.URL == "":
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		p.add(at+".url", "is no address of HTTP", "write it as https://HOST/PATH")
	case u.User != nil:
		p.add(at+".url", "has a password in it", "put it into a file: tokenFile for a bearer token, headersFile for a line Authorization: …")
	}
}

// argv checks a program with its arguments.
func (p *Problems) argv(key string, argv []string, needed bool) {
	switch {
	case len(argv) == 0 && needed:
		p.add(key, "names no program", `write it and its arguments as a list, such as ["/usr/local/bin/tell", "--urgent"]`)
	case len(argv) == 0:
	case !filepath.IsAbs(argv[0]):
		p.add(key, "must begin with the absolute path of a program "+got(argv[0]), `write it and its arguments as a list, such as ["/usr/local/bin/tell", "--urgent"]; for a shell ["/bin/sh", "-c", "…"]`)
	case slices.ContainsFunc(argv, func(a string) bool { return strings.Contains(a, "\x00") }):
		p.add(key, "has an argument that no program can be given", "remove the NUL from it")
	}
}

// targetsNode is the list of targets as the file has it, without what may be a secret.
func targetsNode(list []Target, origin map[string]string) *yaml.Node {
	all := &yaml.Node{Kind: yaml.SequenceNode}
	for i, t := range list {
		one := &yaml.Node{Kind: yaml.MappingNode}
		add := func(key string, value *yaml.Node) {
			if from := origin[notify+"["+strconv.Itoa(i)+"]."+key]; from != "" && value.Kind == yaml.ScalarNode && !strings.Contains(value.Value, "\n") {
				value.LineComment = "# " + from
			}
			one.Content = append(one.Content, scalar(key), value)
		}
		texts := func(key string, l []string) {
			if len(l) == 0 {
				return
			}
			sequence := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
			for _, entry := range l {
				text := &yaml.Node{}
				text.SetString(entry)
				sequence.Content = append(sequence.Content, text)
			}
			add(key, sequence)
		}
		text := func(key, value string) {
			if value != "" {
				n := &yaml.Node{}
				n.SetString(value)
				add(key, n)
			}
		}
		text("name", t.Name)
		text("type", t.Type)
		texts("events", t.Events)
		text("url", hidden(t.URL))
		text("urlFile", t.URLFile)
		text("tokenFile", t.TokenFile)
		text("headersFile", t.HeadersFile)
		text("template", t.Template)
		texts("command", t.Command)
		text("timeout", FormatDuration(t.Timeout))
		text("repeat", FormatDuration(t.Repeat))
		text("blockedAfter", FormatDuration(t.BlockedAfter))
		all.Content = append(all.Content, one)
	}
	return all
}

// hidden is an address without its path, which is the secret of many webhooks.
func hidden(address string) string {
	u, err := url.Parse(address)
	if err != nil || address == "" {
		return ""
	}
	if strings.Trim(u.Path, "/") == "" && u.RawQuery == "" && u.Fragment == "" && u.User == nil {
		return address
	}
	return u.Scheme + "://" + u.Host + "/(hidden)"
}
