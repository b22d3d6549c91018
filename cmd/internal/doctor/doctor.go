// Package doctor examines what a Bellboard would meet: its settings, Jenkins
// and Kubernetes as they answer now, each check with a remedy.
//
// It promises that a check is called well only on an answer that shows it: what
// could not be asked, or is not told apart by what was answered, is "not
// checked", with its reason. It never shows a token or a secret, and it changes
// nothing. The one exception is asked for by Probe: then it registers two nodes
// of its own in Jenkins, queues nothing, and removes them again, also when it is
// interrupted; it touches no node that it did not make.
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

	"bellboard/cmd/internal/app"
	"bellboard/cmd/internal/config"
	"bellboard/queue"
	"bellboard/scaler/clock"
)

// Result is how a check ended.
type Result string

// The results of a check.
const (
	OK         Result = "ok"
	Finding    Result = "finding"
	NotChecked Result = "not checked"
	// Warning is what somebody asked for and should not forget: nothing is to be done.
	Warning Result = "warning"
)

// Check is one thing that was looked at.
type Check struct {
	Name   string `json:"check"`
	Result Result `json:"result"`
	What   string `json:"what"`
	Remedy string `json:"remedy,omitempty"`
}

// Report is all that was found, in the order in which it was looked at.
type Report struct {
	Checks []Check `json:"checks"`
	// Did is what the probe changed in Jenkins, step by step.
	Did []string `json:"did,omitempty"`
}

// Count says how many checks ended so.
func (r *Report) Count(result Result) (n int) {
	for i := range r.Checks {
		if r.Checks[i].Result == result {
			n++
		}
	}
	return n
}

// Parts is what an examination needs.
type Parts struct {
	Settings *config.Config
	Clock    clock.Clock
	// Token returns Jenkins' API token; nil reads Settings' file.
	Token func() (string, error)
	// Jenkins carries the requests to Jenkins; nil is the network.
	Jenkins http.RoundTripper
	// Kube is how to reach the API server; KubeErr is why that is not known.
	Kube    *rest.Config
	KubeErr error
	// Lead says that the daemon would hold a Lease.
	Lead bool
	// NoOwnNamespace says that Bellboard's own namespace is not known.
	NoOwnNamespace bool
	// Waiting is told what is waited for, when that has not answered for a moment.
	Waiting func(what string)
	// Probe registers two nodes of its own in Jenkins, and removes them.
	Probe bool
	// Patience is how long a probe tries to remove what it made while Jenkins is
	// away; 0 is two minutes.
	Patience time.Duration
}

// exam is one examination under way.
type exam struct {
	Parts
	report    Report
	client    *queue.Client
	computers []queue.Computer
}

// Run examines everything. It goes on after a finding with all that does not
// rest on what was found missing. When ctx ends, the rest is not checked.
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

// skipAll skips several for one reason that no remedy of their own mends.
func (e *exam) skipAll(why string, names ...string) {
	for _, name := range names {
		e.skip(name, "", "%s", why)
	}
}

// tokenFile looks at the file itself: that it holds a token, and who may read it.
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
		e.finding(name, "chmod o-r "+path+"; of a mounted Secret set defaultMode: 0440", "%s can be read by every user of this machine (%s)", path, info.Mode().Perm())
	default:
		e.ok(name, "%s holds a token, %s", path, info.Mode().Perm())
	}
}

// wire is the way to Jenkins, trusting the settings' authorities too.
func (e *exam) wire() (http.RoundTripper, error) {
	if e.Jenkins != nil {
		return e.Jenkins, nil
	}
	return app.JenkinsTransport(e.Settings.JenkinsCAFile)
}

// random is a part of a name that nobody has used.
func random() string { return strings.ToLower(rand.Text()[:10]) }

// few joins the first names of a list, and says how many more there are.
func few(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
