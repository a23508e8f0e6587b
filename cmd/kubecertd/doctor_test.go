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
	canBeTyped(t, regexp.MustCompile("(?m)(?:`|^    )kubecertd ([a-z][^`\n]*)").FindAllStringSubmatch(string(content), -1))
}

// The same is true of what journalctl -x says.
func TestCatalogNamesCommands(t *testing.T) {
	content, err := os.ReadFile("../../packaging/kubecertd.catalog")
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile("(?m)^Subject: .*$").ReplaceAllString(string(content), "")
	canBeTyped(t, regexp.MustCompile("(?m)(?:[a-z]: |^    )kubecertd ([a-z]+(?: [@A-Za-z_-]+)*)(?:$| &&|[.;])").FindAllStringSubmatch(text, -1))
}

func canBeTyped(t *testing.T, named [][]string) {
	t.Helper()
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
