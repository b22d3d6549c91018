package kubesim

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// TestStates has pods in the states in which kubectl shows them.
func TestStates(t *testing.T) {
	waits := func(reason string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
	}
	ends := func(code int32, reason string) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason}}
	}
	runs, on, always := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}, true, corev1.ContainerRestartPolicyAlways
	one := func(s corev1.ContainerState) []corev1.ContainerStatus {
		return []corev1.ContainerStatus{{Name: "agent", State: s, Ready: s.Running != nil, RestartCount: 2}}
	}
	for want, p := range map[string]corev1.Pod{
		"0/1 Pending 0":           {Status: corev1.PodStatus{Phase: corev1.PodPending}},
		"0/1 ContainerCreating 2": {Status: corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: one(waits("ContainerCreating"))}},
		"0/1 ImagePullBackOff 2":  {Status: corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: one(waits("ImagePullBackOff"))}},
		"1/1 Running 2":           {Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: one(runs)}},
		"0/1 OOMKilled 2":         {Status: corev1.PodStatus{Phase: corev1.PodFailed, ContainerStatuses: one(ends(137, "OOMKilled"))}},
		"0/1 ExitCode:3 2":        {Status: corev1.PodStatus{Phase: corev1.PodFailed, ContainerStatuses: one(ends(3, ""))}},
		"0/1 Evicted 0":           {Status: corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted"}},
		"1/1 Terminating 2":       {ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &metav1.Time{}}, Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: one(runs)}},
		"0/2 Init:1/2 2":          {Status: corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{{State: ends(0, "Completed")}, {Name: "dind", State: waits("PodInitializing")}}, ContainerStatuses: one(waits("PodInitializing"))}},
		"0/2 Init:ErrImagePull 2": {Status: corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{{State: ends(0, "Completed")}, {Name: "dind", State: waits("ErrImagePull")}}, ContainerStatuses: one(waits("PodInitializing"))}},
		"1/2 PodInitializing 2":   {Status: corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{{State: ends(0, "Completed")}, {Name: "dind", State: runs, Started: &on, Ready: true}}, ContainerStatuses: one(waits("PodInitializing"))}},
		"0/2 Init:CrashLoop 2":    {Status: corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{{State: waits("CrashLoop")}}, ContainerStatuses: one(waits("PodInitializing"))}},
		"0/2 Init:Error 2":        {Status: corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{{State: ends(1, "Error")}}, ContainerStatuses: one(waits("PodInitializing"))}},
	} {
		p.Spec.Containers = []corev1.Container{{Name: "agent"}}
		if len(p.Status.InitContainerStatuses) > 0 {
			p.Spec.InitContainers = []corev1.Container{{Name: "docker-cli"}, {Name: "dind", RestartPolicy: &always}}
		}
		if s := stateOf(&p); fmt.Sprintf("%d/%d %s %d", s.ready, s.containers, s.words, s.restarts) != want {
			t.Errorf("a pod that is %s is shown as %+v", want, s)
		}
	}
}

// TestTables asks for tables as kubectl does: of a list, of one object, and of a watch.
func TestTables(t *testing.T) {
	served(t, Config{}, func(t *testing.T, _ *Cluster, k kubernetes.Interface) {
		create(t, k, agent("a"))
		ask := func(path, accept string) *http.Response {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, k.CoreV1().RESTClient().Get().AbsPath(path).URL().String(), nil)
			if err != nil {
				t.Fatal(err)
			}
			q := req.URL.Query()
			if strings.HasSuffix(path, "/pods") && accept == "watch" {
				q.Set("watch", "true")
			}
			if accept == "whole" {
				q.Set("includeObject", "Object")
			}
			req.URL.RawQuery = q.Encode()
			req.Header.Set("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = resp.Body.Close() })
			return resp
		}
		for path, want := range map[string]string{
			"/api/v1/namespaces/" + ns + "/pods":   "a",
			"/api/v1/namespaces/" + ns + "/pods/a": "a",
			"/api/v1/configmaps":                   "",
		} {
			for _, how := range []string{"", "whole"} {
				var got metav1.Table
				if err := json.NewDecoder(ask(path, how).Body).Decode(&got); err != nil || got.Kind != "Table" || len(got.ColumnDefinitions) < 2 {
					t.Fatalf("%s: %v %+v", path, err, got)
				}
				if want == "" {
					continue
				}
				var of corev1.Pod
				if err := json.Unmarshal(got.Rows[0].Object.Raw, &of); err != nil || len(got.Rows) != 1 || got.Rows[0].Cells[0] != want || got.Rows[0].Cells[4] == "" || of.Name != want || of.Labels["x"] != "" {
					t.Errorf("%s: %v %+v of %+v", path, err, got.Rows, of)
				}
				if whole := len(of.Spec.Containers) > 0; whole != (how == "whole") || of.Kind != map[bool]string{true: "Pod", false: "PartialObjectMetadata"}[whole] {
					t.Errorf("%s %s: the row has %s with the spec: %v", path, how, of.Kind, whole)
				}
			}
		}
		var event struct {
			Type   string
			Object metav1.Table
		}
		stream := json.NewDecoder(ask("/api/v1/namespaces/"+ns+"/pods", "watch").Body)
		if err := stream.Decode(&event); err != nil || event.Type != "ADDED" || event.Object.Rows[0].Cells[0] != "a" {
			t.Errorf("the watch begins with %+v, %v", event, err)
		}
		create(t, k, agent("b"))
		for end := time.Now().Add(10 * time.Second); event.Object.Rows[0].Cells[0] != "b" && time.Now().Before(end); {
			if err := stream.Decode(&event); err != nil {
				t.Fatal(err)
			}
		}
		if event.Type != "ADDED" && event.Type != "MODIFIED" || event.Object.Rows[0].Cells[0] != "b" {
			t.Errorf("the watch goes on with %+v", event)
		}
	})
}

// TestAuthors: who deletes with kubectl is not taken for Bellboard.
func TestAuthors(t *testing.T) {
	instant := func(*rand.Rand, *corev1.Pod) time.Duration { return 0 }
	served(t, Config{Schedule: instant, Pull: instant, Start: instant}, func(t *testing.T, c *Cluster, k kubernetes.Interface) {
		j := &journal{}
		c.SetKubelet(j)
		for name, agent := range map[string]string{"a": "kubectl/v1.36.3 (linux/amd64) kubernetes/0123456", "b": "bellboard", "c": "curl/8.1"} {
			p := create(t, k, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "agent", Image: "x"}}}})
			for end := time.Now().Add(10 * time.Second); !running(c, name)() && time.Now().Before(end); {
				time.Sleep(10 * time.Millisecond)
			}
			err := k.CoreV1().RESTClient().Delete().Namespace(ns).Resource("pods").Name(p.Name).
				SetHeader("User-Agent", agent).Body(&metav1.DeleteOptions{GracePeriodSeconds: new(int64)}).Do(t.Context()).Error()
			if err != nil {
				t.Fatal(err)
			}
		}
		c.Close() // when the calls of the Kubelet are over
		for _, want := range []string{"terminate a by kubectl", "terminate b by bellboard", "terminate c by curl"} {
			if !slices.Contains(j.all(), want) {
				t.Errorf("the Kubelet was not told %q, but %q", want, j.all())
			}
		}
	})
}
