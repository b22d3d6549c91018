package pool

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bellboard/scaler"
)

// TestAuthorities runs the script of a pod's container with the JVM of this computer. The trust store and the
// bundle then have the authorities of the ConfigMap and those of before, and a JVM reaches a server whose
// certificate one of them has signed.
func TestAuthorities(t *testing.T) {
	public, err := exec.CommandContext(t.Context(), "keytool", "-list", "-rfc", "-cacerts", "-storepass", "changeit").Output()
	if err != nil {
		t.Skipf("no JVM with the usual trust store here: %v", err)
	}
	known, _ := pem.Decode(public[strings.Index(string(public), "-----BEGIN"):])
	ours, theirs := newAuthority(t), newAuthority(t)
	server := ours.serve(t)

	dir, said, err := runCA(t, map[string]string{
		"ours":    strings.TrimSpace(ours.text), // no end of the last line
		"theirs":  "# of the other department\r\n" + strings.ReplaceAll(theirs.text, "\n", "\r\n") + ours.text,
		"z-known": string(pem.EncodeToMemory(known)),
	})
	if err != nil {
		t.Fatal(err, said)
	}
	if added := strings.Count(said, "Certificate was added"); added != 2 {
		t.Errorf("%d certificates were added, want ours and theirs, once:\n%s", added, said)
	}
	store, err := exec.CommandContext(t.Context(), "keytool", "-list", "-rfc", "-keystore", dir+"/truststore", "-storepass", "changeit").Output()
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := os.ReadFile(filepath.Join(dir, "bundle.pem"))
	if err != nil {
		t.Fatal(err)
	}
	least := strings.Count(string(public), "BEGIN CERTIFICATE") + 2
	for name, text := range map[string][]byte{"trust store": store, "bundle": bundle} {
		if got := len(certificatesOf(text)); got < least*9/10 || name == "trust store" && got != least {
			t.Errorf("the %s has %d authorities, the JVM had %d", name, got, least-2)
		}
		for _, a := range []authority{ours, theirs} {
			if !certificatesOf(text)[string(a.cert.Raw)] {
				t.Errorf("the %s lacks an authority of the ConfigMap", name)
			}
		}
	}

	s := specOf(scaler.Ephemeral, scaler.Inbound, DockerNone)
	s.CAConfigMap = "authorities"
	options := strings.ReplaceAll(javaOptions(&s), "/run/ca", dir)
	if out := java(t, options, server); !strings.Contains(out, "answer 200") {
		t.Errorf("a JVM with %s:\n%s", options, out)
	}
	if out := java(t, "-Dnothing=x", server); !strings.Contains(out, "SSLHandshakeException") {
		t.Errorf("a JVM without the authorities trusts the server:\n%s", out)
	}
}

// TestNoAuthorities has ConfigMaps from which no agent can begin, and the words in the container's log.
func TestNoAuthorities(t *testing.T) {
	if _, err := exec.LookPath("keytool"); err != nil {
		t.Skipf("no JVM here: %v", err)
	}
	const broken = "-----BEGIN CERTIFICATE-----\nabcd\n-----END CERTIFICATE-----\n"
	for text, want := range map[string]string{
		"MIIB":                        "bellboard: the ConfigMap authorities (AGENT_CA_CONFIGMAP) has no certificate in PEM",
		newAuthority(t).text + broken: "bellboard: the JVM cannot read certificate 2 under the key ca.crt of the ConfigMap authorities (AGENT_CA_CONFIGMAP)",
	} {
		if _, said, err := runCA(t, map[string]string{"ca.crt": text}); err == nil || !strings.Contains(said, want) {
			t.Errorf("%v: %s\nwant %s", err, said, want)
		}
	}
}

