//go:build e2enode

package node

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestAuthorities checks agents with AGENT_CA_CONFIGMAP. The Docker daemon pulls from a registry whose
// certificate only that ConfigMap's authority vouches for, and nothing else has the image. A JVM of a build has
// the authority in its trust store, and the bundle of the system has it beside Debian's.
func TestAuthorities(t *testing.T) {
	h := newHome(t, "authorities", "BELLBOARD_TEAM_TEAM_MODE=ephemeral", "BELLBOARD_TEAM_TEAM_BUILD_GRACE=30s", "BELLBOARD_TEAM_TEAM_DOCKER=dind", "BELLBOARD_TEAM_TEAM_AGENT_CA_CONFIGMAP=ours")
	t.Parallel()
	authority, mirror := secureRegistry(t, h.node.Address)
	ours := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "ours"}, Data: map[string]string{"ours.crt": authority}}
	if _, err := h.k.CoreV1().ConfigMaps(h.ns).Create(t.Context(), ours, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	h.env = append(h.env, "BELLBOARD_TEAM_TEAM_REGISTRY_MIRROR="+mirror)
	h.start()
	began := time.Now()
	b := h.begin(30*time.Second, useImage+`
		keytool -list 2>/dev/null -keystore "${JAVA_TOOL_OPTIONS#*trustStore=}" -storepass changeit | grep -c trustedCertEntry
		grep -c BEGIN /etc/ssl/certs/ca-certificates.crt`)
	name := h.on(b)
	t.Logf("the build is on %s after %s", name, time.Since(began).Round(100*time.Millisecond))
	for _, c := range h.pod(name).Status.InitContainerStatuses {
		if end := c.State.Terminated; end != nil {
			t.Logf("container %s took %s", c.Name, end.FinishedAt.Sub(end.StartedAt.Time))
		}
	}
	lines := strings.Split(h.output(b), "\n") // Docker's words about the pull come first
	if n := len(lines); n < 2 || lines[n-2] != "1" || len(lines[n-1]) < 3 {
		t.Errorf("a JVM and the system trust these numbers of authorities, want one and over a hundred:\n%s", strings.Join(lines, "\n"))
	}
	h.succeeded(1)
}

// secureRegistry starts a registry on an address of the Kubernetes node, and returns the authority of its
// certificate.
func secureRegistry(t *testing.T, address string) (authority, url string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ours"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP(address)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", address+":0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: registry(), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.Serve(l) }() // ends with Close, and has nothing to say then
	t.Cleanup(func() { _ = s.Close() })
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), "https://" + l.Addr().String()
}
