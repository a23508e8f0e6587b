package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxSize is far more than every key with a page of comments takes.
const maxSize = 1 << 20

// settings are what one file sets.
type settings struct {
	name   string
	values map[string]any // by key, as YAML types them
	lines  map[string]int // by key
	seen   map[string]int // lines of keys and sections, for duplicates
}

// readFile reads a file. It returns no settings and no problem for a file that may
// be missing and is.
func readFile(name string, explicit bool) (settings, Problems) {
	s := settings{name: name, values: map[string]any{}, lines: map[string]int{}, seen: map[string]int{}}
	if name == "" {
		return s, nil
	}
	content, problem := content(name, explicit)
	if problem != nil {
		problem.Where = name
		return s, Problems{*problem}
	}
	return s, s.parse(content)
}

// content is the file's content after everything has been checked that a daemon
// running as root should check before it trusts a file.
func content(name string, explicit bool) ([]byte, *Problem) {
	// Not blocking, or a named pipe would hang here before it can be refused.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if target, err := os.Readlink(name); err == nil {
			return nil, &Problem{What: "is a link to " + target + ", which does not exist", Do: "put the file there or remove the link"}
		}
		if !explicit {
			return nil, nil
		}
		return nil, &Problem{What: "does not exist", Do: "name an existing file, or none to use the defaults"}
	}
	if err != nil {
		return nil, &Problem{What: "cannot be opened: " + reason(err), Do: "make it a file that this user can read"}
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, &Problem{What: "cannot be read: " + reason(err), Do: "check the file system it lies on"}
	}
	switch {
	case info.IsDir():
		return nil, &Problem{What: "is a directory", Do: "name the file, such as " + filepath.Join(name, filepath.Base(File))}
	case !info.Mode().IsRegular():
		return nil, &Problem{What: "is not a regular file (got " + info.Mode().Type().String() + ")", Do: "write the configuration to a file"}
	}
	if problem := guarded(info, os.Geteuid()); problem != nil {
		problem.Do += " " + name
		return nil, problem
	}
	content, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	switch {
	case err != nil:
		return nil, &Problem{What: "cannot be read: " + reason(err), Do: "check the file system it lies on"}
	case len(content) > maxSize:
		return nil, &Problem{What: fmt.Sprintf("is larger than %d KiB", maxSize>>10), Do: "this is not a configuration of kubecertd; name the right file"}
	case !utf8.Valid(content):
		return nil, &Problem{What: "is not UTF-8 text", Do: "save it as UTF-8, or name the right file"}
	}
	return content, nil
}

// guarded refuses a file that somebody else than root can change when root reads
// it. It names a program that root runs (renew.kubeadm), so whoever can write it is
// root; sudo and sshd refuse such files too.
func guarded(info fs.FileInfo, uid int) *Problem {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if uid != 0 || !ok {
		return nil
	}
	const why = "; it names a program that root runs"
	switch mode := info.Mode().Perm(); {
	case mode&0o002 != 0, mode&0o020 != 0 && stat.Gid != 0:
		return &Problem{What: fmt.Sprintf("can be written by others than root (got mode %04o)%s", mode, why), Do: "chmod go-w"}
	case stat.Uid != 0:
		return &Problem{What: fmt.Sprintf("does not belong to root (got user id %d)%s", stat.Uid, why), Do: "chown root:"}
	}
	return nil
}

// reason is an error without the path, which the problem names already.
func reason(err error) string {
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}

// yamlLine takes the line out of a message of the YAML parser.
var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// parse takes the values out of the file. The YAML tree is walked by hand, and not
// given to viper as it is, because viper forgets lines and the case of keys, and
// takes the last of two equal keys.
func (s settings) parse(content []byte) Problems {
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var document, more yaml.Node
	err := decoder.Decode(&document)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return Problems{s.invalid(content, err)}
	}
	problems := s.section(document.Content[0], "")
	switch err := decoder.Decode(&more); {
	case errors.Is(err, io.EOF):
	case err != nil:
		problems = append(problems, s.invalid(content, err))
	default:
		problems = append(problems, s.problem(more.Line, "", "is a second document", "keep one and remove the line ---"))
	}
	return problems
}

// invalid says where a file is not YAML.
func (s settings) invalid(content []byte, err error) Problem {
	line, message := 0, err.Error()
	if m := yamlLine.FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1])
		message = m[2]
	}
	for i, text := range bytes.Split(content, []byte("\n")) {
		indent := text[:len(text)-len(bytes.TrimLeft(text, " \t"))]
		if bytes.ContainsRune(indent, '\t') && len(indent) < len(text) {
			return s.problem(i+1, "", "is not valid YAML: a tab in the indentation", "indent with spaces")
		}
	}
	return s.problem(line, "", "is not valid YAML: "+message, "see "+filepath.Base(File)+" as it is shipped for how it is written")
}

