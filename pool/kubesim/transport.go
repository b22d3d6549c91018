package kubesim

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
)

// Transport reaches the cluster without a socket. A watch's body streams
// through a pipe, all else is answered before RoundTrip returns. It blocks on
// nothing but channels, so it may be used inside a testing/synctest bubble.
func (c *Cluster) Transport() http.RoundTripper { return transport{c} }

type transport struct{ c *Cluster }

func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		defer func() { _ = req.Body.Close() }()
	}
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	if t.c.unreachable() {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	if isTrue(req.URL.Query().Get("watch")) {
		return t.stream(req)
	}
	rec := &recorder{header: http.Header{}}
	if !serveTo(t.c, rec, asServer(req.Context(), req)) {
		return nil, fmt.Errorf("%w: %w", errCut, io.ErrUnexpectedEOF)
	}
	body := rec.body.Bytes()
	return answer(req, rec.code, rec.header, io.NopCloser(bytes.NewReader(body)), int64(len(body))), nil
}

func (t transport) stream(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	pr, pw := io.Pipe()
	s := &streamer{header: http.Header{}, pipe: pw, ready: make(chan struct{})}
	go func() {
		defer cancel()
		if serveTo(t.c, s, asServer(ctx, req)) {
			s.start(http.StatusOK)
			_ = pw.Close()
			return
		}
		s.start(0)
		_ = pw.CloseWithError(io.ErrUnexpectedEOF)
	}()
	select {
	case <-req.Context().Done():
		cancel()
		_ = pr.Close()
		return nil, req.Context().Err()
	case <-s.ready:
	}
	if s.code == 0 {
		return nil, fmt.Errorf("%w: %w", errCut, io.ErrUnexpectedEOF)
	}
	// Whoever waits in a read is freed by its context too, as over a socket.
	stop := context.AfterFunc(req.Context(), func() { _ = pr.CloseWithError(req.Context().Err()) })
	return answer(req, s.code, s.sent, &streamBody{PipeReader: pr, done: func() { stop(); cancel() }}, -1), nil
}

// serveTo reports whether the handler ended in an orderly way.
func serveTo(h http.Handler, w http.ResponseWriter, r *http.Request) (ok bool) {
	defer func() {
		switch p := recover(); p {
		case nil:
			ok = true
		case http.ErrAbortHandler:
			ok = false
		default:
			panic(p)
		}
	}()
	h.ServeHTTP(w, r)
	return true
}

func asServer(ctx context.Context, req *http.Request) *http.Request {
	r := req.WithContext(ctx)
	if r.Body == nil {
		r.Body = http.NoBody
	}
	return r
}

func answer(req *http.Request, code int, h http.Header, body io.ReadCloser, n int64) *http.Response {
	if code == 0 {
		code = http.StatusOK
	}
	return &http.Response{
		Status: fmt.Sprintf("%d %s", code, http.StatusText(code)), StatusCode: code,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: body, ContentLength: n, Request: req,
	}
}

// A recorder keeps an answer that is written at once.
type recorder struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header { return r.header }
func (r *recorder) WriteHeader(code int) {
	if r.code == 0 {
		r.code = code
	}
}

func (r *recorder) Write(b []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(b)
}

// A streamer hands on an answer as it is written.
type streamer struct {
	header http.Header
	pipe   *io.PipeWriter
	once   sync.Once
	ready  chan struct{}
	code   int         // set before ready is closed
	sent   http.Header // a copy: the handler may go on with header
}

func (s *streamer) Header() http.Header  { return s.header }
func (s *streamer) WriteHeader(code int) { s.start(code) }
func (s *streamer) Flush()               { s.start(http.StatusOK) }

func (s *streamer) start(code int) {
	s.once.Do(func() {
		s.code, s.sent = code, s.header.Clone()
		close(s.ready)
	})
}

func (s *streamer) Write(b []byte) (int, error) {
	s.start(http.StatusOK)
	return s.pipe.Write(b)
}

type streamBody struct {
	*io.PipeReader
	done func()
}

func (b *streamBody) Close() error {
	b.done()
	return b.PipeReader.Close()
}
