//go:build !docs

package main

import "github.com/spf13/cobra"

// addDocs adds nothing: what writes the man pages is not shipped.
func addDocs(*cobra.Command) {}
