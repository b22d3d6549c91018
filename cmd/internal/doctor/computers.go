package doctor

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"bellboard/cmd/internal/config"
	"bellboard/queue"
	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// ours reports whether the node is an agent of the instance, or is to be one.
func ours(c *queue.Computer) bool { return c.Mine() && !c.Fence }

func builtIn(c *queue.Computer) bool { return c.Name == "built-in" || c.Name == "master" }

func swarm(c *queue.Computer) bool { return strings.HasPrefix(c.Description, "Swarm agent from ") }

// again reads all computers once more, after a moment.
func (e *exam) again(ctx context.Context) ([]queue.Computer, error) {
	if err := clock.Sleep(ctx, e.Clock, secondLook); err != nil {
		return nil, err
	}
	return e.client.Computers(ctx)
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
func (e *exam) connected(fits func(*queue.Computer) bool) (n int) {
	for i := range e.computers {
		if c := &e.computers[i]; ours(c) && c.Online && fits(c) {
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
	case slices.ContainsFunc(e.computers, func(c queue.Computer) bool { return slices.Contains(c.Labels, label) }):
		e.ok(checkHook, "installed: the built-in node has its label %s", label)
	default:
		e.finding(checkHook, "copy deploy/jenkins/init.groovy.d/bellboard-hook.groovy into $JENKINS_HOME/init.groovy.d and restart Jenkins. "+
			"Until then a second build may reach an ephemeral agent, and Bellboard itself has to lift its marks before a safe restart",
			"not installed, older than this Bellboard, or for another instance: no node has its label %s", label)
	}
}