func (s settings) problem(line int, key, what, do string) Problem {
	where := s.name
	if line > 0 {
		where += ":" + strconv.Itoa(line)
	}
	return Problem{Where: where, Key: key, What: what, Do: do, line: line}
}

// section reads the keys of one section; the whole file is the section "".
func (s settings) section(node *yaml.Node, name string) Problems {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind == yaml.ScalarNode && node.Tag == "!!null" {
		return nil // a section with all its keys commented out
	}
	keys := Keys()
	if node.Kind != yaml.MappingNode {
		return Problems{s.problem(node.Line, name, "must be a section "+describe(node),
			"write its keys, one a line: "+strings.Join(children(name, keys), ", "))}
	}
	var problems Problems
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		path := key.Value
		if name != "" {
			path = name + "." + path
		}
		if first, twice := s.seen[path]; twice {
			problems = append(problems, s.problem(key.Line, path, fmt.Sprintf("is set twice, first in line %d", first), "keep one of them"))
			continue
		}
		s.seen[path] = key.Line
		switch {
		case path == notify:
			problems = append(problems, s.targets(value)...)
		case slices.Contains(sections(keys), path):
			problems = append(problems, s.section(value, path)...)
		case slices.ContainsFunc(keys, func(k Key) bool { return k.Name == path }):
			problems = append(problems, s.value(value, path)...)
		case name == override && podName.MatchString(key.Value) && nearest(path, names(keys)) == "":
			problems = append(problems, s.value(value, path)...)
		default:
			problems = append(problems, s.problem(key.Line, path, "is not a key of kubecertd", meant(name, path, keys)))
		}
	}
	return problems
}

// value takes one value as YAML types it.
func (s settings) value(node *yaml.Node, key string) Problems {
	line := node.Line
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind == yaml.SequenceNode && isList(key) {
		return s.list(node, line, key)
	}
	if node.Kind != yaml.ScalarNode {
		return Problems{s.problem(line, key, "must be one value "+describe(node), "write it in one line, as the shipped file does")}
	}
	if node.Tag == "!!null" {
		return Problems{s.problem(line, key, "has no value", `give it one, or remove the line for its default`)}
	}
	s.lines[key] = line
	var value any
	if err := node.Decode(&value); err != nil {
		return Problems{s.problem(line, key, "cannot be read "+got(node.Value), "put it in quotes")}
	}
	if _, isText := value.(string); !isText {
		value = untyped{value, node.Value}
	}
	s.values[key] = value
	return nil
}

// list takes a value that is a list of texts.
func (s settings) list(node *yaml.Node, line int, key string) Problems {
	s.lines[key] = line
	values := List{}
	var problems Problems
	for _, entry := range node.Content {
		if entry.Kind == yaml.AliasNode {
			entry = entry.Alias
		}
		if entry.Kind != yaml.ScalarNode || entry.Tag != "!!str" {
			problems = append(problems, s.problem(entry.Line, key, "must be a list of texts "+describe(entry), "write one text in each line, in quotes if need be"))
			continue
		}
		values = append(values, entry.Value)
	}
	if len(values) == 0 {
		values = nil
	}
	s.values[key] = values
	return problems
}

// untyped is a value that YAML did not take for text, with what was written.
type untyped struct {
	value   any
	written string
}

func describe(node *yaml.Node) string {
	switch node.Kind {
	case yaml.SequenceNode:
		return "(got a list)"
	case yaml.MappingNode:
		return "(got a section)"
	default:
		return got(node.Value)
	}
}

// children are the keys and sections directly below a section.
func children(section string, keys []Key) []string {
	prefix := ""
	if section != "" {
		prefix = section + "."
	}
	var names []string
	for _, k := range keys {
		below, ok := strings.CutPrefix(k.Name, prefix)
		if name, _, _ := strings.Cut(below, "."); ok && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if section == "" {
		names = append(names, notify)
	}
	return names
}

// meant says what to write instead of an unknown key.
func meant(section, path string, keys []Key) string {
	if strings.HasSuffix(path, "%") {
		return `in braces a comma ends the value, so put it in quotes: before: "30d, 33%"`
	}
	known := append(sections(keys), notify)
	for _, k := range keys {
		known = append(known, k.Name)
	}
	if name := nearest(path, known); name != "" {
		return "did you mean " + name + "?"
	}
	return "the keys here are " + strings.Join(children(section, keys), ", ")
}
