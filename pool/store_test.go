package pool

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bellboard/pool/kubesim"
	"bellboard/scaler"
)

// TestStore: what one process saves, the next one reads. Of two that write, the second has to read first.
func TestStore(t *testing.T) {
	bubble(t, func(h *house) {
		ctx := h.t.Context()
		a, b := NewStore(h.client, "bellboard", "ci"), NewStore(h.client, "bellboard", "ci")
		load := func(s *Store, want string) {
			t.Helper()
			if got, err := s.Load(ctx); err != nil || string(got) != want {
				t.Errorf("Load() = %q, %v, want %q", got, err, want)
			}
		}
		save := func(s *Store, data string, want error) {
			t.Helper()
			if err := s.Save(ctx, []byte(data)); !errors.Is(err, want) {
				t.Errorf("Save(%s) = %v, want %v", data, err, want)
			}
		}
		load(a, "")
		load(b, "")
		save(a, "one", nil)
		save(a, "two", nil)
		save(b, "three", scaler.ErrChanged) // the ConfigMap exists by now
		load(b, "two")
		save(b, "three", nil)
		save(a, "four", scaler.ErrChanged)
		load(a, "three")

		maps := h.client.CoreV1().ConfigMaps("bellboard")
		m, err := maps.Get(ctx, "bellboard-learnt-ci", metav1.GetOptions{})
		if err != nil || m.Labels[LabelInstance] != "ci" || m.Labels[labelManagedBy] != "bellboard" {
			t.Errorf("the ConfigMap is %+v, %v", m, err)
		}
		if err := maps.Delete(ctx, "bellboard-learnt-ci", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		save(a, "four", scaler.ErrChanged) // a person has deleted it
		load(a, "")
		save(a, "four", nil)
		save(b, "five", scaler.ErrChanged) // it is another ConfigMap of that name
		for range 2 {
			if err := a.Delete(ctx); err != nil {
				t.Errorf("Delete() = %v", err)
			}
		}
		load(b, "")

		if err := b.Save(ctx, bytes.Repeat([]byte{1}, 900<<10)); err != nil {
			t.Errorf("900 KiB: %v", err)
		}
	})
}

// TestNotOurStore: a ConfigMap without the instance's label is not changed.
func TestNotOurStore(t *testing.T) {
	bubble(t, func(h *house) {
		ctx, maps := h.t.Context(), h.client.CoreV1().ConfigMaps("bellboard")
		theirs := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "bellboard-learnt-ci"}, Data: map[string]string{"a": "b"}}
		if _, err := maps.Create(ctx, theirs, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		s := NewStore(h.client, "bellboard", "ci")
		if _, err := s.Load(ctx); err == nil || !strings.Contains(err.Error(), "lacks the label bellboard.dev/instance=ci") {
			t.Errorf("Load() = %v", err)
		}
		if err := s.Save(ctx, []byte("x")); !errors.Is(err, scaler.ErrChanged) {
			t.Errorf("Save() = %v, want %v", err, scaler.ErrChanged)
		}
		if err := s.Delete(ctx); err == nil {
			t.Error("Delete() deletes what is not Bellboard's")
		}
		if m, err := maps.Get(ctx, theirs.Name, metav1.GetOptions{}); err != nil || m.Data["a"] != "b" || len(m.BinaryData) > 0 {
			t.Errorf("it is %+v, %v", m, err)
		}
	})
}

// TestStoreWithoutTheRight: each error names the verb that is missing.
func TestStoreWithoutTheRight(t *testing.T) {
	bubble(t, func(h *house) {
		ctx, s := h.t.Context(), NewStore(h.client, "bellboard", "ci")
		denied := ""
		h.cluster.Refuse(func(_ *http.Request, verb, resource string) *metav1.Status {
			if resource != "configmaps" || verb != denied {
				return nil
			}
			return kubesim.NoPermission("bellboard", verb, resource, "bellboard", "")
		})
		for _, tt := range []struct {
			verb string
			do   func() error
		}{
			{"get", func() error { _, err := s.Load(ctx); return err }},
			{"create", func() error { return s.Save(ctx, []byte("1")) }},
			{"update", func() error { return s.Save(ctx, []byte("2")) }},
			{"delete", func() error { return s.Delete(ctx) }},
		} {
			denied = tt.verb
			if err := tt.do(); err == nil || !strings.Contains(err.Error(), "Role in bellboard the verb "+tt.verb+" on configmaps") {
				t.Errorf("without %s: %v", tt.verb, err)
			}
			denied = ""
			if err := tt.do(); err != nil {
				t.Errorf("with %s: %v", tt.verb, err)
			}
		}
	})
}
