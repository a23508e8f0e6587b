package configs

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// YAML is the configuration as a file that Load reads back to the same.
func (c Config) YAML() ([]byte, error) {
	return write(c, nil)
}

// YAML is the configuration as a file, each line with a comment that says where the
// value comes from.
func (e Effective) YAML() ([]byte, error) {
	return write(e.Config, e.Origin)
}

func write(c Config, origin map[string]string) ([]byte, error) {
	root := &yaml.Node{Kind: yaml.MappingNode}
	at := map[string]*yaml.Node{"": root}
	for _, k := range Keys() {
		value := k.node(c)
		if from := origin[k.Name]; from != "" {
			value.LineComment = "# " + from
		}
		section, name := "", k.Name
		for {
			head, rest, more := strings.Cut(name, ".")
			if !more {
				break
			}
			below := section + head + "."
			if at[below] == nil {
				at[below] = &yaml.Node{Kind: yaml.MappingNode}
				at[section].Content = append(at[section].Content, scalar(head), at[below])
			}
			section, name = below, rest
		}
		at[section].Content = append(at[section].Content, scalar(name), value)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Restart.Override.Others)) {
		value := scalar(c.Restart.Override.Others[name])
		if from := origin[override+"."+name]; from != "" {
			value.LineComment = "# " + from
		}
		section := at[override+"."]
		section.Content = append(section.Content, scalar(name), value)
	}
	if len(c.Notify) > 0 {
		root.Content = append(root.Content, scalar(notify), targetsNode(c.Notify, origin))
	}
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(root); err != nil {
		return nil, fmt.Errorf("write the configuration as YAML: %w", err)
	}
	return b.Bytes(), nil
}

// node is the key's value as the file has it.
func (k Key) node(c Config) *yaml.Node {
	if l, ok := reflect.ValueOf(c).FieldByIndex(k.index).Interface().(List); ok {
		sequence := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, entry := range l {
			text := &yaml.Node{}
			text.SetString(entry)
			sequence.Content = append(sequence.Content, text)
		}
		return sequence
	}
	value := scalar(k.of(c))
	if value.Value == "" {
		value.Style = yaml.DoubleQuotedStyle
	}
	return value
}

func scalar(text string) *yaml.Node {
	// No text among the keys looks like one of these.
	if _, err := strconv.Atoi(text); err == nil {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: text}
	}
	if text == "true" || text == "false" {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: text}
	}
	n := &yaml.Node{}
	n.SetString(text)
	return n
}
