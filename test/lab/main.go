// Command lab tries.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/kubecertd/kubecertd/test/lab/parts"
	"github.com/kubecertd/kubecertd/test/lab/progress"
)

func main() {
	c, err := parts.OpenCache("")
	if err == nil {
		var s *parts.Set
		s, err = c.Build(context.Background(), "", progress.New(os.Stdout))
		fmt.Printf("%+v\n", s)
	}
	fmt.Println(err)
}
