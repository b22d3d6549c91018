package queue

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"time"

	"bellboard/scaler"

	"github.com/bndr/gojenkins"
)

// NewTransport is the transport that a Client uses by default. roots are the
// authorities it trusts; nil means the system's. It has one request on a
// connection, and so many connections: more requests wait.
func NewTransport(roots *x509.CertPool) *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout: 10 * time.Second,
		MaxConnsPerHost:     2 * maxInFlight,
		MaxIdleConns:        2 * maxInFlight,
		MaxIdleConnsPerHost: 2 * maxInFlight,
		IdleConnTimeout:     90 * time.Second,
		// Jenkins would compress every answer anew, twice a second, for a
		// client that is most often beside it.
		DisableCompression: true,
	}
}

// answer is what came back for one request, noted by the carrier because
// gojenkins returns no response at all when Jenkins names an error.
type answer struct {
	status          int // 0: none
	header          http.Header
	body            string
	asked, answered time.Time
	decode          func(*answer, io.Reader) error // as in request
	broken          error                          // why the document is none of Jenkins'
}

type answerKey struct{}

// shielded is the context given to gojenkins. It hides the key "debug", with
// which gojenkins would dump answers and may end the process.
type shielded struct{ context.Context }

func (s shielded) Value(key any) any {
	if key == any("debug") {
		return nil
	}
	return s.Context.Value(key)
}

// carrier is between gojenkins and the wire: it sets the language in which the
// sentences are understood, and takes what comes back, in bounds.
type carrier struct{ next http.RoundTripper }

func (t *carrier) RoundTrip(req *http.Request) (*http.Response, error) {
	if strings.Contains(req.URL.Path, "/crumbIssuer/") {
		// An API token needs no crumb, and asking for one opens a session in Jenkins.
		return &http.Response{
			Status: "404 Not Found", StatusCode: http.StatusNotFound, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}")), Request: req,
		}, nil
	}
	req = req.Clone(req.Context())
	req.Header.Set("Accept-Language", "en")
	req.Header.Set("User-Agent", "bellboard")
	res, err := t.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	a, ok := req.Context().Value(answerKey{}).(*answer)
	if !ok {
		return res, nil
	}
	a.status, a.header = res.StatusCode, res.Header.Clone()
	// With this header gojenkins would drop the answer and leave its body open.
	res.Header.Del("X-Error")
	if err := a.read(res); err != nil {
		return nil, err
	}
	res.Body = http.NoBody
	return res, nil
}

// read takes the body, since gojenkins would have it in memory three times. A document
// is decoded while it comes in; of it the answer keeps only the first words.
func (a *answer) read(res *http.Response) error {
	defer func() { _ = res.Body.Close() }()
	if a.decode == nil || a.status != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(res.Body, maxText))
		a.body = string(text)
		return err
	}
	in := bufio.NewReaderSize(res.Body, 64<<10)
	head, err := in.Peek(firstWords)
	if err != nil && err != io.EOF {
		return err
	}
	a.body = string(head)
	if a.broken = a.accept(); a.broken == nil {
		a.broken = a.decode(a, in)
	}
	if l, ok := errors.AsType[lost](a.broken); ok {
		return l.error
	}
	return nil
}

// request is one question or order.
type request struct {
	endpoint string
	method   string
	path     string // below the base, escaped
	suffix   string // appended after gojenkins' slash
	query    map[string]string
	form     url.Values
	timeout  time.Duration
	deadline time.Time // for sending; zero: none
	probe    bool      // whether Jenkins answers again: sent though it did not
	// decode, when set, reads the document that a status of 200 promises.
	decode func(*answer, io.Reader) error
	// accept, when set, takes an answer to a write that is no redirect to Jenkins' pages.
	accept func(*answer) bool
}

// ask sends the request once, and once more when Jenkins did not know the token
// and a newer one is at hand: then it has done nothing. Nothing else is sent
// again. A write may have been done though no answer came; a question of the
// loop comes again by itself, with the next tick, and it would only make the
// answers of this one older. (Go's transport repeats a question, and a write of
// which nothing was sent, when a kept connection turns out to be closed.)
//
// An error means that there was no whole answer; the status is the caller's to judge.
func (c *Client) ask(ctx context.Context, r request) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, max(c.c.Clock.Wall(r.timeout), leastTimeout))
	defer cancel()
	token, err := c.c.Token()
	if err != nil {
		return answer{}, fmt.Errorf("%w: reading the token of Jenkins user %s: %w", ErrNoToken, c.c.User, err)
	}
	a, err := c.send(ctx, r, token)
	if err != nil || a.status != http.StatusUnauthorized {
		return a, err
	}
	if c.c.Expire != nil {
		c.c.Expire()
	}
	if newer, err := c.c.Token(); err == nil && newer != token {
		return c.send(ctx, r, newer)
	}
	return a, nil
}

func (c *Client) send(ctx context.Context, r request, token string) (a answer, err error) {
	var payload io.Reader
	if r.method == http.MethodPost {
		payload = strings.NewReader(r.form.Encode())
	}
	ar := gojenkins.NewAPIRequest(r.method, r.path, payload)
	ar.Suffix = r.suffix
	if payload != nil {
		ar.SetHeader("Content-Type", "application/x-www-form-urlencoded")
	}
	requester := gojenkins.Requester{
		Base: c.base, Client: c.http,
		BasicAuth: &gojenkins.BasicAuth{Username: c.c.User, Password: token},
	}
	if err := c.fuse.blown(r.probe); err != nil {
		return a, err
	}
	ctx, release, err := c.by(ctx, r.deadline)
	if err != nil {
		return a, err
	}
	defer release()
	a.decode = r.decode
	a.asked = c.c.Clock.Now()
	err = c.do(context.WithValue(ctx, answerKey{}, &a), &requester, ar, r.query)
	a.answered = c.c.Clock.Now()
	code := strconv.Itoa(a.status)
	if err != nil {
		code = "error"
	}
	c.c.Observe(r.endpoint, code, a.answered.Sub(a.asked))
	c.fuse.note(a.status, err)
	c.pulse.met(&a)
	return a, err
}

// by is the last check of the deadline. Where there is no connection yet, the
// context that it returns ends with the deadline too: making one may take long,
// and the request would be sent after it.
func (c *Client) by(ctx context.Context, deadline time.Time) (context.Context, func(), error) {
	if deadline.IsZero() {
		return ctx, func() {}, nil
	}
	left := deadline.Sub(c.c.Clock.Now())
	if left < 0 {
		return nil, nil, fmt.Errorf("%w: %s past the deadline", scaler.ErrLate, (-left).Round(time.Millisecond))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := func() bool { return true }
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) {
			stop = c.c.Clock.AfterFunc(deadline.Sub(c.c.Clock.Now()), func() {
				cancel(fmt.Errorf("%w: no connection before the deadline", scaler.ErrLate))
			})
		},
		GotConn: func(httptrace.GotConnInfo) { stop() },
	})
	return ctx, func() { stop(); cancel(nil) }, nil
}

// do calls gojenkins, whose panics become errors.
func (c *Client) do(ctx context.Context, rq *gojenkins.Requester, ar *gojenkins.APIRequest, query map[string]string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: gojenkins panicked: %v", ErrUnavailable, p)
		}
	}()
	var none string                                 // the carrier has taken the body
	_, err = rq.Do(shielded{ctx}, ar, &none, query) //nolint:bodyclose,contextcheck // gojenkins has closed the body; shielded is ctx
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); errors.Is(cause, scaler.ErrLate) {
		return cause
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok { // its text repeats the whole query
		err = wrapped.Err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
