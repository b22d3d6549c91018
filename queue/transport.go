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
	"bellboard/scaler/clock"

	"github.com/bndr/gojenkins"
)

// The limits of one request, in the clock's time. Jenkins answers a read in milliseconds. A write may wait
// half a minute for the lock of a long queue. A slow Jenkins is alive, too.
const (
	readTimeout  = 30 * time.Second
	writeTimeout = time.Minute
	aliveTimeout = 5 * time.Second
	// No request gets less than this of the wall's time. A fast clock does not make Jenkins faster.
	leastTimeout = time.Second
	// maxText is how many bytes the client keeps of an answer that is not decoded.
	maxText = 16 << 20
)

// NewTransport returns a transport for a Client. roots are the certificate authorities
// that the transport trusts. Nil means those of the system. Requests wait for one of its few connections.
func NewTransport(roots *x509.CertPool) *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout: 10 * time.Second,
		MaxConnsPerHost:     2 * maxInFlight,
		MaxIdleConnsPerHost: 2 * maxInFlight,
		IdleConnTimeout:     90 * time.Second,
		// Jenkins would compress every answer anew, and most often the client runs close to Jenkins.
		DisableCompression: true,
	}
}

// Question is one request to Jenkins. The caller judges the answer.
type Question struct {
	Method string // empty means GET
	Path   string // below the base, escaped, begins with a slash
	Query  map[string]string
	Form   url.Values // of a POST

	endpoint string
	deadline time.Time // latest time of sending; zero means none
	// decode, when set, reads the document of an answer with status 200.
	decode func(*Answer, io.Reader) error
}

// exchange is one request with its answer. It stands between gojenkins and the network, because gojenkins
// returns no answer at all if the answer has Jenkins' header for an error.
type exchange struct {
	Question
	Answer
	next   http.RoundTripper
	broken error // why the document is not one of Jenkins'
}

// client returns an HTTP client that follows no redirect. A redirect is the answer to a write. A read that
// followed a redirect would end at a login page.
func (x *exchange) client() *http.Client {
	return &http.Client{
		Transport:     x,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// RoundTrip asks for the language of the sentences that readSentence knows. It reads the body, because
// gojenkins would hold it in memory three times. A document is decoded while it arrives, and only its first
// words are kept.
func (x *exchange) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Accept-Language", "en")
	req.Header.Set("User-Agent", "bellboard")
	res, err := x.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer func(body io.Closer) { _ = body.Close() }(res.Body)
	x.Status, x.Header = res.StatusCode, res.Header.Clone()
	body := &connection{Reader: res.Body}
	in := bufio.NewReaderSize(body, 64<<10)
	if x.decode != nil && x.Status == http.StatusOK {
		head, _ := in.Peek(excerptBytes)
		x.Body = string(head)
		if x.broken = x.Document(); x.broken == nil {
			x.broken = x.decode(&x.Answer, in)
		}
	} else {
		text, _ := io.ReadAll(io.LimitReader(in, maxText))
		x.Body = string(text)
	}
	if body.err != nil {
		return nil, body.err
	}
	res.Header.Del("X-Error") // gojenkins would drop the answer
	res.Body = http.NoBody
	return res, nil
}

// connection remembers the error with which an answer broke off on its way. Then its text proves nothing.
type connection struct {
	io.Reader
	err error
}

func (c *connection) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	if err != io.EOF {
		c.err = err
	}
	return n, err
}

// ask sends a request once. If Jenkins rejects the token and a newer token is available, ask sends the
// request a second time: Jenkins has done nothing yet. Nothing else is repeated, since Jenkins may have done
// a write although no answer came, and the next tick asks anew. (Go's transport repeats a request on a kept
// connection that was closed: a question, or a write of which nothing was sent.)
//
// An error means that there was no complete answer, or a broken document. The caller judges the status.
func (c *Client) ask(ctx context.Context, q Question) (Answer, error) {
	limit := readTimeout
	switch {
	case q.endpoint == Alive:
		limit = aliveTimeout
	case q.Method == http.MethodPost:
		limit = writeTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, max(c.c.Clock.Wall(limit), leastTimeout))
	defer cancel()
	token, err := c.c.Token()
	if err != nil {
		return Answer{}, fmt.Errorf("%w: reading the token of Jenkins user %s: %w", ErrNoToken, c.c.User, err)
	}
	a, err := c.send(ctx, q, token)
	if err != nil || a.Status != http.StatusUnauthorized {
		return a, err
	}
	if c.c.Expire != nil {
		c.c.Expire()
	}
	if newer, err := c.c.Token(); err == nil && newer != token {
		return c.send(ctx, q, newer)
	}
	return a, nil
}

