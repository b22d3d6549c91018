package queue

import (
	"bufio"
	"cmp"
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

// NewTransport returns the transport that a Client uses by default. roots are the certificate authorities
// that the transport trusts. Nil means the authorities of the system. The transport has a bound for its
// connections and sends one request at a time on each. More requests wait.
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
		// Jenkins would compress every answer anew, twice a second. Most often the client runs close to
		// Jenkins, so that compression saves nothing.
		DisableCompression: true,
	}
}

// httpClient returns a client that follows no redirect. A redirect is the answer to a write. A read that
// followed a redirect would end at a login page.
func httpClient(next http.RoundTripper) *http.Client {
	return &http.Client{
		Transport:     &recorder{next},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// exchange is one request with its answer. The recorder fills the answer, because gojenkins returns no
// response at all when an answer has Jenkins' header for an error.
type exchange struct {
	request
	Answer
	broken error // why the document is not one of Jenkins'
}

type exchangeKey struct{}

// noDebug is the context that gojenkins gets. noDebug hides the key "debug". With that key gojenkins would
// dump answers and might end the process.
type noDebug struct{ context.Context }

func (s noDebug) Value(key any) any {
	if key == any("debug") {
		return nil
	}
	return s.Context.Value(key)
}

// recorder stands between gojenkins and the network. It asks for the language of the sentences that
// readSentence knows. It reads each answer, up to a bound.
type recorder struct{ next http.RoundTripper }

func (t *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	if strings.Contains(req.URL.Path, "/crumbIssuer/") {
		// An API token needs no crumb. A request for a crumb opens a session in Jenkins.
		return http.ReadResponse(bufio.NewReader(strings.NewReader("HTTP/1.1 404 Not Found\r\n\r\n{}")), req)
	}
	req = req.Clone(req.Context())
	req.Header.Set("Accept-Language", "en")
	req.Header.Set("User-Agent", "bellboard")
	res, err := t.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	x, ok := req.Context().Value(exchangeKey{}).(*exchange)
	if !ok {
		return res, nil
	}
	x.Status, x.Header = res.StatusCode, res.Header.Clone()
	// An answer with this header would make gojenkins drop the answer and leave its body open.
	res.Header.Del("X-Error")
	if err := x.read(res); err != nil {
		return nil, err
	}
	res.Body = http.NoBody
	return res, nil
}

// read reads the body, because gojenkins would hold it in memory three times. read decodes a document while
// the document arrives, and keeps only its first words.
func (x *exchange) read(res *http.Response) error {
	defer func() { _ = res.Body.Close() }()
	if x.decode == nil || x.Status != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(res.Body, maxText))
		x.Body = string(text)
		return err
	}
	in := bufio.NewReaderSize(res.Body, 64<<10)
	head, err := in.Peek(excerptBytes)
	if err != nil && err != io.EOF {
		return err
	}
	x.Body = string(head)
	if x.broken = x.Document(); x.broken == nil {
		x.broken = x.decode(&x.Answer, in)
	}
	if l, ok := errors.AsType[connError](x.broken); ok {
		return l.error
	}
	return nil
}

// request is one request to Jenkins.
type request struct {
	endpoint string
	method   string // empty means GET
	path     string // below the base, escaped, begins with a slash
	query    map[string]string
	form     url.Values    // of a POST
	timeout  time.Duration // zero means readTimeout
	deadline time.Time     // latest time of sending; zero means none
	probe    bool          // a small question, which is sent even if Jenkins does not answer
	// decode, when set, reads the document of an answer with status 200.
	decode func(*Answer, io.Reader) error
	// accept, when set, accepts an answer to a write that is no redirect to a page of Jenkins.
	accept func(*Answer) bool
}

