//go:build !linux

// Command lab brings real kubeadm control planes up on this machine and takes
// them away again.
package main

import (
	"fmt"
	"os"
	goruntime "runtime"
)

func main() {
	fmt.Fprintf(os.Stderr, "lab: its machines are Linux namespaces, which %s has not: run it on Linux, or in a virtual machine with it\n",
		goruntime.GOOS)
	os.Exit(1)
}