func (c *Client) send(ctx context.Context, q Question, token string) (Answer, error) {
	// The small question and the questions of doctor are sent even if Jenkins does not answer.
	if err := c.breaker.allow(q.endpoint == Alive || q.endpoint == probeEndpoint); err != nil {
		return Answer{}, err
	}
	x := exchange{Question: q, next: c.c.Transport}
	x.Asked = c.c.Clock.Now()
	if !q.deadline.IsZero() {
		if late := x.Asked.Sub(q.deadline); late > 0 {
			return Answer{}, fmt.Errorf("%w: %s past the deadline", scaler.ErrExpired, late.Round(time.Millisecond))
		}
		ctx = c.connectBefore(ctx, q.deadline)
	}
	err := c.call(ctx, &x, token)
	x.Answered = c.c.Clock.Now()
	code := strconv.Itoa(x.Status)
	if err != nil {
		code = "error"
	}
	c.c.Observe(q.endpoint, code, x.Answered.Sub(x.Asked))
	c.breaker.record(x.Status, err)
	if err == nil {
		err = x.broken
	}
	return x.Answer, err
}

// connectBefore returns a context that also ends with the deadline, as long as there is no connection yet.
// Connecting may take long, and the request would be sent after the deadline.
func (c *Client) connectBefore(ctx context.Context, deadline time.Time) context.Context {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := func() bool { return true }
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) {
			stop = c.c.Clock.AfterFunc(deadline.Sub(c.c.Clock.Now()), func() {
				cancel(fmt.Errorf("%w: no connection before the deadline", scaler.ErrExpired))
			})
		},
		GotConn: func(httptrace.GotConnInfo) { stop() },
	})
}

// call sends the request by gojenkins. A panic in gojenkins becomes an error.
func (c *Client) call(ctx context.Context, x *exchange, token string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: gojenkins panicked: %v", ErrUnavailable, p)
		}
	}()
	requester := gojenkins.Requester{
		Base: c.c.URL, Client: x.client(),
		BasicAuth: &gojenkins.BasicAuth{Username: c.c.User, Password: token},
	}
	// gojenkins would put a slash behind the first part of a path that has none.
	at := strings.LastIndexByte(x.Path, '/') + 1
	ar := gojenkins.NewAPIRequest(x.Method, x.Path[:at], strings.NewReader(x.Form.Encode()))
	ar.Suffix = x.Path[at:]
	if x.Method == http.MethodPost {
		ar.SetHeader("Content-Type", "application/x-www-form-urlencoded")
	}
	var none string                                // the exchange has read the body
	_, err = requester.Do(ctx, ar, &none, x.Query) //nolint:bodyclose // gojenkins has closed the body
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, scaler.ErrExpired) {
		return cause
	}
	return unavailable(err)
}

// probeEndpoint is the endpoint of doctor's questions. Endpoints lacks it, since the loop never asks one.
const probeEndpoint = "probe"

// Ask sends one question as the client's user, without pacing or repeating it. An error means that there was
// no complete answer.
func (c *Client) Ask(ctx context.Context, q Question) (Answer, error) {
	q.endpoint = probeEndpoint
	return c.ask(ctx, q)
}

// Greet sends a request to any address. The request carries no user and no token, and follows no redirect.
func Greet(ctx context.Context, transport http.RoundTripper, c clock.Clock, method, address string) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Wall(readTimeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, address, http.NoBody)
	if err != nil {
		return Answer{}, err
	}
	x := exchange{next: transport}
	x.Asked = c.Now()
	_, err = x.client().Do(req) //nolint:bodyclose // the exchange has closed the body
	x.Answered = c.Now()
	return x.Answer, unavailable(err)
}

// unavailable returns the error of a request that got no complete answer, or nil if err is nil. It drops a
// url.Error around the cause, whose text repeats the address with the whole query.
func unavailable(err error) error {
	if err == nil {
		return nil
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
