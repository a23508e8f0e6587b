//go:build docs

package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// page is a manual page in the making, in the language of man(7). cobra's own generator
// leaves pages that mandoc warns of, and in which options are hard to find.
type page struct{ strings.Builder }

func newPage(title, section string, date time.Time) *page {
	p := &page{}
	// A date with hyphens that are escaped is none to mandoc.
	fmt.Fprintf(p, ".TH %s %s %s kubecertd kubecertd\n", escaped(strings.ToUpper(title)), section, date.UTC().Format(time.DateOnly))
	p.WriteString(".nh\n.ad l\n") // names of variables and paths can be copied
	return p
}

// macro writes one with arguments that may have spaces.
func (p *page) macro(name string, args ...string) {
	p.WriteString("." + name)
	for _, a := range args {
		if a = escaped(a); a == "" || strings.ContainsAny(a, " \t") {
			a = `"` + strings.ReplaceAll(a, `"`, `\(dq`) + `"`
		}
		p.WriteString(" " + a)
	}
	p.WriteString("\n")
}

// text writes paragraphs, which empty lines part; indented lines stay as they are.
func (p *page) text(text string) { p.paragraphs(text, "PP") }

func (p *page) paragraphs(text, between string) {
	for i, paragraph := range strings.Split(strings.Trim(text, "\n"), "\n\n") {
		if i > 0 {
			p.macro(between)
		}
		if strings.HasPrefix(paragraph, "  ") {
			p.verbatim(paragraph)
			continue
		}
		p.filled(paragraph)
	}
}

// filled writes text that is set anew: short lines, and each sentence on one of its own,
// after which troff knows how wide the space is.
func (p *page) filled(text string) {
	const width = 78
	line := ""
	flush := func() {
		if line != "" {
			p.WriteString(safe(line) + "\n")
			line = ""
		}
	}
	for _, word := range strings.Fields(text) {
		address := strings.Contains(word, "://")
		if word = escaped(word); address {
			word = strings.ReplaceAll(word, "/", `/\:`) // an address may be longer than a line
		}
		if line != "" && len(line)+1+len(word) > width {
			flush()
		}
		if line != "" {
			line += " "
		}
		line += word
		if strings.HasSuffix(word, ".") || strings.HasSuffix(word, ":") {
			flush()
		}
	}
	flush()
}

// verbatim writes text whose lines are kept.
func (p *page) verbatim(text string) {
	p.WriteString(".nf\n")
	for _, line := range strings.Split(strings.Trim(text, "\n"), "\n") {
		p.WriteString(safe(escaped(strings.TrimPrefix(line, "  "))) + "\n")
	}
	p.WriteString(".fi\n")
}

// escaped is a text that troff shows as it is: a hyphen that can be copied, a quote that
// stays straight.
func escaped(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, "…", `\&...`).Replace(text)
}

// safe is a line that is no request.
func safe(line string) string {
	if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		return `\&` + line
	}
	return line
}

// commandPage is the page of one command.
func commandPage(cmd *cobra.Command, date time.Time) string {
	p := newPage(pageName(cmd), "8", date)
	p.macro("SH", "NAME")
	fmt.Fprintf(p, "%s \\- %s\n", escaped(pageName(cmd)), escaped(lowered(cmd.Short)))
	p.macro("SH", "SYNOPSIS")
	if cmd.HasAvailableSubCommands() {
		p.macro("B", cmd.CommandPath())
		p.macro("I", "COMMAND")
		p.WriteString("[options]\n")
	} else {
		p.macro("B", cmd.CommandPath())
		p.filled(strings.TrimSpace(strings.TrimPrefix(cmd.Use, cmd.Name()) + " [options]"))
	}
	p.macro("SH", "DESCRIPTION")
	if cmd.Long != "" {
		p.text(cmd.Long)
	} else {
		p.text(cmd.Short + ".")
	}
	if cmd.HasAvailableSubCommands() {
		p.macro("SH", "COMMANDS")
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				p.macro("TP")
				p.macro("B", strings.TrimPrefix(pageName(sub), pageName(cmd)+"-")+" (see "+pageName(sub)+"(8))")
				p.filled(sub.Short + ".")
			}
		}
	}
	p.options("OPTIONS", cmd.NonInheritedFlags())
	p.options("COMMON OPTIONS", cmd.InheritedFlags())
	if cmd.Example != "" {
		p.macro("SH", "EXAMPLES")
		p.verbatim(cmd.Example)
	}
	if !cmd.HasParent() {
		p.WriteString(surroundings)
	}
	p.macro("SH", "SEE ALSO")
	var also []string
	if cmd.HasParent() {
		also = append(also, pageName(cmd.Parent())+" 8")
	}
	also = append(also, "kubecertd.yaml 5")
	for i, a := range also {
		name, section, _ := strings.Cut(a, " ")
		end := ","
		if i == len(also)-1 {
			end = ""
		}
		fmt.Fprintf(p, ".BR %s (%s)%s\n", escaped(name), section, end)
	}
	return p.String()
}