// TestAJVMHeedsTheProxies has a JVM ask a proxy for hosts that are none, but not for those of NO_PROXY.
func TestAJVMHeedsTheProxies(t *testing.T) {
	asked := make(chan string, 10)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Method + " " + r.Host
		if r.Method == http.MethodConnect {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	t.Cleanup(proxy.Close)
	s := specOf(scaler.Ephemeral, scaler.Inbound, DockerNone)
	s.HTTPProxy, s.HTTPSProxy, s.NoProxy = proxy.URL, proxy.URL, ".invalid,192.0.2.0/25"
	out := java(t, javaOptions(&s), "http://jenkins.invalid/", "https://jenkins.invalid/", "http://192.0.2.128:1/", "http://jenkins.example/", "https://jenkins.example/")
	close(asked)
	var got []string
	for one := range asked {
		got = append(got, one)
	}
	if diff := cmp.Diff([]string{"GET 192.0.2.128:1", "GET jenkins.example", "CONNECT jenkins.example:443"}, got); diff != "" {
		t.Errorf("the proxy was asked for (-want +got):\n%s\n%s", diff, out)
	}
}

func TestNonProxyHosts(t *testing.T) {
	for list, want := range map[string]string{
		"":                                 "",
		"*":                                "*",
		".svc,cluster.local":               "*.svc|*.cluster.local|cluster.local",
		"*.example.com":                    "*.example.com",
		"10.1.2.3,fd00::1,fd00::/8":        "10.1.2.3|fd00::1",
		"10.0.0.0/8,10.1.2.3/16":           "10.*|10.1.*",
		"192.168.2.0/23,192.0.2.6/31":      "192.168.2.*|192.168.3.*|192.0.2.6|192.0.2.7",
		"172.16.0.0/14,255.255.255.255/32": "172.16.*|172.17.*|172.18.*|172.19.*|255.255.255.255",
		"0.0.0.0/0":                        "*",
	} {
		if got := nonProxyHosts(list); got != want {
			t.Errorf("%s is %s, want %s", list, got, want)
		}
	}
}

// runCA runs the script of the container ca on the files of a ConfigMap.
func runCA(t *testing.T, configMap map[string]string) (dir, said string, err error) {
	t.Helper()
	in, dir := t.TempDir(), t.TempDir()
	for name, text := range configMap {
		if err := os.WriteFile(filepath.Join(in, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := specOf(scaler.Ephemeral, scaler.Inbound, DockerNone)
	s.CAConfigMap = "authorities"
	words := slices.Concat(Build(s, "web-e-1").Spec.InitContainers[0].Command, []string{in, dir, s.CAConfigMap})
	out, err := exec.CommandContext(t.Context(), words[0], words[1:]...).CombinedOutput()
	return dir, string(out), err
}

// java has a JVM with these options ask for addresses, and returns the answers.
func java(t *testing.T, options string, urls ...string) string {
	t.Helper()
	const program = `public class Ask {
	public static void main(String[] args) throws Exception {
		for (var url : args) {
			try {
				var c = (java.net.HttpURLConnection) new java.net.URL(url).openConnection();
				System.out.println(url + ": answer " + c.getResponseCode());
			} catch (java.io.IOException e) {
				System.out.println(url + ": " + e);
			}
		}
	}
}`
	if _, err := exec.LookPath("javac"); err != nil { // java alone has no compiler
		t.Skipf("no JDK here: %v", err)
	}
	file := filepath.Join(t.TempDir(), "Ask.java")
	if err := os.WriteFile(file, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "java", append([]string{file}, urls...)...)
	cmd.Env = append(os.Environ(), "JAVA_TOOL_OPTIONS="+options)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("java: %v\n%s", err, out)
	}
	return string(out)
}

// certificatesOf returns the certificates of a text in PEM.
func certificatesOf(text []byte) map[string]bool {
	out := map[string]bool{}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		out[string(block.Bytes)] = true
	}
	return out
}

// authority is one that may sign certificates.
type authority struct {
	text string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) (a authority) {
	t.Helper()
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	a.cert = a.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "ours"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, a.key)
	a.text = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
	return a
}

// sign signs a certificate for a key, with the authority's own certificate if there is one already.
func (a *authority) sign(t *testing.T, of *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	if err != nil {
		t.Fatal(err)
	}
	of.SerialNumber, of.NotBefore, of.NotAfter = serial, time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	by := a.cert
	if by == nil {
		by = of
	}
	der, err := x509.CreateCertificate(rand.Reader, of, by, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// serve starts a server with a certificate of the authority for localhost, and returns its address.
func (a *authority) serve(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := a.sign(t, &x509.Certificate{DNSNames: []string{"localhost"}}, key)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // a client that trusts nobody is one of the tests
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
}
