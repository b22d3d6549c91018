package pool

import (
	"context"
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Rehearsal is what the API server would say to one of an agent's objects.
type Rehearsal struct {
	Object string // pod, Secret or volume claim
	Err    error  // nil: it would take it
	// Beside are the plain containers that admission would put beside the agent: unlike
	// sidecars among the init containers they run on when the agent has ended.
	Beside []string
}

// Rehearse asks the API server, by dry run, whether it would take all that an
// agent of the spec is made of. Admission is asked too; nothing is made.
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
		out[0].Beside = beside(sent, got)
	}
	if s.Keyed() {
		_, err = client.CoreV1().Secrets(s.Namespace).Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.Namespace, Labels: s.labels()},
			Type:       corev1.SecretTypeOpaque,
			Immutable:  new(true),
			Data:       map[string][]byte{inboundSecretKey: []byte("made up")},
		}, dry)
		out = append(out, Rehearsal{Object: "Secret", Err: err})
	}
	if s.HasClaim() {
		_, err = client.CoreV1().PersistentVolumeClaims(s.Namespace).Create(ctx, BuildClaim(s, name), dry)
		out = append(out, Rehearsal{Object: "volume claim", Err: err})
	}
	return out, nil
}

// beside are the plain containers of a pod that were not asked for.
func beside(sent, got *corev1.Pod) (names []string) {
	for i := range got.Spec.Containers {
		name := got.Spec.Containers[i].Name
		if !slices.ContainsFunc(sent.Spec.Containers, func(c corev1.Container) bool { return c.Name == name }) {
			names = append(names, name)
		}
	}
	return names
}
