package queue

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"bellboard/scaler"
)

// What is asked for. Jenkins writes _class by itself. The queue's "stuck" and a
// task's "name" are left out: for both Jenkins may have to load builds. A busy
// executor's build tells whether it may be seen at all, and whether it is the one from
// before a restart of Jenkins.
const (
	computersTree = "computer[displayName,description,absoluteRemotePath,offline,temporarilyOffline,offlineCause[_class,description,timestamp],offlineCauseReason,idle,numExecutors,assignedLabels[name],executors[idle,currentExecutable[url]],oneOffExecutors[idle]]"
	nodeTree      = "displayName,temporarilyOffline,offlineCause[_class,description,timestamp],offlineCauseReason,idle,executors[idle],oneOffExecutors[idle]"
	// The first of the jobs at the top: it is there for who may read one.
	jobsTree  = "jobs[name]{0,1}"
	quietTree = "quietingDown"
	queueTree = "items[id,inQueueSince,why,blocked,pending,task[url,labelExpression],actions[parameters[name,value]]]"
)

// The root of each document.
const (
	computersClass = "hudson.model.ComputerSet"
	queueClass     = "hudson.model.Queue"
	rootClass      = "hudson.model.Hudson"
)

// Observe asks for the computers, then for the queue. That order may show an
// agent free that has just taken an item, never an item and its agent both gone.
// While our own mark is on a busy agent, and there is no hook, it asks Jenkins last
// whether it is quieting down: a safe restart does not wait for builds on marked nodes.
func (c *Client) Observe(ctx context.Context) (scaler.JenkinsView, error) {
	v, err := c.look(ctx)
	if err == nil || ctx.Err() != nil {
		return v, err
	}
	name := cause(err)
	c.c.Unseen(name)
	return v, scaler.Caused(scaler.HoldCause(name), err)
}

func (c *Client) observe(ctx context.Context) (v scaler.JenkinsView, err error) {
	v.AskedAt = c.c.Clock.Now()
	computers, nodes, unseen, err := c.computers(ctx)
	session := computers.header.Get("X-Jenkins-Session")
	if err == nil && !c.c.Reader {
		err = c.known.whole(session, nodes)
	}
	if err != nil {
		return scaler.JenkinsView{}, fmt.Errorf("reading Jenkins' computers: %w", err)
	}
	queue, err := c.document(ctx, Queue, "/queue", queueTree, func(a *answer, in io.Reader) (err error) {
		if err := a.sameSession(session); err != nil { // the nodes tell what its sentences mean
			return err
		}
		v.Items, err = c.known.items(in, nodes)
		return err
	})
	if err != nil {
		return scaler.JenkinsView{}, fmt.Errorf("reading Jenkins' queue: %w", err)
	}
	v.Nodes, v.Session, v.Version = nodes, session, queue.header.Get("X-Jenkins")
	v.NodesAt, v.AnsweredAt = computers.answered, c.c.Clock.Now()
	v.SessionSince = c.pulse.known(session)
	ahead := c.compareClocks(&computers)
	for i := range v.Items {
		v.Items[i].Since = v.Items[i].Since.Add(-ahead)
	}
	if len(v.Items) == 0 {
		if err := c.seesNothing(ctx, unseen); err != nil {
			return scaler.JenkinsView{}, fmt.Errorf("reading Jenkins: %w", err)
		}
	}
	if err := c.quietingDown(ctx, &v); err != nil {
		return scaler.JenkinsView{}, fmt.Errorf("reading whether Jenkins is quieting down: %w", err)
	}
	return v, nil
}

// computers asks for the computers. unseen are the busy nodes of ours when the build of
// none of them can be seen.
func (c *Client) computers(ctx context.Context) (a answer, nodes []scaler.Node, unseen map[string]bool, err error) {
	a, err = c.document(ctx, Computers, "/computer", computersTree, func(_ *answer, in io.Reader) (err error) {
		nodes, unseen, err = c.known.nodes(in, c.c.Instance)
		return err
	})
	return a, nodes, unseen, err
}

