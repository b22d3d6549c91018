package doctor

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"bellboard/queue"
)

// Jenkins' ids of permissions, as the header X-Required-Permission has them.
const (
	idCreate     = "hudson.model.Computer.Create"
	idConnect    = "hudson.model.Computer.Connect"
	idDisconnect = "hudson.model.Computer.Disconnect"
	idDelete     = "hudson.model.Computer.Delete"
)

// verdicts has the permissions that a probe has shown: whether the user has each of them.
type verdicts map[string]bool

// lacks reports whether Jenkins rejected a request because this permission is missing.
func lacks(err error, id string) bool {
	return err != nil && strings.Contains(err.Error(), "permission "+id+" ")
}

// judge makes the check of a permission if the probe has shown that permission, and reports whether it has.
func (e *exam) judge(name string, v verdicts) bool {
	granted, shown := v[name]
	switch {
	case granted:
		e.ok(name, "granted, shown by the probe")
	case shown:
		e.finding(name, grant(name, e.Settings.JenkinsUser), "Jenkins rejected a request of the probe for lack of it")
	}
	return shown
}

// jobRead checks that Bellboard sees jobs. Without Job/Read the queue is empty, as it is if nothing waits. So
// jobRead looks for anything that Jenkins shows only with Job/Read.
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
		// For a moment an executor is busy and has no build yet.
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
		e.finding(checkJobRead, remedy, "%d agents of Bellboard's run builds that it may not see: Bellboard does not see such builds wait either", w.ours)
	case !visible && w.hidden > 0:
		e.finding(checkJobRead, remedy, "builds run, and Bellboard may see none of them: the queue looks empty whatever waits in it")
	case !visible:
		e.finding(checkJobRead, remedy+"; or make a first job", "Bellboard sees no job, no waiting and no running build: the permission is missing, or Jenkins has no job. Without the permission the queue looks empty whatever waits in it")
	case w.hidden > 0:
		e.ok(checkJobRead, "granted, but not for every job: Bellboard may not see %d running builds", w.hidden)
	default:
		e.ok(checkJobRead, "granted")
	}
}

// work counts the builds that Bellboard may see, the busy executors whose build it may not see, and those of
// them that are the instance's own.
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

// create registers a Jenkins node with a name that no Jenkins accepts: Jenkins checks the permission first.
// create returns what Jenkins says about the name.
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
		e.ok(checkCreate, "granted: Jenkins rejected an impossible name for the name only")
		return a.Header.Get("X-Error")
	case a.Status == http.StatusForbidden && a.Header.Get("X-Required-Permission") == idCreate:
		e.finding(checkCreate, grant(checkCreate, e.Settings.JenkinsUser), "without it Bellboard can register no agent")
	case a.Status == http.StatusForbidden && strings.Contains(a.Body, "No valid crumb"):
		e.finding(checkCreate, "put an API token, not a password, into "+e.Settings.JenkinsTokenFile, "Jenkins asks for a crumb, as it does if a user logs in with a password")
	case e.between(checkCreate, a.Refusal()):
	default:
		e.skip(checkCreate, "", "a registration under the name %q gave status %d: %v", name, a.Status, a.Refusal())
	}
	return ""
}

// connect reads the secret of an agent, as Bellboard does. Without an agent it reads the monitor data of the
// built-in node, which only a user with Agent/Connect sees.
func (e *exam) connect(ctx context.Context, v verdicts) {
	remedy := grant(checkConnect, e.Settings.JenkinsUser) + "; Agent/Disconnect implies it"
	if e.judge(checkConnect, v) {
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
			e.ok(checkConnect, "granted: Bellboard can read the secret of %s", c.Name)
			return
		case lacks(err, idConnect):
			e.finding(checkConnect, remedy, "without it no agent gets its secret")
			return
		case e.between(checkConnect, err):
			return
		} // after another error the Jenkins node may be gone
	}
	var built struct{ MonitorData map[string]any }
	err := e.document(ctx, "/computer/(built-in)/api/json", "", &built)
	if err != nil {
		err = e.document(ctx, "/computer/(master)/api/json", "", &built)
	}
	switch {
	case err != nil || built.MonitorData == nil:
		e.skip(checkConnect, "try again with --probe", "there is no Jenkins node yet with a secret to read")
	case len(built.MonitorData) == 0:
		e.finding(checkConnect, remedy, "Jenkins hides the built-in node's monitor data: without the permission no agent gets its secret either")
	default:
		e.ok(checkConnect, "granted: Jenkins shows the built-in node's monitor data")
	}
}

// disconnect reads the page on which a person marks a Jenkins node. The page has the form only if the user
// has the permission. A page without the form proves nothing.
func (e *exam) disconnect(ctx context.Context, v verdicts) {
	if e.judge(checkDisconnect, v) {
		return
	}
	a, err := e.client.Ask(ctx, queue.Question{Path: "/computer/(built-in)/markOffline"})
	switch {
	case err == nil && a.Status == http.StatusOK && strings.Contains(a.Body, "offlineMessage"):
		e.ok(checkDisconnect, "granted: Jenkins shows the form that marks a node")
	case err == nil && a.Status == http.StatusForbidden && a.Header.Get("X-Required-Permission") == idDisconnect:
		e.finding(checkDisconnect, grant(checkDisconnect, e.Settings.JenkinsUser), "without it Bellboard can mark no agent, and removes none")
	default:
		e.skip(checkDisconnect, "try again with --probe", "only a mark on a Jenkins node would show it")
	}
}

// delete has no harmless request for its permission: Jenkins rejects the deletion of the built-in node before
// it checks the permission.
func (e *exam) delete(v verdicts) {
	if !e.judge(checkDelete, v) {
		e.skip(checkDelete, "try again with --probe", "only the deletion of a Jenkins node would show it")
	}
}
