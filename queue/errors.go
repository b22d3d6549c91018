package queue

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"bellboard/scaler"
)

// Why Jenkins could not be seen. Each comes wrapped in words that name what was
// seen instead.
var (
	// ErrUnauthorized: Jenkins does not know the user or the token, or (in the
	// first moments after its start) not yet.
	ErrUnauthorized = errors.New("jenkins does not accept the user and token")
	// ErrForbidden: the user lacks a permission.
	ErrForbidden = errors.New("jenkins forbids it")
	// ErrNotJenkins: something answered that is not Jenkins' API.
	ErrNotJenkins = errors.New("not an answer of Jenkins")
	// ErrUnavailable: no whole answer, or one that says "not now".
	ErrUnavailable = errors.New("jenkins is not available")
	// ErrBlind: the user may see neither the queue's items nor what runs, nor any job.
	ErrBlind = errors.New("permission Job/Read (hudson.model.Item.Read) is missing")
	// ErrPartial: nodes that were there are missing from a list.
	ErrPartial = errors.New("jenkins' answer is incomplete")
	// ErrNoToken: there is no token to ask with.
	ErrNoToken = errors.New("no API token")
	// ErrBlocked: what stands between Bellboard and Jenkins refused the request; Jenkins
	// itself has not seen it, so that no permission is at fault.
	ErrBlocked = errors.New("something between Bellboard and Jenkins, such as a firewall or a proxy, refuses the request")
	// ErrStripped: an answer of Jenkins came without a header that Jenkins has sent.
	ErrStripped = errors.New("something between Bellboard and Jenkins, such as a proxy, takes a header of Jenkins' away")
	// ErrRestarted: the answers are of two sessions of Jenkins.
	ErrRestarted = errors.New("jenkins restarted between two answers")
)

// causes names the errors of Observe for metrics, the narrower first: a closed set.
var causes = []struct {
	err  error
	name string
}{
	{ErrNoToken, "no-token"},
	{ErrUnauthorized, "unauthorized"},
	{ErrForbidden, "forbidden"},
	{ErrBlocked, "blocked"},
	{ErrStripped, "stripped"},
	{ErrBlind, "blind"},
	{ErrPartial, "partial"},
	{ErrRestarted, "restarted"},
	{ErrNotJenkins, "not-jenkins"},
	{ErrUnavailable, "unavailable"},
}

// other is the cause of an error that says no more than its words.
const other = "other"

// Causes lists why an Observe may show nothing, for metrics that exist before they are needed.
func Causes() []string {
	out := []string{other}
	for _, c := range causes {
		out = append(out, c.name)
	}
	return out
}

func cause(err error) string {
	for _, c := range causes {
		if errors.Is(err, c.err) {
			return c.name
		}
	}
	return other
}

// accept judges an answer that should be a JSON document of Jenkins.
func (a *answer) accept() error {
	if a.status != http.StatusOK {
		return a.refusal()
	}
	if a.header.Get("X-Jenkins") == "" && strings.HasPrefix(strings.TrimSpace(a.body), `{"_class":"hudson.`) {
		return fmt.Errorf("%w: the answer is Jenkins', and has no X-Jenkins", ErrStripped)
	}
	if a.header.Get("X-Jenkins") == "" {
		return fmt.Errorf("%w: no X-Jenkins header%s", ErrNotJenkins, a.words())
	}
	if strings.TrimSpace(a.body) == "" {
		return fmt.Errorf("%w: empty body", ErrNotJenkins)
	}
	if !strings.HasPrefix(strings.TrimSpace(a.body), "{") {
		return fmt.Errorf("%w: no JSON%s", ErrNotJenkins, a.words())
	}
	return nil
}

// byJenkins reports whether Jenkins itself has refused: it says its version, whom it
// refuses or for which permission, or that a write came without a crumb, as of who
// comes with a password.
func (a *answer) byJenkins() bool {
	h := a.header
	return h.Get("X-Jenkins") != "" || h.Get("X-Required-Permission") != "" || h.Get("X-You-Are-Authenticated-As") != "" ||
		strings.Contains(a.body, "No valid crumb")
}

// refusal is the error for an answer whose status is not what was asked for.
func (a *answer) refusal() error {
	h := a.header
	switch {
	case a.status == http.StatusUnauthorized:
		return fmt.Errorf("%w (status 401; also seen for a moment while Jenkins starts)%s", ErrUnauthorized, a.words())
	case a.status == http.StatusForbidden && !a.byJenkins():
		return fmt.Errorf("%w (status 403 without an X-Jenkins header)%s", ErrBlocked, a.words())
	case a.status == http.StatusForbidden:
		detail := ""
		if user := h.Get("X-You-Are-Authenticated-As"); user != "" {
			detail += ", as user " + user
		}
		if permission := h.Get("X-Required-Permission"); permission != "" {
			detail += ", permission " + permission + " required"
		}
		return fmt.Errorf("%w (status 403%s)%s", ErrForbidden, detail, a.words())
	case a.status >= 500 || a.status == http.StatusTooManyRequests:
		return fmt.Errorf("%w (status %d)%s", ErrUnavailable, a.status, a.words())
	case a.status >= 300 && a.status < 400:
		return fmt.Errorf("%w (status %d, redirected to %q)", ErrNotJenkins, a.status, h.Get("Location"))
	case h.Get("X-Error") != "":
		return fmt.Errorf("%w (status %d): %s", scaler.ErrRefused, a.status, h.Get("X-Error"))
	case h.Get("X-Jenkins") != "" && a.status != http.StatusOK:
		return fmt.Errorf("jenkins answered with status %d%s", a.status, a.words())
	default:
		return fmt.Errorf("%w (status %d)%s", ErrNotJenkins, a.status, a.words())
	}
}

var (
	silent = regexp.MustCompile(`(?is)<(script|style|head)\b.*?(</(script|style|head)>|$)`)
	title  = regexp.MustCompile(`(?is)<title>(.*?)</title>`)
	tags   = regexp.MustCompile(`(?s)<[^>]*>`)
)

// firstWords is how many bytes of an answer are looked at for words.
const firstWords = 4096

// words is ": " and the first words of the body, for people; empty without any.
func (a *answer) words() string {
	text := a.body[:min(len(a.body), firstWords)]
	if t := title.FindStringSubmatch(text); t != nil {
		text = t[1]
	} else {
		text = tags.ReplaceAllString(silent.ReplaceAllString(text, " "), " ")
	}
	text = strings.ToValidUTF8(strings.Join(strings.Fields(text), " "), "")
	if text == "" {
		return ""
	}
	if r := []rune(text); len(r) > 80 {
		text = string(r[:80]) + "…"
	}
	return fmt.Sprintf(": %q", text)
}
