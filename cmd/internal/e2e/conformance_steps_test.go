package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
)

// after returns zero for the pods that match, and a duration without an end for the others.
func after(match func(*corev1.Pod) bool) func(*rand.Rand, *corev1.Pod) time.Duration {
	return func(_ *rand.Rand, p *corev1.Pod) time.Duration {
		if match(p) {
			return 0
		}
		return 1000 * time.Hour
	}
}

func one(s string) []string { return []string{s} }

// try creates a pod that the API server may reject.
func (w *world) try(p *corev1.Pod) error {
	_, err := w.k.CoreV1().Pods(w.ns).Create(w.ctx(), p, metav1.CreateOptions{})
	if err == nil {
		w.clear(p.Name)
	}
	return err
}

var createSteps = []step{
	{"a created pod has what was left out", func(w *world) []string {
		p := w.create(pod("a"))
		return []string{
			fmt.Sprint(p.UID != "", p.ResourceVersion != "", time.Since(p.CreationTimestamp.Time) < time.Minute),
			fmt.Sprint(p.Namespace == w.ns, " ", p.Generation, " ", p.Status.Phase, " ", p.Status.QOSClass, " ", p.Spec.DNSPolicy),
			fmt.Sprint(*p.Spec.TerminationGracePeriodSeconds, " ", *p.Spec.EnableServiceLinks, " ", p.Spec.NodeName == "", " ", p.Spec.Containers[0].ImagePullPolicy),
			fmt.Sprint(p.Spec.SecurityContext != nil, " ", p.Spec.Containers[0].TerminationMessagePolicy, " ", p.DeletionTimestamp == nil),
		}
	}, []string{"true true true", "true 1 Pending BestEffort ClusterFirst", "60 true true IfNotPresent", "true File true"}},
	{"a second pod of a name", func(w *world) []string {
		w.create(pod("a"))
		return one(answer(w.try(pod("a"))))
	}, one("409 AlreadyExists pods/a")},
	{"a pod being deleted still has its name", func(w *world) []string {
		w.placed("a")
		err := w.k.CoreV1().Pods(w.ns).Delete(w.ctx(), "a", metav1.DeleteOptions{})
		return []string{answer(err), gist(w.try(pod("a")), "object is being deleted")}
	}, []string{"ok", "409 AlreadyExists pods/a: object is being deleted"}},
	{"a pod with a version", func(w *world) []string {
		p := pod("a")
		p.ResourceVersion = "1"
		return one(gist(w.try(p), "resourceVersion should not be set"))
	}, one("500 : resourceVersion should not be set")},
	{"a pod of another namespace", func(w *world) []string {
		p := pod("a")
		p.Namespace = "other"
		var got corev1.Pod
		err := w.k.CoreV1().RESTClient().Post().Namespace(w.ns).Resource("pods").Body(p).Do(w.ctx()).Into(&got)
		return one(answer(err))
	}, one("400 BadRequest")},
	{"names that cannot be", func(w *world) []string {
		var out []string
		for _, name := range []string{"Bad_Name", strings.Repeat("a", 254), ""} {
			a := answer(w.try(pod(name)))
			out = append(out, strings.ReplaceAll(a, strings.Repeat("a", 254), "a…"))
		}
		return out
	}, []string{
		"422 Invalid Pod/Bad_Name, FieldValueInvalid metadata.name",
		"422 Invalid Pod/a…, FieldValueInvalid metadata.labels, FieldValueInvalid metadata.name",
		"422 Invalid Pod/, FieldValueRequired metadata.name",
	}},
	{"pods that cannot be", func(w *world) []string {
		var out []string
		for _, spoil := range []func(*corev1.Pod){
			func(p *corev1.Pod) { p.Labels["x"] = "not a label" },
			func(p *corev1.Pod) { p.Spec.Containers = nil },
			func(p *corev1.Pod) { p.Spec.Containers[0].Image = "" },
			func(p *corev1.Pod) {
				p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}
			},
			func(p *corev1.Pod) { p.Spec.RestartPolicy = "Sometimes" },
			func(p *corev1.Pod) {
				p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse("2")}
				p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{"cpu": resource.MustParse("1")}
			},
		} {
			p := pod("a")
			spoil(p)
			out = append(out, answer(w.try(p)))
		}
		return out
	}, []string{
		"422 Invalid Pod/a, FieldValueInvalid metadata.labels",
		"422 Invalid Pod/a, FieldValueRequired spec.containers",
		"422 Invalid Pod/a, FieldValueRequired spec.containers[0].image",
		"422 Invalid Pod/a, FieldValueNotFound spec.containers[0].volumeMounts[0].name",
		"422 Invalid Pod/a, FieldValueNotSupported spec.restartPolicy",
		"422 Invalid Pod/a, FieldValueInvalid spec.containers[0].resources.requests",
	}},
	{"a dry run leaves nothing", func(w *world) []string {
		_, err := w.k.CoreV1().Pods(w.ns).Create(w.ctx(), pod("a"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return []string{answer(err), fmt.Sprint(w.gone("a"))}
	}, []string{"ok", "true"}},
	{"a quota that is used up", func(w *world) []string {
		w.quota(w)
		refused := gist(w.try(pod("refused")), "exceeded quota")
		list, err := w.k.CoreV1().ResourceQuotas(w.ns).List(w.ctx(), metav1.ListOptions{})
		if err != nil || len(list.Items) != 1 {
			return []string{refused, fmt.Sprintf("%d quotas, %v", len(list.Items), err)}
		}
		_, used := list.Items[0].Status.Used[corev1.ResourcePods]
		hard := list.Items[0].Status.Hard[corev1.ResourcePods]
		return []string{refused, fmt.Sprintf("of %s, used told: %v", hard.String(), used)}
	}, []string{"403 Forbidden pods/refused: exceeded quota", "of 0, used told: true"}},
	{"a quota answers like any admission", func(w *world) []string {
		w.quota(w)
		err := w.try(pod("refused"))
		st, ok := err.(apierrors.APIStatus)
		if !ok {
			return one(answer(err))
		}
		d := st.Status().Details
		return []string{fmt.Sprintf("%s %s/%s group %q, %d causes", st.Status().Reason, d.Kind, d.Name, d.Group, len(d.Causes))}
	}, one(`Forbidden pods/refused group "", 0 causes`)},
	{"a standard that a pod does not meet", func(w *world) []string {
		w.enforce(w)
		return one(gist(w.try(pod("refused")), "violates PodSecurity"))
	}, one("403 Forbidden pods/refused: violates PodSecurity")},
	{"what one may not do", func(w *world) []string {
		k := w.stranger(w).CoreV1().Pods(w.ns)
		_, create := k.Create(w.ctx(), pod("a"), metav1.CreateOptions{})
		_, list := k.List(w.ctx(), metav1.ListOptions{})
		_, get := k.Get(w.ctx(), "a", metav1.GetOptions{})
		_, secret := w.stranger(w).CoreV1().Secrets(w.ns).Create(w.ctx(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{})
		return []string{gist(create, `cannot create resource "pods"`), gist(list, `cannot list resource "pods"`), answer(get), gist(secret, `cannot create resource "secrets"`)}
	}, []string{
		`403 Forbidden pods/: cannot create resource "pods"`, `403 Forbidden pods/: cannot list resource "pods"`, "403 Forbidden pods/a",
		`403 Forbidden secrets/: cannot create resource "secrets"`,
	}},
	{"who is not known", func(w *world) []string {
		_, err := w.nobody(w).CoreV1().Pods(w.ns).List(w.ctx(), metav1.ListOptions{})
		return one(answer(err))
	}, one("401 Unauthorized")},
}

// remove deletes a pod with a grace period, nil for the pod's own. It returns the answer, and in how long the
// pod is to end.
func (w *world) remove(name string, grace *int64, pre *metav1.Preconditions) string {
	o, err := w.k.CoreV1().RESTClient().Delete().Namespace(w.ns).Resource("pods").Name(name).
		Body(&metav1.DeleteOptions{GracePeriodSeconds: grace, Preconditions: pre}).Do(w.ctx()).Get()
	if err != nil {
		return answer(err)
	}
	p, ok := o.(*corev1.Pod)
	if !ok {
		return fmt.Sprintf("answered by a %T", o)
	}
	out := "ok"
	if p.DeletionGracePeriodSeconds != nil {
		out += " " + strconv.FormatInt(*p.DeletionGracePeriodSeconds, 10)
	}
	if p.DeletionTimestamp != nil {
		// Rounded to ten seconds: the two requests are not sent at once.
		out += " in " + time.Until(p.DeletionTimestamp.Time).Round(10*time.Second).String()
	}
	if w.gone(name) {
		out += " gone"
	}
	return out
}

var deleteSteps = []step{
	{"preconditions of a deletion", func(w *world) []string {
		p := w.placed("a")
		other, old := types.UID("other"), "1"
		out := []string{
			w.remove("a", new(int64(7)), &metav1.Preconditions{UID: &other}),
			w.remove("a", new(int64(7)), &metav1.Preconditions{ResourceVersion: &old}),
			w.remove("a", new(int64(7)), &metav1.Preconditions{UID: &p.UID, ResourceVersion: &old}),
			w.remove("a", new(int64(7)), &metav1.Preconditions{UID: &other, ResourceVersion: &p.ResourceVersion}),
			w.remove("none", nil, &metav1.Preconditions{UID: &p.UID}),
		}
		if w.get("a").DeletionTimestamp != nil {
			out = append(out, "deleted all the same")
		}
		return append(out, w.remove("a", new(int64(7)), &metav1.Preconditions{UID: &p.UID, ResourceVersion: &p.ResourceVersion}))
	}, []string{
		"409 Conflict Pod/a", "409 Conflict Pod/a", "409 Conflict Pod/a", "409 Conflict Pod/a", "404 NotFound pods/none", "ok 7 in 10s",
	}},
	{"a grace is only ever shortened", func(w *world) []string {
		p := w.placed("a")
		out := []string{
			w.remove("a", nil, nil),
			w.remove("a", new(int64(90)), nil),
			w.remove("a", nil, nil),
			w.remove("a", new(int64(30)), nil),
			w.remove("a", new(int64(30)), nil),
			w.remove("a", new(int64(7)), &metav1.Preconditions{UID: &p.UID, ResourceVersion: &p.ResourceVersion}),
			w.remove("a", new(int64(7)), &metav1.Preconditions{UID: &p.UID}),
			fmt.Sprint(w.get("a").Generation),
		}
		return append(out, w.remove("a", new(int64(0)), nil))
	}, []string{
		"ok 60 in 1m0s", "ok 60 in 1m0s", "ok 60 in 1m0s", "ok 30 in 30s", "ok 30 in 30s",
		"409 Conflict Pod/a", "ok 7 in 10s", "2", "ok 0 in 0s gone",
	}},
	{"a shorter grace that is over leaves one second", func(w *world) []string {
		w.placed("a")
		first := w.remove("a", nil, nil)
		time.Sleep(3100 * time.Millisecond)
		return []string{first, w.remove("a", new(int64(2)), nil)}
	}, []string{"ok 60 in 1m0s", "ok 1 in 0s"}},
	{"a repeated deletion makes no version", func(w *world) []string {
		w.placed("a")
		first := w.remove("a", new(int64(50)), nil)
		was := w.get("a").ResourceVersion
		second := w.remove("a", new(int64(50)), nil)
		return []string{first, second, fmt.Sprint(w.get("a").ResourceVersion == was)}
	}, []string{"ok 50 in 50s", "ok 50 in 50s", "true"}},
	{"a pod without a node goes at once", func(w *world) []string {
		w.create(pod("a"))
		w.create(pod("b"))
		return []string{w.remove("a", nil, nil), w.remove("b", new(int64(7)), nil), w.remove("a", nil, nil)}
	}, []string{"ok 0 in 0s gone", "ok 0 in 0s gone", "404 NotFound pods/a"}},
	{"a finalizer holds what is deleted", func(w *world) []string {
		p := pod("a")
		p.Finalizers = []string{"conformance.test/hold"}
		w.create(p)
		out := []string{w.remove("a", nil, nil), w.remove("a", nil, nil)}
		_, err := w.k.CoreV1().Pods(w.ns).Patch(w.ctx(), "a", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
		return append(out, answer(err), fmt.Sprint(w.gone("a")))
	}, []string{"ok 0 in 0s", "ok 0 in 0s", "ok", "true"}},
}

// patch patches the pod "a", and returns the result.
func (w *world) patch(how types.PatchType, format string, args ...any) string {
	_, err := w.k.CoreV1().Pods(w.ns).Patch(w.ctx(), "a", how, fmt.Appendf(nil, format, args...), metav1.PatchOptions{})
	return answer(err)
}

var changeSteps = []step{
	{"patches of each kind", func(w *world) []string {
		w.create(pod("a"))
		out := []string{
			w.patch(types.MergePatchType, `{"metadata":{"annotations":{"x":"1","y":"2"}}}`),
			w.patch(types.MergePatchType, `{"metadata":{"annotations":{"x":null}}}`),
			w.patch(types.StrategicMergePatchType, `{"metadata":{"annotations":{"z":"3"}}}`),
			w.patch(types.JSONPatchType, `[{"op":"test","path":"/metadata/annotations/y","value":"2"},{"op":"replace","path":"/metadata/annotations/y","value":"4"}]`),
		}
		return append(out, fmt.Sprint(w.get("a").Annotations))
	}, []string{"ok", "ok", "ok", "ok", "map[y:4 z:3]"}},
	{"patches that rest on an old version", func(w *world) []string {
		old := w.create(pod("a")).ResourceVersion
		w.patch(types.MergePatchType, `{"metadata":{"annotations":{"x":"1"}}}`)
		return []string{
			w.patch(types.MergePatchType, `{"metadata":{"resourceVersion":%q,"annotations":{"x":"2"}}}`, old),
			w.patch(types.StrategicMergePatchType, `{"metadata":{"resourceVersion":%q,"annotations":{"x":"2"}}}`, old),
			w.patch(types.JSONPatchType, `[{"op":"replace","path":"/metadata/resourceVersion","value":%q},{"op":"replace","path":"/metadata/annotations/x","value":"2"}]`, old),
			w.patch(types.JSONPatchType, `[{"op":"test","path":"/metadata/resourceVersion","value":%q}]`, old),
			fmt.Sprint(w.get("a").Annotations),
		}
	}, []string{"409 Conflict pods/a", "409 Conflict pods/a", "409 Conflict pods/a", "422 Invalid", "map[x:1]"}},
	{"patches that cannot be", func(w *world) []string {
		w.create(pod("a"))
		_, none := w.k.CoreV1().Pods(w.ns).Patch(w.ctx(), "none", types.MergePatchType, []byte(`{}`), metav1.PatchOptions{})
		return []string{
			w.patch(types.MergePatchType, `{"metadata":{"uid":"other"}}`),
			w.patch(types.MergePatchType, `{"metadata":{"name":"b"}}`),
			w.patch(types.MergePatchType, `{"spec":{"containers":[{"name":"agent","image":"i","command":["x"]}]}}`),
			w.patch(types.MergePatchType, `{"metadata":`),
			w.patch(types.JSONPatchType, `[{"op":"remove","path":"/metadata/annotations/none"}]`),
			w.patch("application/unheard-of", `{}`),
			answer(none),
		}
	}, []string{
		"422 Invalid Pod/a, FieldValueInvalid metadata.uid",
		"400 BadRequest",
		"422 Invalid Pod/a, FieldValueForbidden spec",
		"400 BadRequest",
		"422 Invalid",
		"415 UnsupportedMediaType",
		"404 NotFound pods/none",
	}},
	{"the status is another resource's", func(w *world) []string {
		w.create(pod("a"))
		first := w.patch(types.MergePatchType, `{"status":{"message":"m"}}`)
		_, err := w.k.CoreV1().Pods(w.ns).Patch(w.ctx(), "a", types.MergePatchType, []byte(`{"status":{"message":"n"},"spec":{"nodeName":"x"}}`), metav1.PatchOptions{}, "status")
		p := w.get("a")
		return []string{first, answer(err), p.Status.Message, fmt.Sprint(p.Spec.NodeName == "")}
	}, []string{"ok", "ok", "n", "true"}},
	{"a change of nothing makes no version", func(w *world) []string {
		was := w.create(pod("a")).ResourceVersion
		return []string{w.patch(types.MergePatchType, `{"metadata":{"labels":{"step":"a"}}}`), fmt.Sprint(w.get("a").ResourceVersion == was)}
	}, []string{"ok", "true"}},
	{"an update that rests on an old version", func(w *world) []string {
		old := w.create(pod("a"))
		w.patch(types.MergePatchType, `{"metadata":{"annotations":{"x":"1"}}}`)
		old.Annotations = map[string]string{"x": "2"}
		_, err := w.k.CoreV1().Pods(w.ns).Update(w.ctx(), old, metav1.UpdateOptions{})
		return one(answer(err))
	}, one("409 Conflict pods/a")},
	{"a lease is changed by its version only", func(w *world) []string {
		api := w.k.CoordinationV1().Leases(w.ns)
		l, err := api.Create(w.ctx(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "l"}}, metav1.CreateOptions{})
		if err != nil {
			w.t.Fatal(err)
		}
		defer func() { _ = api.Delete(w.ctx(), "l", metav1.DeleteOptions{}) }()
		old := l.DeepCopy()
		l.Spec.HolderIdentity = new("me")
		l, err = api.Update(w.ctx(), l, metav1.UpdateOptions{})
		out := one(answer(err))
		_, err = api.Update(w.ctx(), old, metav1.UpdateOptions{})
		out = append(out, answer(err))
		l.ResourceVersion = ""
		_, err = api.Update(w.ctx(), l, metav1.UpdateOptions{})
		out = append(out, answer(err))
		_, err = api.Create(w.ctx(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "l"}}, metav1.CreateOptions{})
		return append(out, answer(err))
	}, []string{
		"ok", "409 Conflict leases/l", "422 Invalid leases/l, FieldValueInvalid metadata.resourceVersion", "409 AlreadyExists leases/l",
	}},
}

// names returns the names of the pods of a list.
func (w *world) names(o metav1.ListOptions) string {
	var l corev1.PodList
	// The typed client would retry for as long as the server cannot answer yet.
	err := w.k.CoreV1().RESTClient().Get().Namespace(w.ns).Resource("pods").VersionedParams(&o, scheme.ParameterCodec).
		MaxRetries(0).Do(w.ctx()).Into(&l)
	if err != nil {
		return answer(err)
	}
	var out []string
	for i := range l.Items {
		out = append(out, l.Items[i].Name)
	}
	if l.Continue != "" {
		out = append(out, "…")
	}
	return fmt.Sprint(out)
}

var readSteps = []step{
	{"lists by label and by field", func(w *world) []string {
		for i := range 4 {
			p := pod("p" + strconv.Itoa(i))
			p.Labels["n"], p.Labels["group"] = strconv.Itoa(i), "lists"
			w.create(p)
		}
		q := w.placed("q")
		return []string{
			w.names(metav1.ListOptions{LabelSelector: "group=lists,n in (1,3)"}),
			w.names(metav1.ListOptions{LabelSelector: "group=lists,n notin (1,3)"}),
			w.names(metav1.ListOptions{LabelSelector: "n!=2"}),
			w.names(metav1.ListOptions{LabelSelector: "!group"}),
			w.names(metav1.ListOptions{LabelSelector: "group=none"}),
			w.names(metav1.ListOptions{FieldSelector: "metadata.name=p2"}),
			w.names(metav1.ListOptions{FieldSelector: "spec.nodeName="}),
			w.names(metav1.ListOptions{FieldSelector: "spec.nodeName=" + q.Spec.NodeName}),
			w.names(metav1.ListOptions{FieldSelector: "spec.nonsense=1"}),
			w.names(metav1.ListOptions{LabelSelector: "a b"}),
		}
	}, []string{
		"[p1 p3]", "[p0 p2]", "[p0 p1 p3 q]", "[q]", "[]", "[p2]", "[p0 p1 p2 p3]", "[q]", "400 BadRequest", "400 BadRequest",
	}},
	{"lists by page", func(w *world) []string {
		for i := range 4 {
			w.create(pod("p" + strconv.Itoa(i)))
		}
		api := w.k.CoreV1().Pods(w.ns)
		page, err := api.List(w.ctx(), metav1.ListOptions{Limit: 3})
		if err != nil {
			w.t.Fatal(err)
		}
		w.create(pod("p9")) // later pages are of the first one's time
		rest, err := api.List(w.ctx(), metav1.ListOptions{Limit: 3, Continue: page.Continue})
		if err != nil {
			w.t.Fatal(err)
		}
		_, wrong := api.List(w.ctx(), metav1.ListOptions{Limit: 3, Continue: "nonsense"})
		return []string{
			w.names(metav1.ListOptions{Limit: 3}), rest.Items[0].Name, fmt.Sprint(len(rest.Items)),
			fmt.Sprint(rest.ResourceVersion == page.ResourceVersion), answer(wrong),
		}
	}, []string{"[p0 p1 p2 …]", "p3", "1", "true", "400 BadRequest"}},
	{"lists of a time to come", func(w *world) []string {
		l, err := w.k.CoreV1().Pods(w.ns).List(w.ctx(), metav1.ListOptions{})
		if err != nil {
			w.t.Fatal(err)
		}
		rv, _ := strconv.Atoi(l.ResourceVersion)
		return []string{
			w.names(metav1.ListOptions{ResourceVersion: "0"}),
			w.names(metav1.ListOptions{ResourceVersion: l.ResourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan}),
			w.names(metav1.ListOptions{ResourceVersion: strconv.Itoa(rv + 1e6)}),
			w.names(metav1.ListOptions{ResourceVersion: "nonsense"}),
		}
	}, []string{"[]", "[]", "504 Timeout, ResourceVersionTooLarge", "400 BadRequest"}},
	{"a table of pods", func(w *world) []string {
		w.create(pod("p"))
		table := func(accept string) (out []string) {
			var got metav1.Table
			raw, err := w.k.CoreV1().RESTClient().Get().Namespace(w.ns).Resource("pods").SetHeader("Accept", accept).Do(w.ctx()).Raw()
			if err = errors.Join(err, json.Unmarshal(raw, &got)); err != nil {
				w.t.Fatal(err)
			}
			shown := func(i int) bool {
				return got.ColumnDefinitions[i].Priority == 0 && got.ColumnDefinitions[i].Name != "Age"
			}
			for i, c := range got.ColumnDefinitions {
				if shown(i) {
					out = append(out, c.Name)
				}
			}
			for _, r := range got.Rows {
				for i, cell := range r.Cells {
					if shown(i) {
						out = append(out, fmt.Sprint(cell))
					}
				}
			}
			return append(out, got.Kind)
		}
		return []string{
			strings.Join(table("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"), " "),
			strings.Join(table("application/json"), " "),
		}
	}, []string{"Name Ready Status Restarts p 0/1 Pending 0 Table", "PodList"}},
	{"what the server has", func(w *world) (out []string) {
		known := map[string]bool{"pods": true, "persistentvolumeclaims": true, "secrets": true, "configmaps": true, "resourcequotas": true, "events": true, "leases": true}
		for _, version := range []string{"v1", "coordination.k8s.io/v1", "events.k8s.io/v1"} {
			list, err := w.k.Discovery().ServerResourcesForGroupVersion(version)
			if err != nil {
				w.t.Fatal(err)
			}
			for _, r := range list.APIResources {
				if known[r.Name] {
					out = append(out, strings.TrimSpace(fmt.Sprint(version, " ", r.Name, " ", r.SingularName, " ", r.Kind, " ", r.Namespaced, " ", strings.Join(r.ShortNames, " "))))
				}
			}
		}
		slices.Sort(out)
		return out
	}, []string{
		"coordination.k8s.io/v1 leases lease Lease true", "events.k8s.io/v1 events event Event true ev", "v1 configmaps configmap ConfigMap true cm",
		"v1 events event Event true ev", "v1 persistentvolumeclaims persistentvolumeclaim PersistentVolumeClaim true pvc", "v1 pods pod Pod true po",
		"v1 resourcequotas resourcequota ResourceQuota true quota", "v1 secrets secret Secret true",
	}},
	{"what is not there", func(w *world) []string {
		_, err := w.k.CoreV1().Pods(w.ns).Get(w.ctx(), "none", metav1.GetOptions{})
		return one(answer(err))
	}, one("404 NotFound pods/none")},
}

// events collects n events of a watch, or those that come within a while.
func (w *world) events(o metav1.ListOptions, n int) (lines []string, versions []string) {
	w.t.Helper()
	o.TimeoutSeconds = new(int64(5))
	wt, err := w.k.CoreV1().Pods(w.ns).Watch(w.ctx(), o)
	if err != nil {
		return one(answer(err)), nil
	}
	defer wt.Stop()
	for range n {
		e, open := <-wt.ResultChan()
		if !open {
			return append(lines, "the end"), versions
		}
		switch o := e.Object.(type) {
		case *corev1.Pod:
			line := string(e.Type) + " " + o.Name
			if o.DeletionTimestamp != nil {
				line += " deleting"
			}
			if o.Annotations[metav1.InitialEventsAnnotationKey] == "true" {
				line += "all that there was"
			}
			lines, versions = append(lines, line), append(versions, o.ResourceVersion)
		case *metav1.Status:
			lines = append(lines, string(e.Type)+" "+answer(apierrors.FromObject(o)))
		}
	}
	return lines, versions
}

// version returns the current resourceVersion of the namespace's pods.
func (w *world) version() string {
	w.t.Helper()
	l, err := w.k.CoreV1().Pods(w.ns).List(w.ctx(), metav1.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return l.ResourceVersion
}

var watchSteps = []step{
	{"a watch tells all from a version on", func(w *world) []string {
		from := w.version()
		w.create(pod("a"))
		w.patch(types.MergePatchType, `{"metadata":{"annotations":{"x":"1"}}}`)
		w.create(pod("b"))
		w.remove("a", nil, nil)
		all, versions := w.events(metav1.ListOptions{ResourceVersion: from}, 5)
		resumed, _ := w.events(metav1.ListOptions{ResourceVersion: versions[1]}, 3)
		return slices.Concat(all, one("resumed"), resumed, one(fmt.Sprint(slices.IsSorted(versions))))
	}, []string{
		"ADDED a", "MODIFIED a", "ADDED b", "MODIFIED a deleting", "DELETED a deleting",
		"resumed", "ADDED b", "MODIFIED a deleting", "DELETED a deleting", "true",
	}},
	{"a graceful deletion is told, its end too", func(w *world) []string {
		w.placed("a")
		from := w.version()
		w.remove("a", new(int64(7)), nil)
		w.remove("a", new(int64(0)), nil)
		got, _ := w.events(metav1.ListOptions{ResourceVersion: from, LabelSelector: "step=a"}, 3)
		return got
	}, []string{"MODIFIED a deleting", "MODIFIED a deleting", "DELETED a deleting"}},
	{"what ceases to match is deleted to a watch", func(w *world) []string {
		from := w.version()
		w.create(pod("a"))
		w.patch(types.MergePatchType, `{"metadata":{"labels":{"step":"other"}}}`)
		w.patch(types.MergePatchType, `{"metadata":{"labels":{"step":"a"}}}`)
		got, _ := w.events(metav1.ListOptions{ResourceVersion: from, LabelSelector: "step=a"}, 3)
		return got
	}, []string{"ADDED a", "DELETED a", "ADDED a"}},
	{"a watch from nothing tells what there is", func(w *world) []string {
		w.create(pod("a"))
		w.create(pod("b"))
		got, _ := w.events(metav1.ListOptions{}, 2)
		slices.Sort(got)
		return got
	}, []string{"ADDED a", "ADDED b"}},
	{"a streamed list ends with a bookmark", func(w *world) []string {
		w.create(pod("a"))
		yes := true
		got, _ := w.events(metav1.ListOptions{
			SendInitialEvents: &yes, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, AllowWatchBookmarks: true,
		}, 2)
		wrong, _ := w.events(metav1.ListOptions{SendInitialEvents: &yes}, 1)
		return append(got, wrong...)
	}, []string{"ADDED a", string(watch.Bookmark) + " all that there was", "422 Invalid ListOptions/, FieldValueForbidden resourceVersionMatch"}},
	{"a version long past", func(w *world) []string {
		w.create(pod("a"))
		w.forget(w)
		got, _ := w.events(metav1.ListOptions{ResourceVersion: "1"}, 2)
		return got
	}, []string{"ERROR 410 Expired", "the end"}},
	{"a watch ends when it was to", func(w *world) []string {
		began := time.Now()
		got, _ := w.events(metav1.ListOptions{ResourceVersion: w.version(), LabelSelector: "step=none"}, 1)
		return append(got, time.Since(began).Round(3*time.Second).String())
	}, []string{"the end", "6s"}},
}

// collected waits until the garbage collector has deleted a Secret.
func (w *world) collected(name string) bool {
	_, err := w.k.CoreV1().Secrets(w.ns).Get(w.ctx(), name, metav1.GetOptions{})
	return apierrors.IsNotFound(err)
}

func owner(p *corev1.Pod) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: p.Name, UID: p.UID}}
}

