package kubesim

import (
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// served runs a test over a real socket.
func served(t *testing.T, cfg Config, f func(t *testing.T, c *Cluster, k kubernetes.Interface)) {
	t.Helper()
	c := New(cfg)
	s := httptest.NewServer(c)
	defer s.Close()
	defer c.Close()
	rc := &rest.Config{Host: s.URL, BearerToken: cfg.Token, QPS: -1}
	h, err := rest.HTTPClientFor(rc)
	if err != nil {
		t.Fatal(err)
	}
	defer h.CloseIdleConnections()
	k, err := kubernetes.NewForConfigAndClient(rc, h)
	if err != nil {
		t.Fatal(err)
	}
	f(t, c, k)
}

func TestCreate(t *testing.T) {
	served(t, Config{Token: "x"}, func(t *testing.T, c *Cluster, k kubernetes.Interface) {
		p := create(t, k, agent("a"))
		if p.UID == "" || p.ResourceVersion == "" || p.Namespace != ns || time.Since(p.CreationTimestamp.Time) > time.Minute {
			t.Errorf("created %+v", p.ObjectMeta)
		}
		if p.Spec.TerminationGracePeriodSeconds == nil || *p.Spec.TerminationGracePeriodSeconds != 30 || p.Status.QOSClass != corev1.PodQOSBestEffort {
			t.Errorf("defaults are missing: %+v", p.Spec)
		}
		_, err := k.CoreV1().Pods(ns).Create(ctx, agent("a"), metav1.CreateOptions{})
		if !apierrors.IsAlreadyExists(err) || err.Error() != `pods "a" already exists` {
			t.Errorf("again: %v", err)
		}
		bad := map[string]func(*corev1.Pod){
			"metadata.name: Invalid value":       func(p *corev1.Pod) { p.Name = "Bad_Name" },
			"metadata.labels: Invalid value":     func(p *corev1.Pod) { p.Labels["x"] = "not a label" },
			"spec.containers: Required value":    func(p *corev1.Pod) { p.Spec.Containers = nil },
			"spec.containers[0].image: Required": func(p *corev1.Pod) { p.Spec.Containers[0].Image = "" },
			"volumeMounts[0].name: Not found": func(p *corev1.Pod) {
				p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}
			},
			"spec.restartPolicy: Unsupported value": func(p *corev1.Pod) { p.Spec.RestartPolicy = "Sometimes" },
		}
		for want, spoil := range bad {
			p := agent("bad")
			spoil(p)
			_, err := k.CoreV1().Pods(ns).Create(ctx, p, metav1.CreateOptions{})
			if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), want) {
				t.Errorf("want %q, got %v", want, err)
			}
		}
		// A dry run leaves nothing.
		if _, err := k.CoreV1().Pods(ns).Create(ctx, agent("dry"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
			t.Error(err)
		}
		if got := c.Created()["pods"]; got != 1 || len(c.Pods()) != 1 {
			t.Errorf("%d pods created, %d there", got, len(c.Pods()))
		}
		if n := c.Stats().Requests["create pods"]; n != 9 {
			t.Errorf("%d creates counted", n)
		}
	})
}

func TestUnauthorized(t *testing.T) {
	served(t, Config{}, func(t *testing.T, c *Cluster, k kubernetes.Interface) {
		c.cfg.Token = "other"
		_, err := k.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{})
		if !apierrors.IsUnauthorized(err) {
			t.Errorf("got %v", err)
		}
	})
}

func TestDeletePreconditions(t *testing.T) {
	served(t, Config{}, func(t *testing.T, c *Cluster, k kubernetes.Interface) {
		p := create(t, k, agent("a"))
		del := func(pre metav1.Preconditions) error {
			return k.CoreV1().Pods(ns).Delete(ctx, "a", metav1.DeleteOptions{Preconditions: &pre, GracePeriodSeconds: new(int64(0))})
		}
		if err := del(metav1.Preconditions{UID: new(types.UID("other"))}); !apierrors.IsConflict(err) {
			t.Errorf("wrong UID: %v", err)
		}
		if err := del(metav1.Preconditions{UID: &p.UID, ResourceVersion: new("1")}); !apierrors.IsConflict(err) {
			t.Errorf("wrong version: %v", err)
		}
		c.Disrupt(ns, "a") // any change makes the version old
		if err := del(metav1.Preconditions{UID: &p.UID, ResourceVersion: &p.ResourceVersion}); !apierrors.IsConflict(err) {
			t.Errorf("old version: %v", err)
		}
		now := must(t, k, "a")
		if err := del(metav1.Preconditions{UID: &p.UID, ResourceVersion: &now.ResourceVersion}); err != nil {
			t.Error(err)
		}
		if err := del(metav1.Preconditions{UID: &p.UID}); !apierrors.IsNotFound(err) {
			t.Errorf("gone: %v", err)
		}
	})
}

