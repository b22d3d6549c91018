package queue

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
)

// on reports whether the request is for that endpoint: computer or queue.
func on(r *http.Request, endpoint string) bool {
	return strings.HasPrefix(r.URL.Path, "/"+endpoint+"/api")
}

// body changes the text of an endpoint's answers.
func (f *harness) body(endpoint string, change func(string) string) {
	f.wire = func(r *http.Request, res *http.Response) (*http.Response, error) {
		if on(r, endpoint) {
			b, err := io.ReadAll(res.Body)
			if err != nil {
				return nil, err
			}
			res.Body = io.NopCloser(strings.NewReader(change(string(b))))
		}
		return res, nil
	}
}

// fault answers the requests of an endpoint in Jenkins' place.
func (f *harness) fault(endpoint string, status int, header http.Header, body string) {
	f.jenkins.Fault(func(r *http.Request) (int, http.Header, []byte, bool) {
		return status, header.Clone(), []byte(body), on(r, endpoint)
	})
}

// list changes the elements of a document's list.
func list(key string, change func([]json.RawMessage) []json.RawMessage) func(string) string {
	return func(body string) string {
		var doc map[string]json.RawMessage
		var elements []json.RawMessage
		if err := errors.Join(json.Unmarshal([]byte(body), &doc), json.Unmarshal(doc[key], &elements)); err != nil {
			panic(err)
		}
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(map[string]any{"_class": doc["_class"], key: change(elements)}); err != nil {
			panic(err)
		}
		return b.String()
	}
}

// slowBody is a body of which only the first half arrives.
type slowBody struct {
	ctx  context.Context //nolint:containedctx // a test's own
	half io.Reader
}

func (s slowBody) Read(b []byte) (int, error) {
	if n, err := s.half.Read(b); err == nil {
		return n, nil
	}
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

func (slowBody) Close() error { return nil }

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