var otherSteps = []step{
	{"a secret goes with its pod", func(w *world) []string {
		p := w.create(pod("a"))
		secrets := w.k.CoreV1().Secrets(w.ns)
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "a", OwnerReferences: owner(p)}, Immutable: new(true), StringData: map[string]string{"secret": "x"}}
		got, err := secrets.Create(w.ctx(), s, metav1.CreateOptions{})
		out := []string{answer(err), string(got.Data["secret"]), string(got.Type)}
		_, err = secrets.Create(w.ctx(), s, metav1.CreateOptions{})
		out = append(out, answer(err))
		got.Data["secret"] = []byte("y")
		_, err = secrets.Update(w.ctx(), got, metav1.UpdateOptions{})
		out = append(out, answer(err), w.remove("a", nil, nil))
		w.await("the secret is collected", func() bool { return w.collected("a") })
		return out
	}, []string{"ok", "x", "Opaque", "409 AlreadyExists secrets/a", "422 Invalid Secret/a, FieldValueForbidden data", "ok 0 in 0s gone"}},
	{"a secret whose pod is gone goes too", func(w *world) []string {
		p := w.create(pod("a"))
		w.remove("a", nil, nil)
		_, err := w.k.CoreV1().Secrets(w.ns).Create(w.ctx(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "late", OwnerReferences: owner(p)}}, metav1.CreateOptions{})
		w.await("the secret is collected", func() bool { return w.collected("late") })
		return one(answer(err))
	}, one("ok")},
	{"events are found by what they are about", func(w *world) []string {
		about := corev1.ObjectReference{Kind: "Lease", APIVersion: "coordination.k8s.io/v1", Namespace: w.ns, Name: "l", UID: "u", ResourceVersion: "7", FieldPath: "spec"}
		old := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "old"}, InvolvedObject: about, Reason: "Held", Type: corev1.EventTypeWarning, Source: corev1.EventSource{Component: "bellboard"}}
		_, err := w.k.CoreV1().Events(w.ns).Create(w.ctx(), old, metav1.CreateOptions{})
		out := one(answer(err))
		now := &eventsv1.Event{
			ObjectMeta: metav1.ObjectMeta{Name: "now"}, Regarding: about, Reason: "Held", Type: corev1.EventTypeWarning,
			EventTime: metav1.NowMicro(), Action: "Hold", ReportingController: "bellboard.dev/bellboard", ReportingInstance: "a",
		}
		_, err = w.k.EventsV1().Events(w.ns).Create(w.ctx(), now, metav1.CreateOptions{})
		out = append(out, answer(err))
		find := func(name, selector string) string {
			o := metav1.ListOptions{FieldSelector: "metadata.name=" + name + "," + selector}
			var found int
			var err error
			if name == "old" {
				l, e := w.k.CoreV1().Events(w.ns).List(w.ctx(), o)
				found, err = len(l.Items), e
			} else {
				l, e := w.k.EventsV1().Events(w.ns).List(w.ctx(), o)
				found, err = len(l.Items), e
			}
			if err != nil {
				return gist(err, "field label not supported")
			}
			return strconv.Itoa(found)
		}
		for _, f := range []string{"kind=Lease", "apiVersion=coordination.k8s.io/v1", "namespace=" + w.ns, "name=l", "uid=u", "resourceVersion=7", "fieldPath=spec"} {
			key, _, _ := strings.Cut(f, "=")
			out = append(out, find("old", "involvedObject."+f)+find("now", "regarding."+f)+find("old", "involvedObject."+key+"=x")+find("now", "regarding."+key+"=x"))
		}
		return append(
			out,
			find("old", "reason=Held,type=Warning,source=bellboard,reportingComponent=")+find("old", "source=x"),
			find("now", "reason=Held,type=Warning,reportingController=bellboard.dev/bellboard")+find("now", "reportingController=x"),
			find("old", "regarding.kind=Lease"), find("now", "source=bellboard"),
		)
	}, []string{
		"ok", "ok", "1100", "1100", "1100", "1100", "1100", "1100", "1100", "10", "10",
		"400 BadRequest: field label not supported", "400 BadRequest: field label not supported",
	}},
	{"a claim goes with its pod", func(w *world) []string {
		p := w.create(pod("a"))
		api := w.k.CoreV1().PersistentVolumeClaims(w.ns)
		claim := &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Name: "a", OwnerReferences: owner(p)},
			Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod},
				Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
			},
		}
		got, err := api.Create(w.ctx(), claim, metav1.CreateOptions{})
		out := []string{answer(err), string(got.Status.Phase), fmt.Sprint(got.Finalizers)}
		bad := claim.DeepCopy()
		bad.Name, bad.Spec.AccessModes = "b", nil
		_, err = api.Create(w.ctx(), bad, metav1.CreateOptions{})
		out = append(out, answer(err))
		_, err = api.Create(w.ctx(), claim, metav1.CreateOptions{})
		out = append(out, answer(err), w.remove("a", nil, nil))
		w.await("the claim is collected", func() bool {
			_, err := api.Get(w.ctx(), "a", metav1.GetOptions{})
			return apierrors.IsNotFound(err)
		})
		return out
	}, []string{
		"ok", "Pending", "[kubernetes.io/pvc-protection]",
		"422 Invalid PersistentVolumeClaim/b, FieldValueRequired spec.accessModes",
		"409 AlreadyExists persistentvolumeclaims/a", "ok 0 in 0s gone",
	}},
}
