package doctor

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"bellboard/pool"
)

const checkInstance = "instance"

// others looks for agents of this instance that have no pod here: then another
// Bellboard of the same name works on the same Jenkins, and each takes the other's
// agents for intruders. There is a row only where some are found.
func (e *exam) others(ctx context.Context, client kubernetes.Interface, specs []pool.Spec) {
	found := e.podless(ctx, client, specs)
	if len(found) == 0 {
		return
	}
	cs, err := e.again(ctx) // a node may outlive its pod for a moment
	if err != nil {
		return
	}
	e.computers = cs
	if found = e.podless(ctx, client, specs); len(found) > 0 {
		e.finding(checkInstance, "give each Bellboard a BELLBOARD_INSTANCE of its own, unless a namespace is meant that no setting names any more (docs/operate.md)",
			"connected to Jenkins as agents of %q, without a pod in the teams' namespaces: %s", e.Settings.Instance, few(found))
	}
}

// podless lists the instance's connected agents that have no pod; none where the pods cannot be read.
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
			return nil // the row of that namespace's pods says it
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
