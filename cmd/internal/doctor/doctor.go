// Package doctor checks the settings, Jenkins and Kubernetes as they answer now. Each finding has a remedy.
//
// A check is ok only if an answer shows it. A check is "not checked", with the reason, if Jenkins or
// Kubernetes could not be asked, or if the answer looks the same either way. The package never shows a token
// or a secret, and changes nothing. Probe is the one exception: it registers two Jenkins nodes, queues
// nothing, and removes the two nodes, also when it is interrupted. It touches no other Jenkins node.
package doctor

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"k8s.io/client-go/rest"

	"bellboard/cmd/internal/config"
	"bellboard/queue"
	"bellboard/scaler/clock"
)

// Result is the result of a check.
type Result string

// The results of a check.
const (
	OK         Result = "ok"
	Finding    Result = "finding"
	NotChecked Result = "not checked"
	// Warning is a danger that the settings allow: there is nothing to do.
	Warning Result = "warning"
)

// Check is one check and its result.
type Check struct {
	Name   string `json:"check"`
	Result Result `json:"result"`
	What   string `json:"what"`
	Remedy string `json:"remedy,omitempty"`
}

// Report has all checks, in the order in which they were made.
type Report struct {
	Checks []Check `json:"checks"`
	// Did is what the probe changed in Jenkins, step by step.
	Did []string `json:"did,omitempty"`
}

// Count returns the number of checks with this result.
func (r *Report) Count(result Result) (n int) {
	for i := range r.Checks {
		if r.Checks[i].Result == result {
			n++
		}
	}
	return n
}

// Parts has what the checks need.
type Parts struct {
	Settings *config.Config
	Clock    clock.Clock
	// Token returns Jenkins' API token; nil: Run reads the token from the file of the settings.
	Token func() (string, error)
	// Jenkins carries the requests to Jenkins; nil: the network does.
	Jenkins http.RoundTripper
	// Kube has the address of the API server and the credentials; KubeErr is the reason if there is none.
	Kube    *rest.Config
	KubeErr error
	// Lead says that the daemon would hold a Lease.
	Lead bool
	// NoOwnNamespace says that Bellboard's own namespace is not known.
	NoOwnNamespace bool
	// Waiting gets the server that has not answered for a while.
	Waiting func(what string)
	// Probe makes Run register two Jenkins nodes, and remove them.
	Probe bool
	// Patience is the time for which a probe tries to remove its Jenkins nodes while Jenkins does not answer;
	// 0 is two minutes.
	Patience time.Duration
}

// exam is one Run under way.
type exam struct {
	Parts
	report    Report
	client    *queue.Client
	computers []queue.Computer
}

// Run makes every check. After a finding Run goes on with the checks that do not depend on it. When ctx ends,
// the rest is not checked.
func Run(ctx context.Context, p Parts) Report {
	if p.Patience == 0 {
		p.Patience = 2 * time.Minute
	}
	if p.Waiting == nil {
		p.Waiting = func(string) {}
	}
	e := &exam{Parts: p}
	agents := 0
	for i := range p.Settings.Teams {
		agents += len(p.Settings.Teams[i].Kinds())
	}
	e.ok("settings", "%d teams with %d kinds of agent, no mistake", len(p.Settings.Teams), agents)
	for _, w := range p.Settings.Warnings() {
		e.report.Checks = append(e.report.Checks, Check{"settings", Warning, w, ""})
	}
	e.tokenFile()
	e.jenkins(ctx)
	e.kubernetes(ctx)
	return e.report
}

func (e *exam) ok(name, what string, args ...any) {
	e.report.Checks = append(e.report.Checks, Check{name, OK, fmt.Sprintf(what, args...), ""})
}

func (e *exam) finding(name, remedy, what string, args ...any) {
	e.report.Checks = append(e.report.Checks, Check{name, Finding, fmt.Sprintf(what, args...), remedy})
}

func (e *exam) skip(name, remedy, what string, args ...any) {
	e.report.Checks = append(e.report.Checks, Check{name, NotChecked, fmt.Sprintf(what, args...), remedy})
}

// skipAll skips several checks for one reason.
func (e *exam) skipAll(why string, names ...string) {
	for _, name := range names {
		e.skip(name, "", "%s", why)
	}
}

// tokenFile checks that the file has a token, and that not every user may read the file.
func (e *exam) tokenFile() {
	const name = "token file"
	if e.Token != nil {
		e.skip(name, "", "the token does not come from a file")
		return
	}
	path := e.Settings.JenkinsTokenFile
	source := config.NewTokenSource(path, e.Clock)
	e.Token = source.Token
	if _, err := source.Token(); err != nil {
		e.finding(name, "put the API token of "+e.Settings.JenkinsUser+" there (docs/jenkins.md)", "%v", err)
		return
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		e.skip(name, "", "%v", err)
	case info.Mode().Perm()&0o004 != 0:
		e.finding(name, "chmod o-r "+path+"; of a mounted Secret set defaultMode: 0440", "every user of this computer can read %s (%s)", path, info.Mode().Perm())
	default:
		e.ok(name, "%s holds a token, %s", path, info.Mode().Perm())
	}
}

// random returns a part of a name that is not in use.
func random() string { return strings.ToLower(rand.Text()[:10]) }

// few joins the first names of a list, and gives the number of the others.
func few(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
