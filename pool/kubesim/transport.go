package kubesim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"syscall"
)

// Transport reaches the cluster without a socket. The body of a watch streams through a
// pipe, and any other request is answered before RoundTrip returns. Transport blocks on
// channels only, so that it works inside a testing/synctest bubble.
func (c *Cluster) Transport() http.RoundTripper { return transport{c} }

type transport struct{ c *Cluster }

// errCut is what a client sees of a cluster that breaks the connection.
var errCut = errors.New("kubesim: the cluster was cut off")

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
	req = req.WithContext(req.Context())
	if req.Body == nil {
		req.Body = http.NoBody
	}
	if isTrue(req.URL.Query().Get("watch")) {
		return t.stream(req)
	}
	rec := httptest.NewRecorder()
	if !serveTo(t.c, rec, req) {
		return nil, fmt.Errorf("%w: %w", errCut, io.ErrUnexpectedEOF)
	}
	res := rec.Result()
	res.Request = req
	return res, nil
}

func (t transport) stream(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	pr, pw := io.Pipe()
	s := &streamer{header: http.Header{}, pipe: pw, ready: make(chan struct{})}
	go func() {
		defer cancel()
		if serveTo(t.c, s, req.WithContext(ctx)) {
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
	// A read that waits ends with the request's context, as it does over a socket.
	stop := context.AfterFunc(req.Context(), func() { _ = pr.CloseWithError(req.Context().Err()) })
	return &http.Response{
		Status: fmt.Sprintf("%d %s", s.code, http.StatusText(s.code)), StatusCode: s.code,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: s.sent, Body: &streamBody{PipeReader: pr, done: func() { stop(); cancel() }}, ContentLength: -1, Request: req,
	}, nil
}

// serveTo reports whether the handler ended in an orderly way.
func serveTo(h http.Handler, w http.ResponseWriter, r *http.Request) (ok bool) {
	defer func() {
		switch p := recover(); p {
		case nil, http.ErrAbortHandler:
		default:
			panic(p)
		}
	}()
	h.ServeHTTP(w, r)
	return true
}

// A streamer hands on an answer as it is written.
type streamer struct {
	header http.Header
	pipe   *io.PipeWriter
	once   sync.Once
	ready  chan struct{}
	code   int         // set before ready is closed
	sent   http.Header // a copy: the handler may change header later
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
