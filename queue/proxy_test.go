package queue

import (
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"

	"bellboard/scaler/clock"
)

// The variables of the processes that TestProxies starts: Go reads the variables of the proxies once in a process.
const (
	askAddress = "TEST_ASK_ADDRESS" // the number of the address
	askRoots   = "TEST_ASK_ROOTS"
)

// proxied has addresses, NO_PROXY, and the question to the proxy. The test's certificate is of example.com.
var proxied = []struct{ address, noProxy, want string }{
	{"http://jenkins.example/ci/login", "", "GET jenkins.example"},
	{"https://example.com/ci/login", ".svc", "CONNECT example.com:443"},
	{"http://jenkins.invalid/login", ".invalid", ""},
}

// TestProxies has the client ask for Jenkins through the proxy that the standard variables name, in the clear
// and by TLS, but not for hosts of NO_PROXY.
func TestProxies(t *testing.T) {
	if number := os.Getenv(askAddress); number != "" {
		i, _ := strconv.Atoi(number)
		askAlone(t, proxied[i].address)
		return
	}
	jenkins := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Jenkins", "2.555") })
	secure := httptest.NewTLSServer(jenkins)
	t.Cleanup(secure.Close)
	roots := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	if err := os.WriteFile(roots, text, 0o600); err != nil {
		t.Fatal(err)
	}
	var asked atomic.Value
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.Method + " " + r.Host)
		if r.Method == http.MethodConnect {
			tunnel(t, w, secure.Listener.Addr().String())
			return
		}
		jenkins(w, r)
	}))
	t.Cleanup(proxy.Close)
	for i, tt := range proxied {
		asked.Store("")
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProxies$")
		cmd.Env = append(os.Environ(), "HTTP_PROXY="+proxy.URL, "HTTPS_PROXY="+proxy.URL, "NO_PROXY="+tt.noProxy, askAddress+"="+strconv.Itoa(i), askRoots+"="+roots)
		out, err := cmd.CombinedOutput()
		if got := asked.Load(); got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s: the proxy was asked for %q, want %q; %v\n%s", tt.address, got, tt.want, err, out)
		}
	}
}

// askAlone asks for one address, as Bellboard does.
func askAlone(t *testing.T, address string) {
	t.Helper()
	text, err := os.ReadFile(os.Getenv(askRoots))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	transport := NewTransport(roots)
	defer transport.CloseIdleConnections()
	answer, err := Greet(t.Context(), transport, clock.Real(), http.MethodGet, address)
	if err != nil || answer.Header.Get("X-Jenkins") == "" {
		t.Fatal(err, answer.Status)
	}
}

// tunnel answers CONNECT with a connection to an address.
func tunnel(t *testing.T, w http.ResponseWriter, address string) {
	t.Helper()
	to, err := net.Dial("tcp", address)
	if err != nil {
		t.Error(err)
		return
	}
	from, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	if _, err := io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		t.Error(err)
	}
	go func() { _, _ = io.Copy(to, from); _ = to.Close() }()
	_, _ = io.Copy(from, to)
	_ = from.Close()
}