// surroundings are what else belongs to the program.
const surroundings = `.SH FILES
.TP
.I /etc/kubecertd/kubecertd.yaml
The configuration; see
.BR kubecertd.yaml (5).
.TP
.I /var/lib/kubecertd
Records of runs, snapshots with copies of keys, and what is remembered of the
cluster, readable by root alone.
.TP
.I /usr/share/doc/kubecertd
What troubleshooting and architecture are about.
.SH ENVIRONMENT
Each key of the configuration is set by a variable as well:
.B KUBECERTD_CHECK_INTERVAL
sets check.interval.
.TP
.B NO_COLOR
If it is set,
.BR kubecertd\-status (8)
uses no colours.
.SH SIGNALS
.TP
.B SIGTERM, SIGINT
The daemon ends.
Restarts that have begun are finished first.
.TP
.B SIGHUP
The daemon reads its configuration again.
`

// options lists the flags that are not hidden.
func (p *page) options(title string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	p.macro("SH", title)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Deprecated != "" {
			return
		}
		names := `\fB` + escaped("--"+f.Name) + `\fR`
		if f.Shorthand != "" {
			names = `\fB` + escaped("-"+f.Shorthand) + `\fR, ` + names
		}
		if f.Value.Type() != "bool" {
			value := `=\fI` + strings.ToUpper(f.Value.Type()) + `\fR`
			if f.NoOptDefVal != "" {
				value = "[" + value + "]"
			}
			names += value
		}
		p.WriteString(".TP\n" + names + "\n")
		usage := f.Usage
		if f.Value.Type() != "bool" && f.DefValue != "" && !strings.Contains(usage, "default") {
			usage += " (default " + f.DefValue + ")"
		}
		p.filled(usage)
	})
}

// filePage is the page of the configuration, made of its shipped file.
func filePage(content string, date time.Time) (string, error) {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(content), &document); err != nil {
		return "", err
	}
	p := newPage("kubecertd.yaml", "5", date)
	p.macro("SH", "NAME")
	p.WriteString("kubecertd.yaml \\- the configuration of kubecertd\n")
	p.macro("SH", "SYNOPSIS")
	p.macro("I", "/etc/kubecertd/kubecertd.yaml")
	p.macro("SH", "DESCRIPTION")
	root := document.Content[0]
	p.text(comment(cmp.Or(document.HeadComment, root.HeadComment, root.Content[0].HeadComment)))
	for i := 0; i+1 < len(root.Content); i += 2 {
		name := root.Content[i].Value
		p.macro("SH", strings.ToUpper(name))
		p.keys(root.Content[i+1], name)
	}
	p.macro("SH", "SEE ALSO")
	p.WriteString(".BR kubecertd (8),\n.BR kubecertd\\-config (8)\n")
	return p.String(), nil
}

// keys writes what a section has.
func (p *page) keys(section *yaml.Node, path string) {
	for i := 0; i+1 < len(section.Content); i += 2 {
		key, value := section.Content[i], section.Content[i+1]
		name := path + "." + key.Value
		p.macro("TP")
		if value.Kind == yaml.MappingNode {
			p.macro("B", name)
			p.paragraphs(comment(key.HeadComment), "IP")
			p.keys(value, name)
			continue
		}
		shown := value.Value
		switch {
		case value.Kind == yaml.SequenceNode:
			shown = "[]"
		case shown == "":
			shown = `""`
		}
		fmt.Fprintf(p, "\\fB%s\\fR (default: %s)\n", escaped(name), escaped(shown))
		p.paragraphs(comment(key.HeadComment), "IP")
	}
}

// comment is a comment of the file as text.
func comment(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimPrefix(strings.TrimPrefix(line, "#"), " ")
	}
	return strings.Join(lines, "\n")
}

func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// lowered begins as whatis(1) lists it.
func lowered(short string) string { return strings.ToLower(short[:1]) + short[1:] }
