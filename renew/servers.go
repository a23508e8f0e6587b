package renew

import (
	"context"
	"encoding/json"
	"os"
	"slices"

	"go.uber.org/zap"
)

// serversFile is where the cluster's API servers are remembered, for when the own one
// does not answer, and the load balancer neither.
const serversFile = "api-servers.json"

// apiServers knows the API servers of the cluster.
type apiServers interface {
	// APIServers are the addresses of those that are up.
	APIServers(ctx context.Context) ([]string, error)
}

// rememberServers asks for the API servers and keeps them. Nobody depends on it.
func (n *Node) rememberServers(ctx context.Context) {
	if n.APIServers == nil {
		return
	}
	found, err := n.APIServers.APIServers(ctx)
	if err != nil {
		n.Log.Debug("the cluster's API servers could not be asked for", zap.Error(err))
		return
	}
	slices.Sort(found)
	known := n.State.APIServers()
	if len(found) == 0 || slices.Equal(found, known) {
		return
	}
	content, err := json.Marshal(found)
	if err == nil {
		err = n.State.write(serversFile, content)
	}
	if err != nil {
		n.Log.Debug("the cluster's API servers could not be remembered", zap.Error(err))
	}
}

// APIServers are the addresses of the cluster's API servers as they were last seen.
func (s State) APIServers() []string {
	var known []string
	content, err := os.ReadFile(s.path(serversFile))
	if err != nil || json.Unmarshal(content, &known) != nil {
		return nil
	}
	return known
}
