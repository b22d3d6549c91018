package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"bellboard/scaler"
)

// The fields that the client asks for. Jenkins adds _class by itself. The client does not ask for "stuck"
// of an item nor for "name" of a task, since Jenkins may have to load builds for both. The build of a busy
// executor shows whether the user may see builds, and whether it is the build from before a restart.
const (
	computersTree = "computer[displayName,description,absoluteRemotePath,offline,temporarilyOffline,offlineCause[_class,description,timestamp],offlineCauseReason,idle,numExecutors,assignedLabels[name],executors[idle,currentExecutable[url]],oneOffExecutors[idle]]"
	nodeTree      = "displayName,temporarilyOffline,offlineCause[_class,description,timestamp],offlineCauseReason,idle,executors[idle],oneOffExecutors[idle]"
	// One job of the top level is enough. Jenkins shows a job to a user that may read jobs.
	jobsTree  = "jobs[name]{0,1}"
	quietTree = "quietingDown"
	queueTree = "items[id,inQueueSince,buildableStartMilliseconds,why,blocked,pending,task[url,labelExpression],actions[parameters[name,value]]]"
)

// The class of each document's root.
const (
	computersClass = "hudson.model.ComputerSet"
	queueClass     = "hudson.model.Queue"
	rootClass      = "hudson.model.Hudson"
)

// Observe reads the nodes and then the queue. In this order a view may show an agent free that has just
// taken an item, but it never lacks both the item and its agent.
func (c *Client) Observe(ctx context.Context) (scaler.JenkinsView, error) {
	c.polling.Lock()
	defer c.polling.Unlock()
	v, err := c.poll(ctx)
	if err == nil {
		return v, nil
	}
	if ctx.Err() == nil {
		c.c.Unseen(string(scaler.CauseOf(err)))
	}
	return scaler.JenkinsView{}, err
}

// awayError is the error of a Jenkins that answers nothing at all.
type awayError struct{ error }

func (a awayError) Unwrap() []error { return []error{a.error, scaler.ErrAway} }

// poll reads a Jenkins that answers. If the last request or this poll got no answer, poll asks the small
// question, which costs Jenkins nothing. If Jenkins answers the small question after a failed poll, it may
// just have come back, and poll polls again at once. It does so only once: if Jenkins answers nothing but
// small questions, the loop makes its long pause.
func (c *Client) poll(ctx context.Context) (scaler.JenkinsView, error) {
	if c.breaker.failing() {
		if err := c.alive(ctx); err != nil {
			return scaler.JenkinsView{}, awayError{err}
		}
	}
	v, err := c.observe(ctx)
	switch {
	case !errors.Is(err, ErrUnavailable) || ctx.Err() != nil:
		c.tried = false
	case c.alive(ctx) != nil:
		c.tried, err = false, awayError{err}
	case !c.tried:
		c.tried = true
		return c.observe(ctx)
	}
	return v, err
}

// alive returns nil if Jenkins answers the small question: for the cheapest field that needs user and token.
func (c *Client) alive(ctx context.Context) error {
	if _, err := c.small(ctx, Alive, "", quietTree, &struct{}{}); err != nil {
		return fmt.Errorf("asking whether Jenkins answers: %w", err)
	}
	return nil
}

func (c *Client) observe(ctx context.Context) (v scaler.JenkinsView, err error) {
	v.AskedAt = c.c.Clock.Now()
	unseen, err := c.computers(ctx, &v)
	if err != nil {
		return v, fmt.Errorf("reading Jenkins' nodes: %w", err)
	}
	queue, err := c.document(ctx, Queue, "/queue", queueTree, func(a *Answer, in io.Reader) (err error) {
		if err := a.sameSession(v.Session); err != nil { // the nodes say what a sentence of the queue means
			return err
		}
		v.Items, err = c.memory.items(in, v.Nodes)
		return err
	})
	if err != nil {
		return v, fmt.Errorf("reading Jenkins' queue: %w", err)
	}
	v.AnsweredAt, v.Version = queue.Answered, queue.Header.Get("X-Jenkins")
	for i := range v.Items {
		v.Items[i].Since = v.Items[i].Since.Add(-c.ahead)
	}
	if len(v.Items) == 0 {
		if err := c.checkVisible(ctx, unseen); err != nil {
			return v, fmt.Errorf("reading Jenkins: %w", err)
		}
	}
	if err := c.quietingDown(ctx, &v); err != nil {
		return v, fmt.Errorf("reading whether Jenkins is quieting down: %w", err)
	}
	return v, nil
}

// Computer is a node as Jenkins shows it, with two facts more for doctor.
type Computer struct {
	scaler.Node

	Description string
	Unseen      int // number of busy executors whose build the user may not see
}

// Computers reads all nodes anew, as Observe does. It also returns nodes if Observe would return ErrBlind:
// for an empty queue without a visible build.
func (c *Client) Computers(ctx context.Context) (all []Computer, err error) {
	c.polling.Lock()
	defer c.polling.Unlock()
	_, err = c.document(ctx, Computers, "/computer", computersTree, func(_ *Answer, in io.Reader) error {
		return c.memory.eachNode(in, c.c.Instance, func(n Computer) { all = append(all, n) })
	})
	if err != nil {
		return nil, fmt.Errorf("reading Jenkins' nodes: %w", err)
	}
	return all, nil
}

