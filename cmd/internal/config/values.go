package config

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kelseyhightower/envconfig"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"bellboard/pool"
	"bellboard/scaler"
)

var reading sync.Mutex

// read reads the text of a variable into the field. It returns the remedy for a mistake, or "".
//
// envconfig reads nothing but the process' environment, and stops at the first value that it cannot read. So
// envconfig is given one variable at a time, under a prefix that no layer has.
func (f *field) read(text string) string {
	if strings.TrimSpace(text) == "" {
		return "set, but empty; give it a value or unset it"
	}
	const alone = prefix + "_ALONE"
	reading.Lock()
	defer reading.Unlock()
	_ = os.Setenv(alone+"_"+f.Name, text) // fails for no text that was in an environment
	defer func() { _ = os.Unsetenv(alone + "_" + f.Name) }()
	if p, wrong := errors.AsType[*envconfig.ParseError](envconfig.Process(alone, f.spec)); wrong {
		switch strings.TrimPrefix(p.TypeName, "*") {
		case "time.Duration":
			return "not a duration; write " + duration(text)
		case "int":
			return "not a whole number; write e.g. 10"
		case "bool":
			return "neither true nor false; write one of the two"
		default:
			return "not a number; write e.g. 50"
		}
	}
	return check(f, text)
}

// amount is a number with a unit in words.
var amount = regexp.MustCompile(`^\s*(\d{1,5}(?:\.\d+)?)\s*([smhd]?)(?:ec|econd|in|inute|r|our|ay)?s?\.?\s*$`)

