package pool

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// variable is a variable of a container.
type variable struct{ Name, Value string }

// proxies returns the variables by which programs find the proxies. Programs differ in the names that they
// read: curl reads http_proxy only, and others read HTTP_PROXY only.
func proxies(s *Spec) (out []variable) {
	for _, v := range []variable{{"HTTP_PROXY", s.HTTPProxy}, {"HTTPS_PROXY", s.HTTPSProxy}, {"NO_PROXY", s.NoProxy}} {
		if v.Value != "" {
			out = append(out, v, variable{strings.ToLower(v.Name), v.Value})
		}
	}
	return out
}

// javaOptions returns the options of every JVM in the agent's container. A JVM reads no variable of a proxy and
// no bundle of the system. The agent's WebSocket needs the options, too.
func javaOptions(s *Spec) string {
	var out []string
	if s.CAConfigMap != "" {
		out = append(out, "-Djavax.net.ssl.trustStore=/run/ca/truststore")
	}
	for _, v := range []variable{{"http", s.HTTPProxy}, {"https", s.HTTPSProxy}} {
		if u, err := url.Parse(v.Value); err == nil && u.Host != "" {
			out = append(out, fmt.Sprintf("-D%s.proxyHost=%s -D%[1]s.proxyPort=%[3]s", v.Name, u.Hostname(), u.Port()))
		}
	}
	if hosts := nonProxyHosts(s.NoProxy); hosts != "" && s.HTTPProxy+s.HTTPSProxy != "" {
		out = append(out, "-Dhttp.nonProxyHosts="+hosts) // of both schemes
	}
	if s.PlatformUser {
		out = append(out, "-Duser.home=/home/jenkins/agent")
	}
	return strings.Join(out, " ")
}

// nonProxyHosts returns a list in the form of NO_PROXY in Java's form. In NO_PROXY a domain means its hosts,
// too. Java knows no networks, but an asterisk at either end of a host. A network of IPv6 has no such form.
func nonProxyHosts(list string) string {
	var out []string
	for host := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		if network, err := netip.ParsePrefix(host); err == nil {
			if network.Addr().Is4() {
				out = append(out, byOctets(network.Masked())...)
			}
			continue
		}
		_, err := netip.ParseAddr(host)
		domain := strings.TrimPrefix(strings.TrimPrefix(host, "*"), ".")
		if err != nil && domain != "" {
			out = append(out, "*."+domain)
		}
		if domain == host || domain == "" {
			out = append(out, host)
		}
	}
	return strings.Join(out, "|")
}

// byOctets returns a network of IPv4 as beginnings of addresses: 10.0.0.0/15 as 10.0.* and 10.1.*.
func byOctets(network netip.Prefix) (out []string) {
	octets := (network.Bits() + 7) / 8
	addr := network.Addr().As4()
	if octets == 0 {
		return []string{"*"}
	}
	for range 1 << (8*octets - network.Bits()) {
		all := strings.Split(netip.AddrFrom4(addr).String(), ".")
		text := strings.Join(all[:octets], ".")
		if octets < 4 {
			text += ".*"
		}
		out = append(out, text)
		addr[octets-1]++
	}
	return out
}
