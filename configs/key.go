package configs

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Key is one value that can be set.
type Key struct {
	// Name is the path in the file, such as restart.grace.etcd.
	Name string
	// Env is the variable of the environment, such as KUBECERTD_RESTART_GRACE_ETCD.
	Env string
	// Flag is the flag that sets it where a command has one, such as
	// restart-grace-etcd.
	Flag string
	// Default is the text of its default.
	Default string

	index []int // of the field in Config
}

// Keys are all keys in the order of the file.
func Keys() []Key {
	return keysOf(reflect.ValueOf(Default()), "", nil)
}

// keysOf walks the sections. Every struct is a section but Threshold, which has a
// text form of its own.
func keysOf(section reflect.Value, prefix string, index []int) []Key {
	var keys []Key
	for i := range section.NumField() {
		name := prefix + section.Type().Field(i).Tag.Get("mapstructure")
		if strings.HasSuffix(name, "-") {
			continue // not a key: Override.Others
		}
		at := append(slices.Clone(index), i)
		value := section.Field(i)
		if _, leaf := value.Interface().(Threshold); value.Kind() == reflect.Struct && !leaf {
			keys = append(keys, keysOf(value, name+".", at)...)
			continue
		}
		flag := kebab(name)
		keys = append(keys, Key{
			Name:    name,
			Env:     envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_")),
			Flag:    flag,
			Default: text(value),
			index:   at,
		})
	}
	return keys
}

// kebab writes a key path as a flag: restart.graceAlone is restart-grace-alone.
func kebab(name string) string {
	var b strings.Builder
	for _, r := range name {
		switch {
		case r == '.':
			b.WriteByte('-')
		case unicode.IsUpper(r):
			b.WriteByte('-')
			b.WriteRune(unicode.ToLower(r))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// text is a value as one writes it in the file.
func text(value reflect.Value) string {
	switch v := value.Interface().(type) {
	case time.Duration:
		return FormatDuration(v)
	case Threshold:
		return v.String()
	case int:
		return strconv.Itoa(v)
	case bool:
		return strconv.FormatBool(v)
	case List:
		return v.String()
	default:
		return value.String()
	}
}

// of is the key's value in a configuration, as text.
func (k Key) of(c Config) string {
	return text(reflect.ValueOf(c).FieldByIndex(k.index))
}

// sections are the names of all sections, such as restart and restart.grace.
func sections(keys []Key) []string {
	var names []string
	for _, k := range keys {
		for i, r := range k.Name {
			if r == '.' && !slices.Contains(names, k.Name[:i]) {
				names = append(names, k.Name[:i])
			}
		}
	}
	return names
}

// nearest is the name that was most likely meant, or "". It finds misspellings,
// another case, and a key that was put into the wrong section.
func nearest(name string, known []string) string {
	if last(name) == "" {
		return ""
	}
	best := misspelled(name, known, len(last(name)))
	if best != "" {
		return best
	}
	for _, k := range known {
		if !strings.EqualFold(last(k), last(name)) {
			continue
		}
		if best != "" {
			return "" // timeout is in three sections: no telling which was meant
		}
		best = k
	}
	return best
}

// Nearest is the name of those that was most likely meant by a misspelled one, or "".
func Nearest(name string, known []string) string { return misspelled(name, known, len(name)) }

// misspelled finds it where a third of so many letters are wrong at most.
func misspelled(name string, known []string, letters int) string {
	best, least := "", max(1, letters/3)+1
	for _, k := range known {
		if d := distance(strings.ToLower(name), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	return best
}

func last(name string) string {
	return name[strings.LastIndexByte(name, '.')+1:]
}

// distance is the number of letters to add, drop, replace or swap with their
// neighbor (optimal string alignment) to come from a to b.
func distance(a, b string) int {
	before, previous := []int(nil), make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(previous[j]+1, row[j-1]+1, previous[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, previous = previous, row
	}
	return previous[len(b)]
}
