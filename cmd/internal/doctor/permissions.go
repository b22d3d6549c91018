package doctor

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"bellboard/queue"
)

// Jenkins' names of permissions, as X-Required-Permission has them.
const (
	idCreate     = "hudson.model.Computer.Create"
	idConnect    = "hudson.model.Computer.Connect"
	idDisconnect = "hudson.model.Computer.Disconnect"
	idDelete     = "hudson.model.Computer.Delete"
)

// verdict is what a probe showed of a permission.
type verdict string

// The verdicts; the zero value is that it showed nothing.
const (
	granted verdict = "granted"
	missing verdict = "missing"
)

// verdicts are by permission.
type verdicts map[string]verdict

// lacks reports whether a refusal names that permission as what is missing.
func lacks(err error, id string) bool {
	return err != nil && strings.Contains(err.Error(), "permission "+id+" ")
}

// judge makes the row of a permission from what the probe showed. It reports
// whether that settled it.
func (e *exam) judge(name string, v verdict) bool {
	switch v {
	case granted:
		e.ok(name, "granted, shown by the probe")
	case missing:
		e.finding(name, grant(name, e.Settings.JenkinsUser), "Jenkins refused it to the probe")
	default:
		return false
	}
	return true
}

// jobRead tells a queue in which nothing waits from one that may not be seen:
// both are empty. What shows it is anything that only Job/Read lets through.
func (e *exam) jobRead(ctx context.Context, items int) {
	remedy := grant(checkJobRead, e.Settings.JenkinsUser)
	var err error
	if e.computers, err = e.client.Computers(ctx); err != nil {
		e.skip(checkJobRead, "", "%v", err)
		return
	}
	var root struct{ Jobs []struct{ Name string } }
	if err := e.document(ctx, "/api/json", "jobs[name]{0,1}", &root); err != nil {
		e.skip(checkJobRead, "", "reading the jobs: %v", err)
		return
	}
	w := workOf(e.computers)
	if w.hidden > 0 {
		// For a moment an executor is busy and has no build yet: look again.
		cs, err := e.again(ctx)
		if err != nil {
			e.skip(checkJobRead, "", "%v", err)
			return
		}
		now := workOf(cs)
		w = work{max(w.seen, now.seen), min(w.hidden, now.hidden), min(w.ours, now.ours)}
	}
	visible := len(root.Jobs) > 0 || items > 0 || w.seen > 0
	switch {
	case w.ours > 0:
		e.finding(checkJobRead, remedy, "%d agents of Bellboard's run builds that it may not see: such builds are not seen waiting either", w.ours)
	case !visible && w.hidden > 0:
		e.finding(checkJobRead, remedy, "builds run and not one may be seen: the queue looks empty whatever waits in it")
	case !visible:
		e.finding(checkJobRead, remedy+"; or make a first job", "no job, no waiting and no running build is seen: the permission is missing, or Jenkins has no job. Without it the queue looks empty whatever waits in it")
	case w.hidden > 0:
		e.ok(checkJobRead, "granted, but not everywhere: %d builds run that may not be seen", w.hidden)
	default:
		e.ok(checkJobRead, "granted")
	}
}

// work is what runs: builds that can be seen, busy executors whose build cannot,
// and of those the instance's own.
type work struct{ seen, hidden, ours int }

func workOf(cs []queue.Computer) (w work) {
	for i := range cs {
		c := &cs[i]
		w.seen += c.Busy - c.Unseen
		w.hidden += c.Unseen
		if ours(c) {
			w.ours += c.Unseen
		}
	}
	return w
}

