package pool

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Rehearsal is what the API server would say to one of an agent's objects.
type Rehearsal struct {
	Object string // pod, Secret or volume claim
	Err    error  // nil: it would take it
}

// Rehearse asks the API server, by dry run, whether it would take all that an
// agent of the spec is made of. Admission is asked too; nothing is made.
func Rehearse(ctx context.Context, client kubernetes.Interface, s Spec, name string) ([]Rehearsal, error) {
	if s = s.withDefaults(); len(s.check(s.Instance)) > 0 {
		return nil, errors.Join(s.check(s.Instance)...)
	}
	s.Slot = name
	dry := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	_, err := client.CoreV1().Pods(s.Namespace).Create(ctx, Build(s, name), dry)
	out := []Rehearsal{{"pod", err}}
	if s.Keyed() {
		_, err = client.CoreV1().Secrets(s.Namespace).Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.Namespace, Labels: s.labels()},
			Type:       corev1.SecretTypeOpaque,
			Immutable:  new(true),
			Data:       map[string][]byte{inboundSecretKey: []byte("made up")},
		}, dry)
		out = append(out, Rehearsal{"Secret", err})
	}
	if s.HasClaim() {
		_, err = client.CoreV1().PersistentVolumeClaims(s.Namespace).Create(ctx, BuildClaim(s, name), dry)
		out = append(out, Rehearsal{"volume claim", err})
	}
	return out, nil
}
