//go:build docs

package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubecertd/kubecertd/configs"
)

// addDocs adds the command that writes what is made of the commands and is shipped beside
// the program: manual pages, and completions of shells. Makefile calls it.
func addDocs(root *cobra.Command) {
	root.AddCommand(&cobra.Command{
		Use:    "docs DIR",
		Short:  "Write the manual pages and completions of shells",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE:   func(_ *cobra.Command, args []string) error { return writeDocs(args[0]) },
	})
}

// writeDocs writes them into a directory, the same for the same source.
func writeDocs(dir string) error {
	epoch := os.Getenv("SOURCE_DATE_EPOCH")
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return usageError{fmt.Errorf("SOURCE_DATE_EPOCH is %q: set it to the date of the source, in seconds since 1970", epoch)}
	}
	date := time.Unix(seconds, 0)
	root := newRoot()
	if err := writePages(root, filepath.Join(dir, "man8"), date); err != nil {
		return err
	}
	page, err := filePage(configs.Example, date)
	if err != nil {
		return err
	}
	var bash, zsh, fish bytes.Buffer
	return errors.Join(
		writeCompressed(filepath.Join(dir, "man5", "kubecertd.yaml.5.gz"), page),
		root.GenBashCompletionV2(&bash, true), write(filepath.Join(dir, "bash", "kubecertd"), bash.Bytes()),
		root.GenZshCompletion(&zsh), write(filepath.Join(dir, "zsh", "_kubecertd"), zsh.Bytes()),
		root.GenFishCompletion(&fish, true), write(filepath.Join(dir, "fish", "kubecertd.fish"), fish.Bytes()))
}

// writePages writes the page of a command and those of the commands below it.
func writePages(cmd *cobra.Command, dir string, date time.Time) error {
	if cmd.Hidden {
		return nil
	}
	cmd.InitDefaultHelpFlag()
	err := writeCompressed(filepath.Join(dir, pageName(cmd)+".8.gz"), commandPage(cmd, date))
	for _, sub := range cmd.Commands() {
		err = errors.Join(err, writePages(sub, dir, date))
	}
	return err
}

// writeCompressed writes as gzip -9n does: without a name and a time.
func writeCompressed(path, text string) error {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	_, err = w.Write([]byte(text))
	return errors.Join(err, w.Close(), write(path, b.Bytes()))
}

func write(path string, content []byte) error {
	return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o644))
}
