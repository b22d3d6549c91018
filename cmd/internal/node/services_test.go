//go:build e2enode

package node

import (
	"io"
	"net"
	"os/exec"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A cluster has kube-proxy and CoreDNS. Here the address of a Service is an address of the sandbox, on which a
// stand-in of the Service listens, and a small DNS server knows the Services.

// own makes the address of a Service an address of the sandbox, and returns it.
func (h *home) own(namespace, name string) string {
	h.t.Helper()
	s, err := h.k.CoreV1().Services(namespace).Get(h.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	if out, err := exec.CommandContext(h.t.Context(), "ip", "address", "add", s.Spec.ClusterIP+"/32", "dev", "lo").CombinedOutput(); err != nil {
		h.t.Fatalf("%v: %s", err, out)
	}
	return s.Spec.ClusterIP
}

// apiServer makes the API server answer at the address of its Service, for pods.
func (h *home) apiServer() {
	h.t.Helper()
	to := strings.TrimPrefix(cluster.Admin().Host, "https://")
	l, err := net.Listen("tcp", h.own(metav1.NamespaceDefault, "kubernetes")+":443")
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			go pass(from, to)
		}
	}()
}

// pass forwards a connection until either side ends it.
func pass(from net.Conn, to string) {
	defer from.Close()
	there, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer there.Close()
	go func() {
		_, _ = io.Copy(there, from) // whichever ends first ends the other
		_ = there.Close()
	}()
	_, _ = io.Copy(from, there)
}

// dns answers at the address that the kubelet gives pods for DNS.
func (h *home) dns() {
	h.t.Helper()
	l, err := net.ListenPacket("udp", h.node.Address+":53")
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = l.Close() })
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := l.ReadFrom(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(b[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			if answer, err := h.resolve(m.ID, m.Questions[0]).Pack(); err == nil {
				_, _ = l.WriteTo(answer, from) // who got none asks again
			}
		}
	}()
}

// resolve resolves the full names of the Services, and nothing else.
func (h *home) resolve(id uint16, q dnsmessage.Question) *dnsmessage.Message {
	m := &dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, Response: true, Authoritative: true, RCode: dnsmessage.RCodeNameError},
		Questions: []dnsmessage.Question{q},
	}
	name, in := strings.CutSuffix(q.Name.String(), ".svc.cluster.local.")
	service, namespace, ok := strings.Cut(name, ".")
	if !in || !ok {
		return m
	}
	s, err := h.k.CoreV1().Services(namespace).Get(h.t.Context(), service, metav1.GetOptions{})
	if err != nil {
		return m
	}
	m.RCode = dnsmessage.RCodeSuccess
	if ip := net.ParseIP(s.Spec.ClusterIP).To4(); ip != nil && q.Type == dnsmessage.TypeA {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 5},
			Body:   &dnsmessage.AResource{A: [4]byte(ip)},
		}}
	}
	return m
}
