// Component stands for a component of the control plane, and for the pause process
// of its sandbox: it waits to be told to go. With the argument "stubborn" it does
// not go.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	fmt.Println("ready") // before this, a signal would end it in Go's own way
	for range signals {
		if len(os.Args) < 2 || os.Args[1] != "stubborn" {
			return
		}
	}
}
