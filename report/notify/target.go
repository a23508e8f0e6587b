package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kubecertd/kubecertd/renew"
)

// refusal is an answer that is not the one that was hoped for.
type refusal struct {
	status string
	said   string
	final  bool          // it would be the same again
	after  time.Duration // it asks not to be asked before
}

func (r *refusal) Error() string {
	if r.said == "" {
		return "it answered " + r.status
	}
	return "it answered " + r.status + ": " + r.said
}

// client keeps no connection open: an idle daemon has none. It follows no redirect, which
// would take the token to somebody else.
var client = &http.Client{
	Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, ForceAttemptHTTP2: false},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// attempt tells the target once, and returns what came back. No error has a secret in it.
func (t Target) attempt(ctx context.Context, e Event) (said string, err error) {
	if t.Type == "command" {
		output, err := renew.Program{Argv: t.Command, Timeout: t.Timeout}.Run(ctx, e.variables(), nil)
		if err != nil && output != "" {
			err = fmt.Errorf("%w: %s", err, brief(output))
		}
		return brief(output), err
	}
	ctx, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	body, err := t.body(e)
	if err != nil {
		return "", err
	}
	request, secrets, err := t.request(ctx, body)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		if ctx.Err() != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return "", fmt.Errorf("it did not answer within %s", t.Timeout)
		}
		var whole *url.Error // has the URL in it
		if errors.As(err, &whole) {
			err = whole.Err
		}
		return "", errors.New(hide(err.Error(), secrets))
	}
	defer func() { _ = response.Body.Close() }()
	content, _ := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	said = brief(hide(string(content), secrets))
	if response.StatusCode/100 == 2 {
		return strings.TrimSpace(response.Status + " " + said), nil
	}
	refused := &refusal{status: response.Status, said: said}
	switch code := response.StatusCode; {
	case code == http.StatusTooManyRequests, code == http.StatusRequestTimeout, code >= 500:
		seconds, _ := strconv.Atoi(response.Header.Get("Retry-After"))
		refused.after = time.Duration(max(seconds, 0)) * time.Second
	default:
		refused.final = true
	}
	return "", refused
}

// request is the request with everything that is secret in it, and what that is.
func (t Target) request(ctx context.Context, body []byte) (r *http.Request, secrets []string, err error) {
	address := t.URL
	if t.URLFile != "" {
		if address, err = secret("urlFile", t.URLFile); err != nil {
			return nil, nil, err
		}
	}
	if t.Type == "alertmanager" {
		address = strings.TrimSuffix(address, "/") + "/api/v2/alerts"
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, nil, errors.New("its address is none of HTTP: write it as https://HOST/PATH, in one line")
	}
	secrets = []string{address, u.RequestURI(), u.Path, u.RawQuery}
	r, err = http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return nil, nil, errors.New("its address is none of HTTP: write it as https://HOST/PATH, in one line")
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "kubecertd")
	if t.TokenFile != "" {
		token, err := secret("tokenFile", t.TokenFile)
		if err != nil {
			return nil, nil, err
		}
		r.Header.Set("Authorization", "Bearer "+token)
		secrets = append(secrets, token)
	}
	if t.HeadersFile != "" {
		text, err := secret("headersFile", t.HeadersFile)
		if err != nil {
			return nil, nil, err
		}
		for i, line := range strings.Split(text, "\n") {
			name, value, ok := strings.Cut(line, ":")
			name, value = strings.TrimSpace(name), strings.TrimSpace(value)
			if !ok || name == "" || textproto.TrimString(name) != name || strings.ContainsAny(name, " \t") {
				return nil, nil, fmt.Errorf("headersFile: line %d of %s is no header: write NAME: VALUE", i+1, t.HeadersFile)
			}
			r.Header.Set(name, value)
			secrets = append(secrets, value)
		}
	}
	for _, values := range r.Header {
		for _, v := range values {
			if strings.ContainsFunc(v, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
				return nil, nil, errors.New("its token or a header has a control character in it: write each in one line")
			}
		}
	}
	return r, secrets, nil
}

// credentials is where systemd puts those of the unit, for whoever is not the unit.
const credentials = "/run/credentials/kubecertd.service"

// secret reads a secret from a file, or from a credential of the unit. It is read for each
// attempt, so that a new one needs no reload.
func secret(key, name string) (string, error) {
	path := name
	if !filepath.IsAbs(name) {
		directory := os.Getenv("CREDENTIALS_DIRECTORY")
		if directory == "" {
			directory = credentials
		}
		path = filepath.Join(directory, name)
	}
	f, err := os.Open(path)
	if err != nil {
		if path != name {
			return "", fmt.Errorf("%s: the credential cannot be read: %w: LoadCredential=%s:/PATH in the unit (systemctl edit kubecertd), and restart it", key, err, name)
		}
		return "", fmt.Errorf("%s: %w", key, err)
	}
	defer func() { _ = f.Close() }()
	content, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return "", fmt.Errorf("%s: %w", key, err)
	}
	text := strings.TrimSpace(string(content))
	if text == "" {
		return "", fmt.Errorf("%s: %s is empty", key, path)
	}
	return text, nil
}

// hide takes secrets out of a text. What is shorter than four letters is none.
func hide(text string, secrets []string) string {
	for _, s := range secrets {
		if len(s) > 3 {
			text = strings.ReplaceAll(text, s, "(hidden)")
		}
	}
	return text
}

// brief is the beginning of what came back, in one line.
func brief(text string) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "\uFFFD")), " ")
	const longest = 200
	if utf8.RuneCountInString(text) > longest {
		text = string([]rune(text)[:longest]) + "…"
	}
	return text
}

// Check says what is wrong with a target that only trying it shows: its template.
func (t Target) Check(node string) error {
	_, err := t.body(sample(node, time.Unix(0, 0)))
	return err
}

// Try sends a test to the target, and returns what came back.
func (t Target) Try(ctx context.Context, node string, at time.Time) (said string, err error) {
	return t.attempt(ctx, sample(node, at))
}