// duration guesses which duration a person meant by a text that Go cannot read as one.
func duration(text string) string {
	m := amount.FindStringSubmatch(strings.ToLower(text))
	if m == nil {
		return "e.g. 30s, 10m or 1h30m"
	}
	unit := map[string]time.Duration{"": time.Second, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[m[2]]
	n, _ := strconv.ParseFloat(m[1], 64) // amount lets nothing else through
	return short(time.Duration(n * float64(unit)))
}

// check checks the value of one setting alone, by the tags of its field. It returns the remedy, or "".
func check(f *field, text string) string {
	if plain := printValue(f.Value); reflect.Indirect(f.Value).Kind() == reflect.Int && plain != text {
		if n, err := strconv.Atoi(text); err == nil { // envconfig reads 010 as 8, and 0x10 as 16
			plain = strconv.Itoa(n)
		}
		return "not a plain whole number; write " + plain
	}
	if choices := strings.Fields(f.Tag.Get("one")); len(choices) > 0 && !slices.Contains(choices, text) {
		last := len(choices) - 1
		return "no such choice; write " + strings.Join(choices[:last], ", ") + " or " + choices[last]
	}
	if is := f.Tag.Get("is"); is != "" {
		return forms[is](text)
	}
	if f.Tag.Get("min") != "" {
		return outside(text, f.Tag)
	}
	return ""
}

// outside returns the remedy for a number or a duration that is below min or above max, or "".
func outside(text string, tag reflect.StructTag) string {
	least, most, zero := tag.Get("min"), tag.Get("max"), tag.Get("zero")
	n, remedy := number(text), "at least "+least
	if n >= number(least) && (most == "" || n <= number(most)) || zero != "" && n == 0 {
		return ""
	}
	if most != "" {
		remedy += " and at most " + most
	}
	if zero != "" {
		remedy = zero + " or " + remedy
	}
	return "must be " + remedy + tag.Get("why")
}

// number reads a number, or a duration as its seconds.
func number(s string) float64 {
	if n, err := strconv.ParseFloat(s, 64); err == nil {
		return n
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		panic(err) // a tag has neither: a bug
	}
	return d.Seconds()
}

// forms has a check of a text for each value of the tag is. Each returns the remedy, or "".
var forms = map[string]func(string) string{
	"URL":    checkURL,
	"teams":  checkTeams,
	"labels": checkLabels,
	"pairs":  checkPairs,
	"tolerations": func(s string) string {
		const remedy = "not tolerations; write key=value:Effect,key:Effect " +
			"with NoSchedule, PreferNoSchedule or NoExecute as Effect"
		_, ok := tolerations(s)
		return unless(ok, remedy)
	},
	"DNS label": func(s string) string {
		const remedy = "not a DNS label; write lower-case letters, digits and dashes, 63 at most"
		return unless(len(validation.IsDNS1123Label(s)) == 0, remedy)
	},
	"objective": func(s string) string {
		_, ok := objective(s)
		return unless(ok, "not an objective; write a share below 100% and a time of at least 1s, e.g. 95% under 60s, or none")
	},
	"name": func(s string) string {
		const remedy = "not a name in Kubernetes; write lower-case letters, digits, dashes and dots"
		return unless(len(validation.IsDNS1123Subdomain(s)) == 0, remedy)
	},
	"listen address": func(s string) string {
		_, ok := splitPort(s)
		return unless(ok, "not an address; write :8080 or 127.0.0.1:8080")
	},
	"host and port": func(s string) string {
		host, ok := splitPort(s)
		return unless(ok && host != "", "not host:port; write e.g. jenkins-agent.jenkins.svc:50000")
	},
	"amount": func(s string) string {
		n, err := resource.ParseQuantity(s)
		if err != nil {
			return "not an amount; write e.g. 500m, 2 or 4Gi"
		}
		return unless(n.Sign() > 0, "must be more than 0")
	},
	"public key": func(s string) string { // the kind of key, and the key in base64
		const remedy = "not a public key; write what ssh-keygen -y -f host_key prints: ssh-ed25519 AAAA…"
		parts := append(strings.Fields(s), "", "")
		b, err := base64.StdEncoding.DecodeString(parts[1])
		return unless(err == nil && len(b) > 32 && !strings.Contains(s, "PRIVATE"), remedy)
	},
	"proxy": func(s string) string {
		const remedy = "not a proxy's address; write e.g. http://proxy.example.com:3128"
		u, err := url.Parse(s)
		if err == nil && u.User != nil {
			return "holds a user or a password, which every build could read, and Java reads neither; leave both out, " +
				"and name a proxy that asks for none"
		}
		return unless(err == nil && u.Scheme == "http" && u.Hostname() != "" && u.Port() != "" && strings.Trim(u.RequestURI(), "/") == "", remedy)
	},
	"hosts": checkHosts,
	"image": func(s string) string {
		return unless(!strings.ContainsAny(s, " \t\n,"), "not an image; write e.g. "+pool.DefaultImage)
	},
}

var promise = regexp.MustCompile(`^([\d.]+)\s?% under (\S+)$`)

// objective reads a share of builds and a time, "95% under 60s", or none.
func objective(s string) (o scaler.Objective, ok bool) {
	m := promise.FindStringSubmatch(s)
	if m == nil {
		return o, s == "none"
	}
	share, err := strconv.ParseFloat(m[1], 64)
	within, odd := time.ParseDuration(m[2])
	ok = err == nil && odd == nil && share > 0 && share < 100 && within >= time.Second
	return scaler.Objective{Share: math.Round(share*1e6) / 1e8, Within: within}, ok
}

func unless(ok bool, remedy string) string {
	if ok {
		return ""
	}
	return remedy
}

// domain is a host or a domain in the form of NO_PROXY.
var domain = regexp.MustCompile(`^(\*?\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$|^\*$`)

// checkHosts checks a list in the form of NO_PROXY, as far as every program reads it alike.
func checkHosts(list string) string {
	for _, one := range words(list) {
		_, notAddr := netip.ParseAddr(one)
		_, notNetwork := netip.ParsePrefix(one)
		if host, port := splitPort(one); port && notAddr != nil {
			return fmt.Sprintf("%s has a port, which Java cannot tell apart; write %s", one, host)
		}
		if notAddr != nil && notNetwork != nil && !domain.MatchString(one) {
			return fmt.Sprintf("%q is no host, domain, address or network; write e.g. .svc,.example.com,10.0.0.0/8", one)
		}
	}
	return unless(len(words(list)) > 0, "an empty list; name at least one")
}

// splitPort returns the host of an address, and whether the address has a port.
func splitPort(s string) (host string, ok bool) {
	host, port, err := net.SplitHostPort(s)
	_, odd := strconv.ParseUint(port, 10, 16)
	return host, err == nil && odd == nil
}

func checkURL(s string) string {
	u, err := url.Parse(s)
	switch end := strings.IndexAny(s, "?#"); {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return "not an http or https address; write e.g. https://jenkins.example.com"
	case u.User != nil:
		return "holds a user or a password; leave both out"
	case end >= 0:
		return "has a query or a fragment; write " + s[:end]
	}
	return ""
}

// words splits a list at commas and white space.
func words(list string) []string { return strings.Fields(strings.ReplaceAll(list, ",", " ")) }

// checkTeams checks that the words can name teams, and that each team has its own variables.
func checkTeams(list string) string {
	seen := map[string]string{}
	for _, n := range words(list) {
		variables := scaler.VariablesOf(n, "")
		other, twice := seen[variables]
		switch remedy := checkTeam(n); {
		case twice && other == n:
			return fmt.Sprintf("names %s twice; drop one", n)
		case twice:
			return fmt.Sprintf("teams %s and %s would share the variables %s_…; rename one", other, n, variables)
		case remedy != "":
			return remedy
		}
		seen[variables] = n
	}
	return unless(len(seen) > 0, "an empty list; name at least one, or unset it")
}

// checkTeam checks that a word can name a team.
func checkTeam(name string) string {
	const longest = 40 // leaves room for the kind and the random part in the name of an agent
	switch {
	case len(validation.IsDNS1123Label(name)) > 0:
		return fmt.Sprintf("%q cannot name a team; write lower-case letters, digits and dashes, "+
			"a letter or digit first and last", name)
	case len(name) > longest:
		return fmt.Sprintf("%q is longer than %d characters; shorten it", name, longest)
	}
	return ""
}

// checkLabels checks that each label is a plain atom of Jenkins' label grammar, which a job can name without
// quotes. As in Jenkins, white space separates labels, and a comma is a part of a label.
func checkLabels(list string) string {
	for one := range strings.FieldsSeq(list) {
		if strings.Contains(one, ",") {
			const remedy = "%q is one label in Jenkins, with its comma; write blanks between labels: %s"
			return fmt.Sprintf(remedy, one, cmp.Or(strings.Join(words(list), " "), "linux docker"))
		}
		if strings.ContainsAny(one, `&|!<>()"'`) || strings.Contains(one, "->") {
			return fmt.Sprintf("%q is no plain label in Jenkins' grammar; leave out & | ! < > ( ) \" ' and ->", one)
		}
		if slices.Contains(scaler.Kinds(), scaler.Kind(one)) {
			return fmt.Sprintf("Bellboard adds %q to the agents of that kind; leave it out, "+
				"and set MODE if the team is to have no other kind", one)
		}
	}
	return ""
}

// pairs reads a list of key=value, as in the node selector of a pod.
func pairs(list string) (labels.Set, error) {
	return labels.ConvertSelectorToLabelsMap(strings.Join(words(list), ","))
}

func checkPairs(list string) string {
	set, err := pairs(list)
	if err != nil || len(set) == 0 {
		return "not pairs of a node label and its value; write key=value,key=value"
	}
	return pool.NotLinux(set)
}

// tolerations reads a list of key[=value][:Effect], and reports whether the text is one. Without a value the
// pod tolerates every value of the taint, without an effect every effect.
func tolerations(list string) (out []corev1.Toleration, ok bool) {
	effects := []string{"", "NoSchedule", "PreferNoSchedule", "NoExecute"}
	ok = true
	for _, part := range words(list) {
		taint, effect, _ := strings.Cut(part, ":")
		key, value, hasValue := strings.Cut(taint, "=")
		one := corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffect(effect)}
		if hasValue {
			one.Operator, one.Value = corev1.TolerationOpEqual, value
		}
		out = append(out, one)
		ok = ok && slices.Contains(effects, effect) &&
			len(validation.IsQualifiedName(key)) == 0 && len(validation.IsValidLabelValue(value)) == 0
	}
	return out, ok && len(out) > 0
}

// printValue returns a value as a variable would have it.
func printValue(v reflect.Value) string {
	if v = reflect.Indirect(v); !v.IsValid() {
		return "" // a nil pointer
	}
	if d, ok := reflect.TypeAssert[time.Duration](v); ok {
		return short(d)
	}
	return fmt.Sprint(v.Interface())
}

// short returns a duration as people write it: 1m, not 1m0s.
func short(d time.Duration) string {
	return strings.NewReplacer("h0m0s", "h", "m0s", "m").Replace(d.String())
}