func TestUpdateAndPatch(t *testing.T) {
	long := func() Config { return Config{Schedule: forever} }
	served(t, long(), func(t *testing.T, c *Cluster, k kubernetes.Interface) {
		api := k.CoreV1().Pods(ns)
		p := create(t, k, agent("a"))
		old := p.DeepCopy()
		p.Annotations = map[string]string{"x": "1"}
		p, err := api.Update(ctx, p, metav1.UpdateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := api.Update(ctx, old, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
			t.Errorf("old version: %v", err)
		}
		same, err := api.Update(ctx, p, metav1.UpdateOptions{})
		if err != nil || same.ResourceVersion != p.ResourceVersion {
			t.Errorf("an update of nothing made %s of %s, %v", same.ResourceVersion, p.ResourceVersion, err)
		}
		p.Spec.Containers[0].Command = []string{"other"}
		if _, err := api.Update(ctx, p, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) {
			t.Errorf("a changed spec: %v", err)
		}

		patch := func(how types.PatchType, body string, sub ...string) (*corev1.Pod, error) {
			return api.Patch(ctx, "a", how, []byte(body), metav1.PatchOptions{}, sub...)
		}
		p, err = patch(types.MergePatchType, `{"metadata":{"annotations":{"x":null,"y":"2"}}}`)
		if err != nil || len(p.Annotations) != 1 || p.Annotations["y"] != "2" {
			t.Errorf("merge gave %v, %v", p.Annotations, err)
		}
		p, err = patch(types.StrategicMergePatchType, `{"metadata":{"finalizers":["a.example/b"],"labels":{"z":"3"}}}`)
		if err != nil || p.Labels["z"] != "3" || p.Labels["team"] != "a" || len(p.Finalizers) != 1 {
			t.Errorf("strategic merge gave %v, %v", p.ObjectMeta, err)
		}
		p, err = patch(types.JSONPatchType, `[{"op":"test","path":"/metadata/labels/z","value":"3"},{"op":"remove","path":"/metadata/labels/z"}]`)
		if err != nil || len(p.Labels) != 1 {
			t.Errorf("JSON patch gave %v, %v", p.Labels, err)
		}
		if _, err = patch(types.JSONPatchType, `[{"op":"test","path":"/metadata/labels/team","value":"b"}]`); !apierrors.IsInvalid(err) {
			t.Errorf("a failed test says %v", err)
		}
		if _, err = patch(types.MergePatchType, fmt.Sprintf(`{"metadata":{"resourceVersion":%q,"labels":{"q":"1"}}}`, old.ResourceVersion)); !apierrors.IsConflict(err) {
			t.Errorf("an old version: %v", err)
		}
		if _, err = patch(types.MergePatchType, `{"metadata":{"uid":"other"}}`); !apierrors.IsInvalid(err) {
			t.Errorf("another's UID: %v", err)
		}
		if _, err = patch(types.ApplyYAMLPatchType, `{}`); !apierrors.IsUnsupportedMediaType(err) {
			t.Errorf("apply: %v", err)
		}
		if _, err = patch(types.MergePatchType, `{"status":{"phase":"Running"}}`); err != nil || c.Pod(ns, "a").Status.Phase != corev1.PodPending {
			t.Errorf("the status was changed beside its subresource, %v", err)
		}
		if p, err = patch(types.MergePatchType, `{"status":{"message":"m"},"spec":{"nodeName":"n"}}`, "status"); err != nil || p.Status.Message != "m" || p.Spec.NodeName != "" {
			t.Errorf("the status became %+v, %v", p.Status, err)
		}
		if _, err := api.Patch(ctx, "none", types.MergePatchType, []byte(`{}`), metav1.PatchOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("patch of nothing: %v", err)
		}

		// A finalizer holds a deleted object until it is taken off.
		if err := api.Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if p := c.Pod(ns, "a"); p == nil || p.DeletionTimestamp == nil {
			t.Fatal("not held by its finalizer")
		}
		if _, err := patch(types.MergePatchType, `{"metadata":{"finalizers":null}}`); err != nil || c.Pod(ns, "a") != nil {
			t.Errorf("the last finalizer's end left it there, %v", err)
		}
	})
}

func TestSelectorsAndPages(t *testing.T) {
	served(t, Config{Schedule: forever}, func(t *testing.T, _ *Cluster, k kubernetes.Interface) {
		for i := range 5 {
			p := agent(fmt.Sprintf("p%d", i))
			p.Labels["n"] = fmt.Sprint(i)
			create(t, k, p)
		}
		list := func(o metav1.ListOptions) []string {
			t.Helper()
			l, err := k.CoreV1().Pods(ns).List(ctx, o)
			if err != nil {
				t.Fatal(err)
			}
			var out []string
			for _, p := range l.Items {
				out = append(out, p.Name)
			}
			if l.Continue != "" {
				out = append(out, "...")
			}
			return out
		}
		for want, o := range map[string]metav1.ListOptions{
			"[p1 p3]":             {LabelSelector: "team=a,n in (1,3)"},
			"[p0 p1 p2 p3]":       {LabelSelector: "n!=4"},
			"[p2]":                {FieldSelector: "metadata.name=p2"},
			"[p0 p1 ...]":         {Limit: 2},
			"[p0 p1 p2 p3 p4]":    {FieldSelector: "status.phase=Pending"},
			"[]":                  {FieldSelector: "spec.nodeName=node-1"},
			"[p0 p1 p2 p3 p4 ]":   {ResourceVersion: "0"},
			"[p0 p1 p2 p3 p4  ]":  {ResourceVersion: "1003", ResourceVersionMatch: "NotOlderThan"},
			"[p0 p1 p2 p3 p4   ]": {LabelSelector: "!nothing"},
		} {
			if got := fmt.Sprint(list(o)); got != strings.Join(strings.Fields(strings.TrimSuffix(want, "]")), " ")+"]" {
				t.Errorf("%+v gave %v", o, got)
			}
		}
		page, err := k.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{Limit: 3})
		if err != nil {
			t.Fatal(err)
		}
		rest, err := k.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{Limit: 3, Continue: page.Continue})
		if err != nil || len(rest.Items) != 2 || rest.Items[0].Name != "p3" || rest.ResourceVersion != page.ResourceVersion {
			t.Errorf("second page: %v, %v", rest, err)
		}
		if _, err := k.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{FieldSelector: "spec.nonsense=1"}); !apierrors.IsBadRequest(err) {
			t.Errorf("an unknown field: %v", err)
		}
		if l, err := k.CoreV1().Pods("").List(ctx, metav1.ListOptions{}); err != nil || len(l.Items) != 5 {
			t.Errorf("of all namespaces: %v", err)
		}
	})
}

