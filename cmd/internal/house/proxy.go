package house

import (
	"net/http"
	"strings"
)

// proxyAnswer returns an answer of a proxy between Bellboard and Jenkins. No such answer is Jenkins' own.
func proxyAnswer(kind int) func(*http.Request) (int, http.Header, []byte, bool) {
	page := []byte("<html><body>nothing to see</body></html>")
	html := http.Header{"Content-Type": {"text/html"}}
	json := http.Header{"Content-Type": {"application/json"}}
	return func(r *http.Request) (int, http.Header, []byte, bool) {
		switch kind {
		case 0:
			return http.StatusBadGateway, html, page, true
		case 1:
			return http.StatusOK, html, page, true
		case 2:
			return http.StatusOK, json, []byte("{}"), true
		default:
			// The queue looks empty, and the answer is not Jenkins'.
			return http.StatusOK, json, []byte(`{"items":[]}`), strings.HasPrefix(r.URL.Path, "/queue")
		}
	}
}
