package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// Whoever is told to type a command of ours can type it.
func TestTroubleshootingNamesCommands(t *testing.T) {
	content, err := os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("(?m)(?:`|^    )kubecertd ([a-z][^`\n]*)").FindAllStringSubmatch(string(content), -1)
	if len(named) < 10 {
		t.Fatalf("only %d commands were found", len(named))
	}
	for _, words := range named {
		arguments := strings.Fields(words[1])
		cmd, rest, err := newRoot().Find(arguments)
		if err == nil {
			err = cmd.ParseFlags(rest)
		}
		if err == nil && cmd.HasSubCommands() {
			err = cmd.ValidateArgs(cmd.Flags().Args())
		}
		if err != nil {
			t.Errorf("kubecertd %s: %v", words[1], err)
		}
	}
}
