package queue

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"bellboard/scaler"
)

// The reasons why Jenkins could not be read, each with its cause, which is the name for the metrics. They
// come wrapped in a text that says what was found.
var (
	// ErrUnauthorized: in the first moments after its start Jenkins does not know user and token yet.
	ErrUnauthorized = hold("unauthorized", "jenkins does not accept the user and token")
	ErrForbidden    = hold("forbidden", "jenkins rejects the request for lack of a permission")
	ErrNotJenkins   = hold("not-jenkins", "not an answer of Jenkins")
	// ErrUnavailable: there was no complete answer, or the answer says "not now".
	ErrUnavailable = hold("unavailable", "jenkins is not available")
	// ErrBlind: the user can see neither an item of the queue, nor a running build, nor a job.
	ErrBlind   = hold("blind", "permission Job/Read (hudson.model.Item.Read) is missing")
	ErrPartial = hold("partial", "jenkins' answer is incomplete")
	ErrNoToken = hold("no-token", "no API token")
	// ErrBlocked: Jenkins has not seen the request, so that the user lacks no permission.
	ErrBlocked   = hold("blocked", "something between Bellboard and Jenkins, such as a firewall or a proxy, rejects the request")
	ErrStripped  = hold("stripped", "something between Bellboard and Jenkins, such as a proxy, removes a header of Jenkins")
	ErrRestarted = hold("restarted", "jenkins restarted between two answers")
)

var causes = []string{string(scaler.CauseOther)}

// hold returns an error with its cause, which Causes lists.
func hold(cause scaler.HoldCause, text string) error {
	causes = append(causes, string(cause))
	return scaler.Caused(cause, errors.New(text))
}

// Causes lists the causes of a failed Observe, so that a metric exists before the first failure.
func Causes() []string { return slices.Clone(causes) }

// Answer is the answer to one request, with any status.
type Answer struct {
	Status          int // 0 without an answer
	Header          http.Header
	Body            string // only the first words of a document that was decoded
	Asked, Answered time.Time
}

// Document returns nil if the answer is a JSON document of Jenkins. Otherwise it returns the reason.
func (a *Answer) Document() error {
	body, unsigned := strings.TrimSpace(a.Body), a.Header.Get("X-Jenkins") == ""
	switch {
	case a.Status != http.StatusOK:
		return a.Refusal()
	case unsigned && strings.HasPrefix(body, `{"_class":"hudson.`):
		return fmt.Errorf("%w: the answer comes from Jenkins and has no X-Jenkins header", ErrStripped)
	case unsigned:
		return fmt.Errorf("%w: no X-Jenkins header%s", ErrNotJenkins, a.excerpt())
	case body == "":
		return fmt.Errorf("%w: empty body", ErrNotJenkins)
	case body[0] != '{':
		return fmt.Errorf("%w: no JSON%s", ErrNotJenkins, a.excerpt())
	}
	return nil
}

// Refusal returns the error for an answer with an unexpected status.
func (a *Answer) Refusal() error {
	h, words := a.Header, a.excerpt()
	version, reason := h.Get("X-Jenkins"), h.Get("X-Error")
	user, permission := h.Get("X-You-Are-Authenticated-As"), h.Get("X-Required-Permission")
	// Jenkins gives its version, the user, or the missing permission. If a write came with a password,
	// Jenkins says that the write had no crumb.
	byJenkins := version+user+permission != "" || strings.Contains(a.Body, "No valid crumb")
	switch {
	case a.Status == http.StatusUnauthorized:
		return fmt.Errorf("%w (status 401; also seen for a moment while Jenkins starts)%s", ErrUnauthorized, words)
	case a.Status == http.StatusForbidden && !byJenkins:
		return fmt.Errorf("%w (status 403 without an X-Jenkins header)%s", ErrBlocked, words)
	case a.Status == http.StatusForbidden:
		if user != "" {
			user = ", as user " + user
		}
		if permission != "" {
			permission = ", permission " + permission + " required"
		}
		return fmt.Errorf("%w (status 403%s%s)%s", ErrForbidden, user, permission, words)
	case a.Status >= 500 || a.Status == http.StatusTooManyRequests:
		return fmt.Errorf("%w (status %d)%s", ErrUnavailable, a.Status, words)
	case a.Status >= 300 && a.Status < 400:
		return fmt.Errorf("%w (status %d, redirected to %q)", ErrNotJenkins, a.Status, h.Get("Location"))
	case reason != "":
		return fmt.Errorf("%w (status %d): %s", scaler.ErrRejected, a.Status, reason)
	case version != "" && a.Status != http.StatusOK:
		return fmt.Errorf("jenkins answered with status %d%s", a.Status, words)
	default:
		return fmt.Errorf("%w (status %d)%s", ErrNotJenkins, a.Status, words)
	}
}

var (
	title = regexp.MustCompile(`(?is)<title>(.*?)</title>`)
	tags  = regexp.MustCompile(`(?is)<(script|style|head)\b.*?(</(script|style|head)>|$)|<[^>]*>`)
)

// excerptBytes is how many bytes of an answer excerpt looks at.
const excerptBytes = 4096

// excerpt returns ": " and the first words of the body, for people. Without any words it returns "".
func (a *Answer) excerpt() string {
	text := a.Body[:min(len(a.Body), excerptBytes)]
	if t := title.FindStringSubmatch(text); t != nil {
		text = t[1]
	}
	words := strings.Fields(strings.ToValidUTF8(tags.ReplaceAllString(text, " "), ""))
	if text = strings.Join(words, " "); text == "" {
		return ""
	}
	if r := []rune(text); len(r) > 80 {
		text = string(r[:80]) + "…"
	}
	return fmt.Sprintf(": %q", text)
}
