package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"bellboard/cmd/internal/config"
	"bellboard/queue"
	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// computer is what Jenkins says of a node, with what is needed to see whether
// its builds may be seen.
type computer struct {
	Class              string `json:"_class"`
	DisplayName        string
	Description        string
	AbsoluteRemotePath string
	Offline            bool
	TemporarilyOffline bool
	OfflineCause       *struct {
		Class       string `json:"_class"`
		Description any    // a text; a plugin's class may have anything there
	}
	OfflineCauseReason string
	Idle               bool
	AssignedLabels     []struct{ Name string }
	Executors          []executor
	OneOffExecutors    []executor
}

type executor struct {
	Idle              bool
	CurrentExecutable *struct{ URL string }
}

// computerTree asks for all that a computer holds.
const computerTree = "displayName,description,absoluteRemotePath,offline,temporarilyOffline,offlineCause[_class,description],offlineCauseReason,idle," +
	"assignedLabels[name],executors[idle,currentExecutable[url]],oneOffExecutors[idle,currentExecutable[url]]"

// owner is whose the node is, by its description.
func (c *computer) owner(instance string) (scaler.PoolID, bool) {
	id, fence, mine := scaler.ParseOwner(instance, c.Description)
	return id, mine && !fence
}

func (c *computer) labelled(label string) bool {
	return slices.ContainsFunc(c.AssignedLabels, func(l struct{ Name string }) bool { return l.Name == label })
}

func (c *computer) swarm() bool { return strings.HasPrefix(c.Description, "Swarm agent from ") }

func (c *computer) cause() scaler.Cause {
	cause := scaler.Cause{Reason: c.OfflineCauseReason}
	if c.OfflineCause != nil {
		cause.Class = c.OfflineCause.Class
		cause.Description, _ = c.OfflineCause.Description.(string)
	}
	return cause
}

// mark is who took it temporarily offline.
func (c *computer) mark(instance string) scaler.OfflineBy {
	return scaler.ReadMark(instance, c.TemporarilyOffline, c.cause(), scaler.NotMarked)
}

// work counts the builds that run on it: those that can be seen, and executors
// that are busy with something that cannot.
func (c *computer) work() (seen, hidden int) {
	for _, x := range slices.Concat(c.Executors, c.OneOffExecutors) {
		switch {
		case x.CurrentExecutable != nil:
			seen++
		case !x.Idle:
			hidden++
		}
	}
	return seen, hidden
}

// look reads all computers anew.
func (e *exam) look(ctx context.Context) ([]computer, error) {
	var doc struct{ Computer []computer }
	if err := e.document(ctx, "/computer/api/json", "computer["+computerTree+"]", &doc); err != nil {
		return nil, fmt.Errorf("reading the computers: %w", err)
	}
	return doc.Computer, nil
}

// again reads all computers once more, after a moment.
func (e *exam) again(ctx context.Context) ([]computer, error) {
	if err := clock.Sleep(ctx, e.Clock, secondLook); err != nil {
		return nil, err
	}
	return e.look(ctx)
}

// document reads one JSON document of Jenkins.
func (e *exam) document(ctx context.Context, path, tree string, into any) error {
	q := queue.Question{Path: path}
	if tree != "" {
		q.Query = map[string]string{"tree": tree}
	}
	a, err := e.client.Ask(ctx, q)
	if err != nil {
		return err
	}
	if err := a.Document(); err != nil {
		return err
	}
	return json.Unmarshal([]byte(a.Body), into)
}

// connected counts the instance's agents that are connected, and fit.
func (e *exam) connected(fits func(*computer) bool) (n int) {
	for i := range e.computers {
		c := &e.computers[i]
		if _, mine := c.owner(e.Settings.Instance); mine && c.AbsoluteRemotePath != "" && fits(c) {
			n++
		}
	}
	return n
}

// hook looks for the label by which the one-build hook shows that it is there.
func (e *exam) hook() {
	label := scaler.HookLabel(e.Settings.Instance)
	switch {
	case !slices.ContainsFunc(e.Settings.Teams, func(t config.Team) bool { return slices.Contains(t.Kinds(), scaler.Ephemeral) }):
		e.ok(checkHook, "no team needs it")
	case e.computers == nil:
		e.skip(checkHook, "", "the computers cannot be read")
	case slices.ContainsFunc(e.computers, func(c computer) bool { return c.labelled(label) }):
		e.ok(checkHook, "installed: the built-in node has its label %s", label)
	default:
		e.finding(checkHook, "copy deploy/jenkins/init.groovy.d/bellboard-hook.groovy into $JENKINS_HOME/init.groovy.d and restart Jenkins. "+
			"Until then a second build may reach an ephemeral agent, and Bellboard itself has to lift its marks before a safe restart",
			"not installed, older than this Bellboard, or for another instance: no node has its label %s", label)
	}
}