func TestLeasesAndEvents(t *testing.T) {
	served(t, Config{}, func(t *testing.T, c *Cluster, k kubernetes.Interface) {
		api := k.CoordinationV1().Leases(ns)
		l, err := api.Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "l"}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		l.Spec.HolderIdentity = new("me")
		now := metav1.NowMicro()
		l.Spec.RenewTime = &now
		if l, err = api.Update(ctx, l, metav1.UpdateOptions{}); err != nil || *l.Spec.HolderIdentity != "me" || !l.Spec.RenewTime.Equal(&metav1.MicroTime{Time: now.Truncate(time.Microsecond)}) {
			t.Errorf("lease is %+v, %v", l, err)
		}
		l.ResourceVersion = ""
		if _, err = api.Update(ctx, l, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) {
			t.Errorf("an update without a version: %v", err)
		}
		_, err = k.EventsV1().Events(ns).Create(ctx, &eventsv1.Event{ObjectMeta: metav1.ObjectMeta{Name: "e"}, Reason: "R", EventTime: now}, metav1.CreateOptions{})
		if err != nil {
			t.Error(err)
		}
		for i := range coreEvents.keep + 10 {
			if _, err = k.CoreV1().Events(ns).Create(ctx, &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("e", i)}}, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if got := len(c.table(coreEvents).items); got != coreEvents.keep {
			t.Errorf("%d events kept", got)
		}
		v, err := k.Discovery().ServerVersion()
		if err != nil || v.Minor != "36" {
			t.Errorf("version %v, %v", v, err)
		}
		if _, err := k.CoreV1().ConfigMaps(ns).Get(ctx, "x", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("what is not held here: %v", err)
		}
	})
}

func TestSecretIsDeletedWithAStatus(t *testing.T) {
	served(t, Config{}, func(t *testing.T, _ *Cluster, k kubernetes.Interface) {
		s, err := k.CoreV1().Secrets(ns).Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, StringData: map[string]string{"a": "b"}}, metav1.CreateOptions{})
		if err != nil || string(s.Data["a"]) != "b" || s.StringData != nil || s.Type != corev1.SecretTypeOpaque {
			t.Fatalf("secret is %v, %v", s, err)
		}
		var st metav1.Status
		err = k.CoreV1().RESTClient().Delete().Namespace(ns).Resource("secrets").Name("s").Do(ctx).Into(&st)
		if err != nil || st.Status != metav1.StatusSuccess || st.Details.UID != s.UID {
			t.Errorf("answered %+v, %v", st, err)
		}
	})
}

func TestLog(t *testing.T) {
	bubble(t, Config{Log: func(*corev1.Pod, string) string { return "1\n2\n3\n" }}, func(t *testing.T, c *Cluster, k kubernetes.Interface) {
		create(t, k, agent("a"))
		log := func() (string, error) {
			s, err := k.CoreV1().Pods(ns).GetLogs("a", &corev1.PodLogOptions{Container: "agent"}).Stream(ctx)
			if err != nil {
				return "", err
			}
			defer func() { _ = s.Close() }()
			b, err := io.ReadAll(s)
			return string(b), err
		}
		if _, err := log(); !apierrors.IsBadRequest(err) {
			t.Errorf("before the start: %v", err)
		}
		until(t, 20*time.Second, running(c, "a"))
		if got, err := log(); err != nil || got != "1\n2\n3\n" {
			t.Errorf("the log says %q, %v", got, err)
		}
	})
}
