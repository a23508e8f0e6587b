package runtime

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	neturl "net/url"
	"strings"
	"time"
)

// tryTimeout bounds one question to a health endpoint.
const tryTimeout = time.Second

// Check is a health endpoint of a component.
type Check struct {
	Component string
	// URL is http or https, such as https://127.0.0.1:10257/healthz. Who answers is
	// not verified: controller-manager and scheduler serve certificates that they
	// make up at each start. What a port serves is for package pki to judge.
	URL string
	// ClientCertificate is asked for a certificate where the server refuses to
	// answer strangers (401, 403), as with anonymous authentication off. It may be
	// nil.
	ClientCertificate func() (*tls.Certificate, error)
}

// Healthy asks once, on a new connection, and takes at most a second. The error
// holds the server's own words.
func Healthy(ctx context.Context, check Check) error {
	code, body, err := ask(ctx, check.URL, nil)
	if err == nil && (code == http.StatusUnauthorized || code == http.StatusForbidden) && check.ClientCertificate != nil {
		certificate, certificateErr := check.ClientCertificate()
		if certificateErr != nil {
			return fmt.Errorf("%s answers strangers with %d, and there is no client certificate to ask with: %w", check.URL, code, certificateErr)
		}
		code, body, err = ask(ctx, check.URL, certificate)
	}
	switch {
	case err != nil:
		return err
	case code != http.StatusOK:
		return fmt.Errorf("GET %s: %d %s: %s", check.URL, code, http.StatusText(code), trim(body))
	}
	return nil
}

// Await asks until the answer is good. It waits until the context ends; the error
// then holds the last answer. progress, which may be nil, is told each bad answer.
func Await(ctx context.Context, check Check, every time.Duration, progress func(string)) error {
	began := time.Now()
	var last error
	for {
		err := Healthy(ctx, check)
		if err == nil {
			return nil
		}
		// An answer cut off by the end of the wait says less than the one before.
		if last == nil || ctx.Err() == nil {
			last = err
		}
		if progress != nil {
			progress(last.Error())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not healthy after %s: %w", check.Component, time.Since(began).Round(100*time.Millisecond), last)
		case <-time.After(every):
		}
	}
}

// ask makes one request on a connection of its own: a kept one might still lead to
// the process that has just been told to go.
func ask(ctx context.Context, url string, certificate *tls.Certificate) (code int, body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	// Not verified on purpose, see Check.URL.
	config := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	client := &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: config, Proxy: nil},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", fmt.Errorf("health endpoint: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return 0, "", fmt.Errorf("GET %s: no answer within %s: %w", url, tryTimeout, context.DeadlineExceeded)
		}
		return 0, "", fmt.Errorf("GET %s: %w", url, cause(err))
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return 0, "", fmt.Errorf("GET %s: %w", url, err)
	}
	return response.StatusCode, string(content), nil
}

// cause is what went wrong, without the method and the address that net/http writes
// before it in its own way.
func cause(err error) error {
	if u := (*neturl.Error)(nil); errors.As(err, &u) {
		return u.Err
	}
	return err
}

// trim makes a health report short: of kube-apiserver's and etcd's lists of checks
// only those that fail ("[-]etcd failed: reason withheld"), of anything else the
// beginning.
func trim(body string) string {
	var failing []string
	for _, line := range strings.Split(body, "\n") {
		if strings.HasPrefix(line, "[-]") {
			failing = append(failing, strings.TrimSpace(line))
		}
	}
	text := strings.Join(failing, ", ")
	if text == "" {
		text = strings.Join(strings.Fields(body), " ")
	}
	if text == "" {
		return "no reason given"
	}
	const enough = 300
	if len(text) > enough {
		text = strings.ToValidUTF8(text[:enough], "") + "…"
	}
	return text
}
