package systemd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	neturl "net/url"
	"strings"
	"time"
)

// healthzTimeout bounds one question to a health endpoint. The kubelet's answers at
// once or not at all.
const healthzTimeout = time.Second

// Healthz asks the health endpoint of the service behind a unit, such as the
// kubelet's http://127.0.0.1:10248/healthz: an active unit says only that a process
// is there. It takes at most a second; nil means healthy.
func Healthz(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, healthzTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("health endpoint: %w", err)
	}
	// A connection of its own each time: a kept one could lead to a process that is
	// on its way out.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("GET %s: no answer within %s: %w", url, healthzTimeout, context.DeadlineExceeded)
	case err != nil:
		// net/http writes the method and the address in its own way.
		if u := (*neturl.Error)(nil); errors.As(err, &u) {
			err = u.Err
		}
		return fmt.Errorf("GET %s: %w", url, err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 300))
	if err != nil {
		return fmt.Errorf("GET %s: %w", url, err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s: %s", url, response.Status, strings.Join(strings.Fields(string(body)), " "))
	}
	return nil
}