// computers reads the nodes of the view. unseen has Bellboard's busy nodes if the build of none of them can
// be seen.
func (c *Client) computers(ctx context.Context, v *scaler.JenkinsView) (unseen map[string]bool, err error) {
	a, err := c.document(ctx, Computers, "/computer", computersTree, func(_ *Answer, in io.Reader) (err error) {
		v.Nodes, unseen, err = c.memory.nodes(in, c.c.Instance)
		v.Runs = c.memory.runs
		return err
	})
	if err != nil {
		return nil, err
	}
	// Only the times at which items entered the queue are Jenkins'. Jenkins' Date is cut to the second and
	// was written between question and answer, so that it proves two bounds. An estimate within the bounds
	// stays as it is, so that clocks that agree are not corrected back and forth. A proxy may replace
	// Jenkins' Date by its own: then the proxy's clock is compared.
	if date, err := http.ParseTime(a.Header.Get("Date")); err == nil {
		c.ahead = max(date.Sub(a.Answered), min(c.ahead, date.Add(time.Second).Sub(a.Asked)))
		c.c.Skew(c.ahead)
	}
	err = c.memory.remember(v.Nodes)
	v.NodesAt, v.Session = a.Answered, a.Header.Get("X-Jenkins-Session")
	restarted := v.Session != "" && v.Session != c.session
	if restarted {
		c.session, c.since = v.Session, a.Answered
	}
	v.SessionSince = c.since
	if restarted || c.c.Reader { // a reader knows of no deletion
		err = nil
	}
	return unseen, err
}

// quietingDown sets QuietingDown of the view, since a safe restart does not wait for builds on marked nodes.
// If no item says that Jenkins is quieting down, quietingDown asks Jenkins' root in two cases:
//
//   - A busy agent has Bellboard's own mark.
//   - Jenkins was quieting down at the last poll. The root has to say that this is over, since Bellboard
//     lifts its marks meanwhile.
//
// With the hook the root is never asked, because a safe restart waits for marked agents too.
func (c *Client) quietingDown(ctx context.Context, v *scaler.JenkinsView) (err error) {
	hook := scaler.HookLabel(c.c.Instance)
	v.Hook = slices.ContainsFunc(v.Nodes, func(n scaler.Node) bool { return slices.Contains(n.Labels, hook) })
	v.QuietingDown = slices.ContainsFunc(v.Items, func(it scaler.Item) bool { return it.State == scaler.ShuttingDown })
	busy := func(n scaler.Node) bool { return n.Mine() && !n.Idle && n.OfflineBy == scaler.Ours }
	asks := c.quiet || slices.ContainsFunc(v.Nodes, busy)
	defer func() { c.quiet = v.QuietingDown || err != nil }()
	if v.QuietingDown || v.Hook || !asks {
		return nil
	}
	var root struct {
		Class string `json:"_class"`
		Quiet *bool  `json:"quietingDown"`
	}
	a, err := c.small(ctx, Quieting, "", quietTree, &root)
	if err == nil {
		err = a.sameSession(v.Session)
	}
	if err != nil {
		return err
	}
	v.AnsweredAt = a.Answered
	if root.Class != rootClass || root.Quiet == nil {
		return fmt.Errorf("%w: class %q, not %s, or no quietingDown", ErrNotJenkins, root.Class, rootClass)
	}
	v.QuietingDown = *root.Quiet
	return nil
}

// sameSession returns an error unless the answer is of that session of Jenkins.
func (a *Answer) sameSession(session string) error {
	switch s := a.Header.Get("X-Jenkins-Session"); {
	case s == "" || session == "":
		return fmt.Errorf("%w: X-Jenkins-Session, which shows a restart of Jenkins", ErrStripped)
	case s != session:
		return fmt.Errorf("%w: session %q and session %q", ErrRestarted, s, session)
	}
	return nil
}

// checkVisible returns an error if the queue is empty only because the user may not see the items. To a user
// without Job/Read Jenkins answers 200 with no item, and it hides every job and the builds of the executors.
// An executor that has just taken an item shows no build for a moment, so that checkVisible reads the nodes a
// second time. Without a busy agent it asks for a job.
func (c *Client) checkVisible(ctx context.Context, unseen map[string]bool) error {
	if len(unseen) > 0 {
		still, err := c.computers(ctx, &scaler.JenkinsView{})
		maps.DeleteFunc(still, func(name string, _ bool) bool { return !unseen[name] })
		if err == nil && len(still) > 0 {
			err = fmt.Errorf("%w: the queue is empty, and the user can see no build on %d busy agents", ErrBlind, len(still))
		}
		return err
	}
	const valid = time.Minute // as long a job that was seen proves that the user may see jobs
	if c.c.Clock.Now().Sub(c.jobSeen) < valid {
		return nil
	}
	var root struct {
		Jobs []struct{} `json:"jobs"`
	}
	a, err := c.small(ctx, Jobs, "", jobsTree, &root)
	switch {
	case err != nil:
		return err
	case len(root.Jobs) == 0:
		return fmt.Errorf("%w, or Jenkins has no job yet: the queue is empty, and the user can see no job", ErrBlind)
	}
	c.jobSeen = a.Answered
	return nil
}

// document reads one JSON document. decode reads the document while the document arrives.
func (c *Client) document(ctx context.Context, e, path, tree string, decode func(*Answer, io.Reader) error) (Answer, error) {
	q := Question{endpoint: e, Path: path + "/api/json", Query: map[string]string{"tree": tree}, decode: decode}
	a, err := c.ask(ctx, q)
	if err == nil && a.Status != http.StatusOK {
		err = a.Refusal()
	}
	return a, err
}

// small reads a document that is never large into one value.
func (c *Client) small(ctx context.Context, e, path, tree string, into any) (Answer, error) {
	return c.document(ctx, e, path, tree, func(_ *Answer, in io.Reader) error {
		return decode(in, func(d *jsontext.Decoder, _ *io.LimitedReader) error {
			return json.UnmarshalDecode(d, into)
		})
	})
}
