package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// attempt is one credential in front of one HTTPS server.
type attempt struct {
	server    string // for people
	base      *url.URL
	transport *http.Transport
	client    *http.Client
	witness   *witness
}

func newAttempt(server string, base *url.URL, security *tls.Config) *attempt {
	a := &attempt{server: server, base: base, witness: &witness{}}
	a.transport = &http.Transport{
		// Through a proxy the transport makes the connection itself.
		TLSClientConfig:   security,
		DialTLSContext:    a.witness.dialTLS(security),
		DisableKeepAlives: true,
	}
	a.client = &http.Client{
		Transport: a.transport,
		// The credential is for this server alone.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return a
}

// answer is what a server said.
type answer struct {
	code int
	text string // "401 Unauthorized"
	body []byte
}

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 64 << 10

// do makes one request. The errors are those of the credential's trial.
func (a *attempt) do(ctx context.Context, method, path string, header http.Header, body []byte) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, a.base.JoinPath(path).String(), bytes.NewReader(body))
	if err != nil {
		return answer{}, untried(a.server, err)
	}
	request.Header.Set("User-Agent", userAgent)
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	for name, values := range header {
		request.Header[name] = values
	}
	response, err := a.client.Do(request)
	if err != nil {
		a.witness.note(err)
		if refusal := a.witness.alert(); refusal != nil {
			return answer{}, &RefusedError{Server: a.server, Err: refusal}
		}
		return answer{}, untried(a.server, err)
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return answer{}, untried(a.server, err)
	}
	return answer{response.StatusCode, response.Status, content}, nil
}

// judge says what an answer means for the credential.
func (a *attempt) judge(got answer) error {
	switch {
	case got.code == http.StatusUnauthorized:
		return &RefusedError{Server: a.server, Err: errors.New(got.text)}
	case got.code == http.StatusTooManyRequests, got.code >= 500, got.code >= 300 && got.code < 400:
		return untried(a.server, errors.New(got.text))
	}
	return nil
}

// reviewVersions of authentication.k8s.io have SelfSubjectReview: v1 since Kubernetes
// 1.28, v1beta1 since 1.27, v1alpha1 since 1.26, the latter two only if enabled.
var reviewVersions = []string{"v1", "v1beta1", "v1alpha1"}

// anonymous is the API server's user for those who show nothing.
const anonymous = "system:anonymous"

var errAnonymous = errors.New("it took us for " + anonymous)

// review asks the API server who one is. The user is empty where it accepted the
// credential without saying for whom: it knows no such review, or forbids it.
func (a *attempt) review(ctx context.Context, header http.Header) (user string, err error) {
	for _, version := range reviewVersions {
		group := "authentication.k8s.io/" + version
		got, err := a.do(ctx, http.MethodPost, "/apis/"+group+"/selfsubjectreviews", header,
			fmt.Appendf(nil, `{"apiVersion":%q,"kind":"SelfSubjectReview"}`, group))
		if err == nil {
			err = a.judge(got)
		}
		if err != nil {
			return "", err
		}
		var said struct {
			Message json.RawMessage `json:"message"` // of a v1 Status
			Status  json.RawMessage `json:"status"`  // of a review; a v1 Status has a text here
		}
		_ = json.Unmarshal(got.body, &said)
		switch got.code {
		case http.StatusNotFound:
			continue
		case http.StatusForbidden:
			// The answer to a stranger, to whom RBAC gives nothing. A certificate that the
			// server does not believe gets 401; one that it never saw gets this.
			var message string
			if json.Unmarshal(said.Message, &message) == nil && strings.Contains(message, `User "`+anonymous+`"`) {
				return "", &RefusedError{Server: a.server, Err: errAnonymous}
			}
			return "", nil
		}
		var review struct {
			UserInfo struct {
				Username string `json:"username"`
			} `json:"userInfo"`
		}
		_ = json.Unmarshal(said.Status, &review)
		if review.UserInfo.Username == anonymous {
			return "", &RefusedError{Server: a.server, Err: errAnonymous}
		}
		return review.UserInfo.Username, nil
	}
	return "", nil
}
