package configs

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// override is the section in which static pods of others can be named beside the
// components that every node has. A name that is nearly that of a component is taken for
// a misspelling.
const override = "restart.override"

// podName is what a static pod can be called, with the name of one of its containers
// where that is another (kubernetes: apimachinery/pkg/util/validation).
var podName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*(/[a-z0-9]([-a-z0-9]*[a-z0-9])?)?$`)

// names are the paths of keys.
func names(keys []Key) []string {
	var all []string
	for _, k := range keys {
		all = append(all, k.Name)
	}
	return all
}

// takeOverrides takes the policies of static pods of others out of what the file sets.
// They have no field of their own, and dots in their names.
func (s settings) takeOverrides(keys []Key) (map[string]string, Problems) {
	var problems Problems
	others := map[string]string{}
	known := names(keys)
	for _, key := range slices.Sorted(maps.Keys(s.values)) {
		name, ours := strings.CutPrefix(key, override+".")
		if !ours || slices.Contains(known, key) {
			continue
		}
		switch policy := s.values[key].(type) {
		case string:
			others[name] = policy
		case untyped:
			problems = append(problems, s.problem(s.lines[key], key, "must be text "+got(policy.written), "write one of always, auto, never"))
		}
		delete(s.values, key)
	}
	if len(others) == 0 {
		return nil, problems
	}
	return others, problems
}