// quietingDown fills the view's QuietingDown: from an item that says so, and else from
// Jenkins' root. The root is asked only while a busy agent bears our own mark, and until
// it has said that a quiet-down is over: our marks are lifted meanwhile. With the hook the
// root need not be asked: a safe restart waits for marked agents too.
func (c *Client) quietingDown(ctx context.Context, v *scaler.JenkinsView) (err error) {
	hook := scaler.HookLabel(c.c.Instance)
	v.Hook = slices.ContainsFunc(v.Nodes, func(n scaler.Node) bool { return slices.Contains(n.Labels, hook) })
	v.QuietingDown = slices.ContainsFunc(v.Items, func(it scaler.Item) bool { return it.State == scaler.ShuttingDown })
	c.mu.Lock()
	asks := c.quiet
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.quiet = v.QuietingDown || err != nil && asks
		c.mu.Unlock()
	}()
	asks = asks || slices.ContainsFunc(v.Nodes, func(n scaler.Node) bool { return n.Mine() && !n.Idle && n.OfflineBy == scaler.Ours })
	if v.QuietingDown || v.Hook || !asks {
		return nil
	}
	var root struct {
		Class string `json:"_class"`
		Quiet *bool  `json:"quietingDown"`
	}
	if _, err = c.document(ctx, Quieting, "", quietTree, func(a *answer, in io.Reader) error {
		if err := a.sameSession(v.Session); err != nil {
			return err
		}
		return small(in, &root)
	}); err != nil {
		return err
	}
	v.AnsweredAt = c.c.Clock.Now()
	if root.Class != rootClass || root.Quiet == nil {
		return fmt.Errorf("%w: class %q, not %s, or no quietingDown", ErrNotJenkins, root.Class, rootClass)
	}
	v.QuietingDown = *root.Quiet
	return nil
}

// sameSession is an error unless the answer is of that session of Jenkins.
func (a *answer) sameSession(session string) error {
	switch s := a.header.Get("X-Jenkins-Session"); {
	case s == "" || session == "":
		return fmt.Errorf("%w: X-Jenkins-Session, which tells one start of Jenkins from another", ErrStripped)
	case s != session:
		return fmt.Errorf("%w: session %q and session %q", ErrRestarted, s, session)
	}
	return nil
}

// compareClocks learns from an answer how far Jenkins' clock is ahead of ours.
// Its Date is cut to the second and was written some time between question and
// answer, so it proves bounds: within them what is known stays as it is, and
// clocks that agree are not corrected to and fro. Only when items entered the
// queue is told by Jenkins' clock. (A proxy may put its own Date in place of
// Jenkins'; its clock is then the one that is compared.)
func (c *Client) compareClocks(a *answer) (ahead time.Duration) {
	date, err := http.ParseTime(a.header.Get("Date"))
	c.mu.Lock()
	if err == nil {
		c.ahead = max(date.Sub(a.answered), min(c.ahead, date.Add(time.Second).Sub(a.asked)))
	}
	ahead = c.ahead
	c.mu.Unlock()
	if err == nil {
		c.c.Skew(ahead)
	}
	return ahead
}

// seesNothing tells an empty queue from one whose items the user may not see:
// Jenkins answers 200 with none to who lacks Job/Read, and hides what its
// executors build, and every job. An executor that has just taken an item shows no
// build either, for a moment, so the computers are asked once more.
func (c *Client) seesNothing(ctx context.Context, unseen map[string]bool) error {
	if len(unseen) == 0 {
		return c.seesJobs(ctx)
	}
	_, _, still, err := c.computers(ctx)
	if err != nil {
		return err
	}
	for name := range still {
		if unseen[name] {
			return fmt.Errorf("%w: the queue is empty and no build can be seen on %d busy agents", ErrBlind, len(still))
		}
	}
	return nil
}

// jobsLast is how long a job that was seen shows that jobs may be.
const jobsLast = time.Minute

// seesJobs asks, now and then, whether any job can be seen.
func (c *Client) seesJobs(ctx context.Context) error {
	c.mu.Lock()
	last := c.sawJob
	c.mu.Unlock()
	if now := c.c.Clock.Now(); !last.IsZero() && now.Sub(last) < jobsLast {
		return nil
	}
	var root struct {
		Jobs []struct{} `json:"jobs"`
	}
	a, err := c.document(ctx, Jobs, "", jobsTree, func(_ *answer, in io.Reader) error { return small(in, &root) })
	if err != nil {
		return err
	}
	if len(root.Jobs) == 0 {
		return fmt.Errorf("%w, or Jenkins has no job yet: the queue is empty and no job can be seen", ErrBlind)
	}
	c.mu.Lock()
	c.sawJob = a.answered
	c.mu.Unlock()
	return nil
}

// document asks for one JSON document, and has decode read it while it comes in.
func (c *Client) document(ctx context.Context, e, path, tree string, decode func(*answer, io.Reader) error) (answer, error) {
	a, err := c.ask(ctx, request{
		endpoint: e, method: http.MethodGet, timeout: readTimeout, decode: decode,
		path: path, suffix: "api/json", query: map[string]string{"tree": tree},
	})
	switch {
	case err != nil:
		return a, err
	case a.status != http.StatusOK:
		return a, a.refusal()
	}
	return a, a.broken
}