// ask sends a request once. If Jenkins rejects the token and a newer token is available, ask sends the
// request a second time: Jenkins has done nothing yet. No other request is repeated:
//
//   - Jenkins may have done a write although no answer came.
//   - The next tick repeats the questions of the loop. A repetition here would only make the answers of this
//     tick older.
//
// (Go's transport repeats a question if a kept connection turns out to be closed. It repeats a write then if
// nothing of the write was sent.)
//
// An error means that there was no complete answer, or that its document is broken. The caller judges the
// status.
func (c *Client) ask(ctx context.Context, r request) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, max(c.c.Clock.Wall(cmp.Or(r.timeout, readTimeout)), leastTimeout))
	defer cancel()
	token, err := c.c.Token()
	if err != nil {
		return Answer{}, fmt.Errorf("%w: reading the token of Jenkins user %s: %w", ErrNoToken, c.c.User, err)
	}
	a, err := c.send(ctx, r, token)
	if err != nil || a.Status != http.StatusUnauthorized {
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

func (c *Client) send(ctx context.Context, r request, token string) (Answer, error) {
	if err := c.breaker.allow(r.probe); err != nil {
		return Answer{}, err
	}
	ctx, release, err := c.withDeadline(ctx, r.deadline)
	if err != nil {
		return Answer{}, err
	}
	defer release()
	x := exchange{request: r}
	x.Asked = c.c.Clock.Now()
	err = c.call(context.WithValue(ctx, exchangeKey{}, &x), &r, token)
	x.Answered = c.c.Clock.Now()
	code := strconv.Itoa(x.Status)
	if err != nil {
		code = "error"
	}
	c.c.Observe(r.endpoint, code, x.Answered.Sub(x.Asked))
	c.breaker.record(x.Status, err)
	c.noteSession(&x.Answer)
	if err == nil {
		err = x.broken
	}
	return x.Answer, err
}

// withDeadline checks the deadline for the last time. The returned context also ends with the deadline, as
// long as there is no connection yet. Connecting may take long, and the request would be sent after the
// deadline.
func (c *Client) withDeadline(ctx context.Context, deadline time.Time) (context.Context, func(), error) {
	if deadline.IsZero() {
		return ctx, func() {}, nil
	}
	left := deadline.Sub(c.c.Clock.Now())
	if left < 0 {
		return nil, nil, fmt.Errorf("%w: %s past the deadline", scaler.ErrExpired, (-left).Round(time.Millisecond))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := func() bool { return true }
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) {
			stop = c.c.Clock.AfterFunc(deadline.Sub(c.c.Clock.Now()), func() {
				cancel(fmt.Errorf("%w: no connection before the deadline", scaler.ErrExpired))
			})
		},
		GotConn: func(httptrace.GotConnInfo) { stop() },
	})
	return ctx, func() { stop(); cancel(nil) }, nil
}

// call sends the request by gojenkins. A panic in gojenkins becomes an error.
func (c *Client) call(ctx context.Context, r *request, token string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: gojenkins panicked: %v", ErrUnavailable, p)
		}
	}()
	requester := gojenkins.Requester{
		Base: c.base, Client: c.http,
		BasicAuth: &gojenkins.BasicAuth{Username: c.c.User, Password: token},
	}
	ar := gojenkins.NewAPIRequest(r.method, r.path, nil)
	if r.method == http.MethodPost {
		ar.Payload = strings.NewReader(r.form.Encode())
		ar.SetHeader("Content-Type", "application/x-www-form-urlencoded")
	} else { // gojenkins puts a slash between the two parts of a path
		at := strings.LastIndexByte(r.path, '/')
		ar.Endpoint, ar.Suffix = r.path[:at], r.path[at+1:]
	}
	var none string                                         // the recorder has read the body
	_, err = requester.Do(noDebug{ctx}, ar, &none, r.query) //nolint:bodyclose,contextcheck // gojenkins has closed the body; noDebug is ctx
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); errors.Is(cause, scaler.ErrExpired) {
		return cause
	}
	return unavailable(err)
}

// unavailable returns the error of a request that got no complete answer. It drops a url.Error around the
// cause, whose text repeats the address with the whole query.
func unavailable(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