// create asks for a node whose name no Jenkins takes: the permission is asked
// first. It returns Jenkins' words about the name.
func (e *exam) create(ctx context.Context) (words string) {
	const name, dumb = "/", "hudson.slaves.DumbSlave"
	a, err := e.client.Ask(ctx, queue.Question{
		Method: http.MethodPost, Path: "/computer/doCreateItem",
		Form: url.Values{"name": {name}, "type": {dumb}, "json": {`{"name":"/","type":"` + dumb + `"}`}},
	})
	switch {
	case err != nil:
		e.skip(checkCreate, "", "%v", err)
	case a.Status == http.StatusBadRequest && a.Header.Get("X-Error") != "":
		e.ok(checkCreate, "granted: a name that cannot be was refused for its name")
		return a.Header.Get("X-Error")
	case a.Status == http.StatusForbidden && a.Header.Get("X-Required-Permission") == idCreate:
		e.finding(checkCreate, grant(checkCreate, e.Settings.JenkinsUser), "without it no agent can be registered")
	case a.Status == http.StatusForbidden && strings.Contains(a.Body, "No valid crumb"):
		e.finding(checkCreate, "put an API token, not a password, into "+e.Settings.JenkinsTokenFile, "Jenkins wants a crumb for a write, as it does of who comes with a password")
	case e.between(checkCreate, a.Refusal()):
	default:
		e.skip(checkCreate, "", "a registration under the name %q gave status %d: %v", name, a.Status, a.Refusal())
	}
	return ""
}

// connect reads the built-in node's monitor data, which only Agent/Connect
// shows, and the secret of a node of ours, as Bellboard does.
func (e *exam) connect(ctx context.Context, v verdicts) {
	remedy := grant(checkConnect, e.Settings.JenkinsUser) + "; Agent/Disconnect implies it"
	if e.judge(checkConnect, v[checkConnect]) {
		return
	}
	for i := range e.computers {
		c := &e.computers[i]
		if !ours(c) || swarm(c) {
			continue
		}
		_, err := e.client.Secret(ctx, c.Name)
		switch {
		case err == nil:
			e.ok(checkConnect, "granted: the secret of %s can be read", c.Name)
			return
		case lacks(err, idConnect):
			e.finding(checkConnect, remedy, "without it no agent gets its secret")
			return
		case e.between(checkConnect, err):
			return
		} // it may be gone by now
	}
	var built struct{ MonitorData map[string]any }
	err := e.document(ctx, "/computer/(built-in)/api/json", "", &built)
	if err != nil {
		err = e.document(ctx, "/computer/(master)/api/json", "", &built)
	}
	switch {
	case err != nil || built.MonitorData == nil:
		e.skip(checkConnect, "try again with --probe", "there is no node yet whose secret could be read")
	case len(built.MonitorData) == 0:
		e.finding(checkConnect, remedy, "the built-in node's monitor data are hidden: without the permission no agent gets its secret either")
	default:
		e.ok(checkConnect, "granted: the built-in node's monitor data are shown")
	}
}

// disconnect reads the page on which a person marks a node: it holds the form
// only for who may. A page without it shows nothing.
func (e *exam) disconnect(ctx context.Context, v verdicts) {
	if e.judge(checkDisconnect, v[checkDisconnect]) {
		return
	}
	a, err := e.client.Ask(ctx, queue.Question{Path: "/computer/(built-in)/markOffline"})
	switch {
	case err == nil && a.Status == http.StatusOK && strings.Contains(a.Body, "offlineMessage"):
		e.ok(checkDisconnect, "granted: the form that marks a node is shown")
	case err == nil && a.Status == http.StatusForbidden && a.Header.Get("X-Required-Permission") == idDisconnect:
		e.finding(checkDisconnect, grant(checkDisconnect, e.Settings.JenkinsUser), "without it no agent can be told to take no more work, so none is ever removed")
	default:
		e.skip(checkDisconnect, "try again with --probe", "only marking a node would show it")
	}
}

// delete knows no harmless question: Jenkins refuses the deletion of what cannot
// be deleted before it asks who wants it.
func (e *exam) delete(v verdicts) {
	if !e.judge(checkDelete, v[checkDelete]) {
		e.skip(checkDelete, "try again with --probe", "only deleting a node would show it")
	}
}
