package configs

import (
	"cmp"
	"errors"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// envPrefix begins every variable that kubecertd reads.
const envPrefix = "KUBECERTD_"

// Effective is the configuration in force and where each value comes from.
type Effective struct {
	Config Config
	// Origin is, by key, FILE:LINE, KUBECERTD_…, --… or "default".
	Origin map[string]string
}

// Load reads the configuration: defaults, then the file, then the environment, then
// flags. flags may be nil; a flag counts when it is named like a key (Key.Flag) and
// was given. A missing file is an error only when it was named explicitly.
//
// The error is of type Problems and holds everything that is wrong; the
// configuration that comes with it is not to be used. A file that others than root
// can write is refused when root reads it.
func Load(file string, explicit bool, flags *pflag.FlagSet) (Config, error) {
	effective, err := Read(file, explicit, flags)
	return effective.Config, err
}

// Read is Load that also says where each value comes from.
func Read(file string, explicit bool, flags *pflag.FlagSet) (Effective, error) {
	set, problems := readFile(file, explicit)
	keys := Keys()
	others, wrong := set.takeOverrides(keys)
	problems = append(problems, wrong...)
	targets := set.takeTargets()
	problems = append(problems, unknownVariables(os.Environ(), keys)...)

	v := viper.New()
	v.AllowEmptyEnv(true) // "not set" and "set to nothing" are different things
	origin := map[string]string{}
	for _, k := range keys {
		origin[k.Name] = "default"
		v.SetDefault(k.Name, k.Default)
		if line, ok := set.lines[k.Name]; ok {
			origin[k.Name] = set.problem(line, "", "", "").Where
		}
		if err := v.BindEnv(k.Name, k.Env); err != nil {
			return Effective{}, err
		}
		if _, ok := os.LookupEnv(k.Env); ok {
			origin[k.Name] = k.Env
		}
		if flags == nil || flags.Lookup(k.Flag) == nil {
			continue
		}
		if err := v.BindPFlag(k.Name, flags.Lookup(k.Flag)); err != nil {
			return Effective{}, err
		}
		if flags.Changed(k.Flag) {
			origin[k.Name] = "--" + k.Flag
		}
	}
	if err := v.MergeConfigMap(tree(set.values)); err != nil {
		return Effective{}, err
	}

	// A value that cannot be read leaves its default, so that Validate has something
	// to say about all others.
	c := Default()
	found := problemsOf(v.UnmarshalExact(&c, strictly))
	c.Restart.Override.Others, c.Notify = others, targets
	for key, line := range set.lines {
		if strings.HasPrefix(key, notify+"[") {
			origin[key] = set.problem(line, "", "", "").Where
		}
	}
	for name := range others {
		origin[override+"."+name] = set.problem(set.lines[override+"."+name], "", "", "").Where
	}
	if invalid := (Problems)(nil); errors.As(c.Validate(), &invalid) {
		found = append(found, invalid...)
	}
	for _, p := range found {
		if p.Where = origin[p.Key]; p.Where == "default" {
			p.Where = ""
		}
		if strings.HasPrefix(p.Where, file+":") {
			p.line = set.lines[p.Key]
		}
		problems = append(problems, p)
	}
	// Those of the file first, from top to bottom.
	slices.SortStableFunc(problems, func(a, b Problem) int {
		if (a.line == 0) != (b.line == 0) {
			return cmp.Compare(b.line, a.line)
		}
		return cmp.Compare(a.line, b.line)
	})
	return Effective{Config: c, Origin: origin}, problems.err()
}

// unknownVariables refuses variables that look like ours and are not: the daemon's
// environment comes from a unit file, where a misspelling would go unnoticed.
func unknownVariables(environment []string, keys []Key) Problems {
	var known []string
	for _, k := range keys {
		known = append(known, strings.TrimPrefix(k.Env, envPrefix))
	}
	var problems Problems
	slices.Sort(environment)
	for _, entry := range environment {
		name, _, _ := strings.Cut(entry, "=")
		ours, ok := strings.CutPrefix(name, envPrefix)
		// What a hook is given must not keep it from asking kubecertd something.
		if !ok || slices.Contains(known, ours) || ours == "EVENT" || strings.HasPrefix(ours, "EVENT_") {
			continue
		}
		do := "remove it, or see `kubecertd config show` for the keys"
		if meant := nearest(ours, known); meant != "" {
			do = "did you mean " + envPrefix + meant + "?"
		}
		problems = append(problems, Problem{Where: name, What: "is not a variable of kubecertd", Do: do})
	}
	return problems
}

// tree nests values by their key paths, as a file would.
func tree(values map[string]any) map[string]any {
	root := map[string]any{}
	for key, value := range values {
		at, names := root, strings.Split(key, ".")
		for _, name := range names[:len(names)-1] {
			next, ok := at[name].(map[string]any)
			if !ok {
				next = map[string]any{}
				at[name] = next
			}
			at = next
		}
		at[names[len(names)-1]] = value
	}
	return root
}

// strictly is how values become fields: text only, nothing guessed.
func strictly(c *mapstructure.DecoderConfig) {
	c.WeaklyTypedInput = false
	c.DecodeHook = func(_, to reflect.Type, data any) (any, error) {
		switch to {
		case reflect.TypeFor[time.Duration]():
			return duration(data)
		case reflect.TypeFor[Threshold]():
			return threshold(data)
		case reflect.TypeFor[List]():
			return list(data)
		case reflect.TypeFor[int]():
			return count(data)
		case reflect.TypeFor[bool]():
			return yesOrNo(data)
		}
		if number, ok := data.(untyped); ok && to.Kind() == reflect.String {
			return nil, Problem{What: "must be text " + got(number.written), Do: "put it in quotes"}
		}
		return data, nil
	}
}

func duration(data any) (time.Duration, error) {
	written, bare := written(data)
	d, err := ParseDuration(written)
	switch {
	case err == nil:
		return d, nil
	case bare:
		return 0, Problem{What: "has no unit " + got(written), Do: "write " + written + "s for seconds, or m, h, d"}
	default:
		return 0, Problem{What: err.Error() + " " + got(written), Do: "write a number with a unit, such as 90s, 1h30m or 30d"}
	}
}

func threshold(data any) (Threshold, error) {
	written, _ := written(data)
	var t Threshold
	if err := t.UnmarshalText([]byte(written)); err != nil {
		return t, Problem{What: err.Error() + " " + got(written), Do: thresholdForms}
	}
	return t, nil
}

func count(data any) (int, error) {
	written, _ := written(data)
	n, err := strconv.Atoi(written)
	if err != nil {
		return 0, Problem{What: "must be a whole number " + got(written), Do: "write it in digits, such as 10"}
	}
	return n, nil
}

func yesOrNo(data any) (bool, error) {
	switch written, _ := written(data); written {
	case "true":
		return true, nil
	case "false":
		return false, nil
	default:
		return false, Problem{What: "is neither true nor false " + got(written), Do: "write true or false"}
	}
}

// written is the text of a value, and whether it is a bare number.
func written(data any) (text string, number bool) {
	switch v := data.(type) {
	case string:
		return v, strings.Trim(v, "0123456789.") == "" && v != ""
	case untyped:
		switch v.value.(type) {
		case int, int64, uint64, float64:
			return v.written, true
		}
		return v.written, false
	default:
		return "", false
	}
}

// problemsOf finds our problems, with their keys, in the tree of errors that
// mapstructure returns.
func problemsOf(err error) Problems {
	if err == nil {
		return nil
	}
	switch e := err.(type) { //nolint:errorlint // the tree is walked here, level by level
	case *mapstructure.DecodeError:
		inner := problemsOf(e.Unwrap())
		for i := range inner {
			inner[i].Key = cmp.Or(inner[i].Key, e.Name())
		}
		return inner
	case Problem:
		return Problems{e}
	case interface{ Unwrap() []error }:
		var all Problems
		for _, each := range e.Unwrap() {
			all = append(all, problemsOf(each)...)
		}
		return all
	case interface{ Unwrap() error }:
		return problemsOf(e.Unwrap())
	default:
		return Problems{{What: err.Error(), Do: "this is a mistake in kubecertd; please report it"}}
	}
}
