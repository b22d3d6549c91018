package pool

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"bellboard/scaler"
)

// Store keeps what Bellboard has learnt, in one ConfigMap in Bellboard's own namespace. Store writes only
// over the version that it has read or written last.
type Store struct {
	client typedcorev1.ConfigMapInterface
	meta   metav1.ObjectMeta // with the version that was read or written last; "": there is no ConfigMap
}

// StoreName returns the name of an instance's ConfigMap.
func StoreName(instance string) string { return "bellboard-learnt-" + instance }

// storeKey is where the ConfigMap has the bytes.
const storeKey = "learnt.json.gz"

// NewStore makes a store, and sends no request.
func NewStore(client kubernetes.Interface, namespace, instance string) *Store {
	return &Store{client: client.CoreV1().ConfigMaps(namespace), meta: metav1.ObjectMeta{
		Name: StoreName(instance), Namespace: namespace,
		Labels: map[string]string{labelName: "bellboard", labelManagedBy: "bellboard", LabelInstance: instance},
	}}
}

// Load returns what was saved last, or nil if there is no ConfigMap.
func (s *Store) Load(ctx context.Context) ([]byte, error) {
	s.meta.UID, s.meta.ResourceVersion = "", ""
	got, err := s.client.Get(ctx, s.meta.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, s.wrap("read", "get", err)
	case got.Labels[LabelInstance] != s.meta.Labels[LabelInstance]:
		return nil, fmt.Errorf("the ConfigMap %s/%s lacks the label %s=%s, so it is not Bellboard's: delete it, or give it that label",
			s.meta.Namespace, s.meta.Name, LabelInstance, s.meta.Labels[LabelInstance])
	}
	s.meta.UID, s.meta.ResourceVersion = got.UID, got.ResourceVersion
	return got.BinaryData[storeKey], nil
}

// Save writes data, at most 1 MiB, in the place of what Load has read or Save has written last. ErrChanged:
// the ConfigMap is another one by now, or gone. Then Load has to read it first.
func (s *Store) Save(ctx context.Context, data []byte) error {
	want := &corev1.ConfigMap{ObjectMeta: s.meta, BinaryData: map[string][]byte{storeKey: data}}
	verb, write := "create", func() (*corev1.ConfigMap, error) { return s.client.Create(ctx, want, metav1.CreateOptions{}) }
	if s.meta.ResourceVersion != "" {
		verb, write = "update", func() (*corev1.ConfigMap, error) { return s.client.Update(ctx, want, metav1.UpdateOptions{}) }
	}
	got, err := write()
	switch {
	case apierrors.IsAlreadyExists(err), apierrors.IsConflict(err), verb == "update" && apierrors.IsNotFound(err):
		return s.wrap("write", verb, fmt.Errorf("%w: %w", scaler.ErrChanged, err))
	case err != nil:
		return s.wrap("write", verb, err)
	}
	s.meta.UID, s.meta.ResourceVersion = got.UID, got.ResourceVersion
	return nil
}

// Delete reads the ConfigMap, and deletes exactly that version. If there is none, Delete does nothing.
func (s *Store) Delete(ctx context.Context) error {
	if _, err := s.Load(ctx); err != nil || s.meta.ResourceVersion == "" {
		return err
	}
	err := s.client.Delete(ctx, s.meta.Name, metav1.DeleteOptions{Preconditions: exactly(string(s.meta.UID), s.meta.ResourceVersion)})
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	return s.wrap("delete", "delete", err)
}

func (s *Store) wrap(doing, verb string, err error) error {
	if apierrors.IsForbidden(err) {
		err = fmt.Errorf("%w; give Bellboard's Role in %s the verb %s on configmaps (deploy/install.yaml)", err, s.meta.Namespace, verb)
	}
	return wrap(fmt.Sprintf("%s the ConfigMap %s/%s", doing, s.meta.Namespace, s.meta.Name), err)
}
