package doctor

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"bellboard/cmd/internal/config"
	"bellboard/pool"
	"bellboard/queue"
	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// ours reports whether the Jenkins node is an agent or a berth of the instance.
func ours(c *queue.Computer) bool { return c.Mine() && !c.Fence }

func builtIn(c *queue.Computer) bool { return c.Name == "built-in" || c.Name == "master" }

func swarm(c *queue.Computer) bool { return strings.HasPrefix(c.Description, "Swarm agent from ") }

// again reads all computers once more after secondLook.
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

// connected counts the connected agents of the instance that fit.
func (e *exam) connected(fits func(*queue.Computer) bool) (n int) {
	for i := range e.computers {
		if c := &e.computers[i]; ours(c) && c.Online && fits(c) {
			n++
		}
	}
	return n
}

// hook looks for the label that the one-build hook gives the built-in node.
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
			"Until then a second build may reach an ephemeral agent, and Bellboard itself has to clear its marks before a safe restart",
			"the hook is not installed, is older than this Bellboard, or is for another instance: no Jenkins node has its label %s", label)
	}
}

const checkInstance = "instance"

// others looks for connected agents of this instance without a pod here. If there are any, another Bellboard
// of the same name uses the same Jenkins, and each takes the other's agents for intruders. Without any there
// is no row.
func (e *exam) others(ctx context.Context, client kubernetes.Interface, specs []pool.Spec) {
	found := e.podless(ctx, client, specs)
	if len(found) == 0 {
		return
	}
	cs, err := e.again(ctx) // a Jenkins node may stay for a moment after its pod
	if err != nil {
		return
	}
	e.computers = cs
	if found = e.podless(ctx, client, specs); len(found) > 0 {
		e.finding(checkInstance, "give each Bellboard its own BELLBOARD_INSTANCE, unless the pods are in a namespace that no setting names any more (docs/operate.md)",
			"connected to Jenkins as agents of %q, without a pod in the teams' namespaces: %s", e.Settings.Instance, few(found))
	}
}

// podless lists the instance's connected agents without a pod; none if the pods cannot be read.
func (e *exam) podless(ctx context.Context, client kubernetes.Interface, specs []pool.Spec) (names []string) {
	pods := map[string]bool{}
	read := map[string]bool{}
	for i := range specs {
		ns := specs[i].Namespace
		if read[ns] {
			continue
		}
		read[ns] = true
		list, err := client.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: pool.LabelInstance + "=" + e.Settings.Instance})
		if err != nil {
			return nil // the check of that namespace's pods says so
		}
		for j := range list.Items {
			pods[list.Items[j].Name] = true
		}
	}
	for i := range e.computers {
		if c := &e.computers[i]; ours(c) && c.Online && !pods[c.Name] {
			names = append(names, c.Name)
		}
	}
	return names
}
