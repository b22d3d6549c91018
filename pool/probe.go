package pool

import (
	"context"
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Rehearsal is the API server's answer to the dry run of one of an agent's objects.
type Rehearsal struct {
	Object string // pod, Secret or volume claim
	Err    error  // nil: the API server would accept the object
	// Beside names the plain containers that admission would add beside the agent. Plain containers run on
	// when the agent has ended. Sidecars among the init containers end with the agent.
	Beside []string
}

// Rehearse asks the API server, by dry run, whether it would accept all objects of an agent. Admission takes
// part in a dry run, and nothing is created.
func Rehearse(ctx context.Context, client kubernetes.Interface, s Spec, name string) ([]Rehearsal, error) {
	if s = s.withDefaults(); len(s.check(s.Instance)) > 0 {
		return nil, errors.Join(s.check(s.Instance)...)
	}
	s.Slot = name
	dry := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	sent := Build(s, name)
	got, err := client.CoreV1().Pods(s.Namespace).Create(ctx, sent, dry)
	out := []Rehearsal{{Object: "pod", Err: err}}
	if err == nil {
		for _, c := range got.Spec.Containers {
			same := func(own corev1.Container) bool { return own.Name == c.Name }
			if !slices.ContainsFunc(sent.Spec.Containers, same) {
				out[0].Beside = append(out[0].Beside, c.Name)
			}
		}
	}
	if s.Keyed() {
		_, err = client.CoreV1().Secrets(s.Namespace).Create(ctx, agentSecret(&s, name, "made up"), dry)
		out = append(out, Rehearsal{Object: "Secret", Err: err})
	}
	if s.HasClaim() {
		_, err = client.CoreV1().PersistentVolumeClaims(s.Namespace).Create(ctx, BuildClaim(s, name), dry)
		out = append(out, Rehearsal{Object: "volume claim", Err: err})
	}
	return out, nil
}
