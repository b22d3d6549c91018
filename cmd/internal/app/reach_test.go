package app

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// TestLeaderIsNamed checks what a person is told if the leader cannot be reached. (That it can be reached is
// for make e2e.) A namespace that the person may not read is no obstacle, if the next one has the Lease.
func TestLeaderIsNamed(t *testing.T) {
	const pod = "bellboard-6d5f8c9b7-aaaaa"
	for name, tt := range map[string]struct {
		holder string
		answer map[string]int // by the end of the path; otherwise 200
		ports  []corev1.ContainerPort
		says   string
	}{
		"no Lease":             {"", map[string]int{"/leases/bellboard-ci": 404}, nil, "no Lease bellboard-ci in namespace default or bellboard; name"},
		"no right to it":       {"", map[string]int{"/leases/bellboard-ci": 403}, nil, "you may not reach the Lease bellboard/bellboard-ci"},
		"nobody leads":         {"", map[string]int{"default/leases/bellboard-ci": 403}, nil, "nobody holds the Lease bellboard/bellboard-ci"},
		"it is on a laptop":    {"laptop_0b5e", map[string]int{"/pods/laptop": 404}, nil, "the leader is laptop_0b5e, and namespace default has no such pod"},
		"a name of no replica": {"by-hand", nil, nil, "the leader is by-hand"},
		"no right to the pod":  {pod + "_0b5e", map[string]int{"/pods/" + pod: 403}, nil, "you may not reach the pod default/" + pod},
		"two ports, no name":   {pod + "_0b5e", nil, []corev1.ContainerPort{{ContainerPort: 1}, {ContainerPort: 2}}, "names no port http"},
		"no port-forward":      {pod + "_0b5e", map[string]int{"/portforward": 403}, []corev1.ContainerPort{{ContainerPort: 8080}}, "ask for the Role of the chart's readers in default"},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				for end, code := range tt.answer {
					if strings.HasSuffix(r.URL.Path, end) {
						w.WriteHeader(code)
						_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Code: int32(code), Reason: map[int]metav1.StatusReason{403: metav1.StatusReasonForbidden, 404: metav1.StatusReasonNotFound}[code], Message: "forbidden"})
						return
					}
				}
				if strings.Contains(r.URL.Path, "/leases/") {
					_ = json.NewEncoder(w).Encode(coordinationv1.Lease{TypeMeta: metav1.TypeMeta{Kind: "Lease", APIVersion: "coordination.k8s.io/v1"}, ObjectMeta: metav1.ObjectMeta{Name: "bellboard-ci"}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &tt.holder}})
					return
				}
				_ = json.NewEncoder(w).Encode(corev1.Pod{TypeMeta: metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{Name: pod, Namespace: "default"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Ports: tt.ports}}}})
			}))
			defer s.Close()
			r, err := Leader(t.Context(), &rest.Config{Host: s.URL}, "ci", "default", "bellboard")
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, %v; want %q", r, err, tt.says)
			}
		})
	}
}
