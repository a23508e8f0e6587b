package configs

import (
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// List is a value that holds several: a list in the file, and in one line, as in the
// environment, the values with commas between them.
type List []string

// String is the list in one line.
func (l List) String() string { return strings.Join(l, ",") }

// list reads a list from either form.
func list(data any) (List, error) {
	switch v := data.(type) {
	case List:
		return v, nil
	case string:
		if strings.TrimSpace(v) == "" {
			return nil, nil
		}
		var l List
		for part := range strings.SplitSeq(v, ",") {
			l = append(l, strings.TrimSpace(part))
		}
		return l, nil
	}
	written, _ := written(data)
	return nil, Problem{What: "must be text " + got(written), Do: "put it in quotes"}
}

// paths refuses what can be no path or glob of the host.
func (p *Problems) paths(key string, list List) {
	for i, entry := range list {
		switch {
		case entry == "":
			p.add(key, "has an empty entry", "write an absolute path, or remove it")
		case !filepath.IsAbs(entry) || strings.ContainsAny(entry, "\x00\n"):
			p.add(key, "must be absolute paths "+got(entry), "begin each with /")
		case filepath.Clean(entry) == "/":
			p.add(key, "must not name the root directory "+got(entry), "name the files, or a directory of certificates")
		case badPattern(entry):
			p.add(key, "holds a pattern that cannot be read "+got(entry), `close its [, or write \[ for the character itself`)
		case slices.ContainsFunc(list[:i], func(other string) bool { return filepath.Clean(other) == filepath.Clean(entry) }):
			p.add(key, "names a path twice "+got(entry), "keep one of them")
		}
	}
	if len(list) > mostEntries {
		p.add(key, fmt.Sprintf("has %d entries", len(list)), fmt.Sprintf("name directories or patterns instead, at most %d", mostEntries))
	}
}

// mostEntries is more than a person writes.
const mostEntries = 1000

func badPattern(pattern string) bool {
	_, err := filepath.Match(pattern, "")
	return err != nil
}

// isList says whether a key's value is a list.
func isList(key string) bool {
	for _, k := range Keys() {
		if k.Name == key {
			_, ok := reflect.ValueOf(Default()).FieldByIndex(k.index).Interface().(List)
			return ok
		}
	}
	return false
}
