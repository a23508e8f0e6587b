package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
)

// request is what an API server is asked.
type request struct {
	method, path string
	query        url.Values
	content      string // the type of the body
	body         []byte
}

// ask makes one request, with the first credentials that are believed and of the first
// server that answers: the own one, the one that the kubeconfig names, the others that
// are known. One that lets us wait, or says that it cannot answer now (429, 5xx), is
// passed over and not asked again with other credentials. All of it takes no longer than
// the deadline: each server has half of what is left of it, and the last one all.
//
// What was written may have been carried out before its answer was lost, and then is
// asked for once more: every write of ours is one that may be (a resourceVersion, a patch
// that says how it should be).
func (a API) ask(ctx context.Context, r request) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	var failed []error
	silent := map[string]bool{}
	for _, kubeconfig := range a.Kubeconfigs {
		config, err := read(kubeconfig)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		servers := slices.DeleteFunc(a.servers(config), func(s string) bool { return silent[s] })
		for i, server := range servers {
			got, err := impatient(ctx, i == len(servers)-1, func(ctx context.Context) (answer, error) {
				return send(ctx, config, server, r)
			})
			if err == nil && got.code != http.StatusTooManyRequests && got.code < 500 {
				if got.code != http.StatusUnauthorized && got.code != http.StatusForbidden {
					return got, nil
				}
				failed = append(failed, fmt.Errorf("it refused the credentials of %s: %w", kubeconfig, got.err()))
				break
			}
			if err == nil {
				err = got.err()
			}
			silent[server] = true
			failed = append(failed, fmt.Errorf("%s with %s: %w", server, kubeconfig, err))
		}
	}
	return answer{}, fmt.Errorf("the API server could not be asked: %w", errors.Join(failed...))
}

// get asks for a path and reads what comes, which must be there.
func (a API) get(ctx context.Context, path string, query url.Values, into any) error {
	got, err := a.ask(ctx, request{method: http.MethodGet, path: path, query: query})
	if err != nil {
		return err
	}
	if got.code != http.StatusOK {
		return got.err()
	}
	return json.Unmarshal(got.body, into)
}

// servers are those that can be asked, the nearest first, as URLs.
func (a API) servers(config *rest.Config) []string {
	var list []string
	for _, server := range append([]string{a.Address, config.Host}, a.Others...) {
		if server != "" && !strings.Contains(server, "://") {
			server = "https://" + server
		}
		if server = strings.TrimSuffix(server, "/"); server != "" && !slices.Contains(list, server) {
			list = append(list, server)
		}
	}
	return list
}

// impatient gives a call half of the time that is left, or all of it if it is the last.
func impatient(ctx context.Context, last bool, call func(context.Context) (answer, error)) (answer, error) {
	if until, ok := ctx.Deadline(); ok && !last {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(until)/2)
		defer cancel()
	}
	return call(ctx)
}

// send makes a request of one server, and leaves no connection behind: the next request
// is an hour away, and until then client-go would ping each of them every 30 seconds.
//
// client-go's REST client would take the words of those behind the API server for its
// own, and its typed clients would register every group of Kubernetes: core/v1 alone is
// six megabytes of resident memory that a daemon on every node would pay for two fields
// of a ConfigMap.
func send(ctx context.Context, config *rest.Config, server string, r request) (answer, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return answer{}, err
	}
	defer utilnet.CloseIdleConnectionsFor(client.Transport)
	base, err := url.Parse(server)
	if err != nil {
		return answer{}, err
	}
	place := base.JoinPath(r.path)
	place.RawQuery = r.query.Encode()
	ask, err := http.NewRequestWithContext(ctx, r.method, place.String(), bytes.NewReader(r.body))
	if err != nil {
		return answer{}, err
	}
	ask.Header.Set("Accept", "application/json")
	if r.body != nil {
		ask.Header.Set("Content-Type", r.content)
	}
	response, err := client.Do(ask)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxList))
	if err != nil {
		return answer{}, err
	}
	return answer{response.StatusCode, response.Status, body}, nil
}

// maxList bounds what is read of an answer, in bytes: of a list, each entry takes some
// thousand, with who has written what of it.
const maxList = 4 << 20

// err is an answer as an error, in the server's own words where it has some.
func (a answer) err() error {
	var said struct {
		Message string `json:"message"` // of a v1 Status
	}
	if json.Unmarshal(a.body, &said) == nil && said.Message != "" {
		return fmt.Errorf("%s: %s", a.text, said.Message)
	}
	return errors.New(a.text)
}
