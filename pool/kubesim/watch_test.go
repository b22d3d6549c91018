package kubesim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

func forever(*rand.Rand, *corev1.Pod) time.Duration { return 1000 * time.Hour }

// told returns the next n events of a watch, as "ADDED a".
func told(t *testing.T, w watch.Interface, n int) string {
	t.Helper()
	var out []string
	for range n {
		select {
		case e, ok := <-w.ResultChan():
			if !ok {
				return strings.Join(append(out, "end"), ", ")
			}
			name := ""
			switch o := e.Object.(type) {
			case *corev1.Pod:
				name = o.Name
			case *metav1.Status:
				name = string(o.Reason)
			}
			out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s", e.Type, name)))
		case <-time.After(10 * time.Second):
			return strings.Join(append(out, "nothing"), ", ")
		}
	}
	return strings.Join(out, ", ")
}

func TestWatch(t *testing.T) {
	served(t, Config{Schedule: forever, History: 4}, func(t *testing.T, c *Cluster, k kubernetes.Interface) {
		api := k.CoreV1().Pods(ns)
		from, err := api.List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		open := func(o metav1.ListOptions) watch.Interface {
			t.Helper()
			w, err := api.Watch(ctx, o)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(w.Stop)
			return w
		}
		live := open(metav1.ListOptions{ResourceVersion: from.ResourceVersion})
		team := open(metav1.ListOptions{ResourceVersion: from.ResourceVersion, LabelSelector: "team=a"})
		b := agent("b")
		b.Labels = nil
		create(t, k, agent("a"))
		create(t, k, b)
		label := func(name, value string) {
			if _, err := api.Patch(ctx, name, types.MergePatchType, []byte(`{"metadata":{"labels":{"team":`+value+`}}}`), metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		label("b", `"a"`)
		label("a", `null`)
		if err := api.Delete(ctx, "b", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if got, want := told(t, live, 6), "ADDED a, ADDED b, MODIFIED b, MODIFIED a, MODIFIED b, DELETED b"; got != want {
			t.Errorf("told %s", got)
		}
		if got, want := told(t, team, 5), "ADDED a, ADDED b, DELETED a, MODIFIED b, DELETED b"; got != want {
			t.Errorf("the team's watch was told %s", got)
		}
		// Resumed from a version in between.
		mid := c.table(pods).history[2].rv
		if got, want := told(t, open(metav1.ListOptions{ResourceVersion: fmt.Sprint(mid)}), 3), "MODIFIED a, MODIFIED b, DELETED b"; got != want {
			t.Errorf("resumed, told %s", got)
		}
		if got, want := told(t, open(metav1.ListOptions{}), 1), "ADDED a"; got != want {
			t.Errorf("from nothing, told %s", got)
		}
		for range 8 {
			label("a", `"x"`)
			label("a", `"y"`)
		}
		if got, want := told(t, open(metav1.ListOptions{ResourceVersion: fmt.Sprint(mid)}), 2), "ERROR Expired, end"; got != want {
			t.Errorf("from too long ago, told %s", got)
		}
		short := open(metav1.ListOptions{ResourceVersion: fmt.Sprint(c.table(pods).forgot), TimeoutSeconds: new(int64(1))})
		if got := told(t, short, 1+len(c.table(pods).history)); !strings.HasSuffix(got, "MODIFIED a, end") {
			t.Errorf("with a time-out, told %s", got)
		}
		// The server says when to try again, and client-go would.
		err = k.CoreV1().RESTClient().Get().Namespace(ns).Resource("pods").Param("resourceVersion", "999999").MaxRetries(0).Do(ctx).Error()
		if !apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge) {
			t.Errorf("a version to come: %v", err)
		}
	})
}

func TestBookmarksAndStreamedLists(t *testing.T) {
	bubble(t, Config{Schedule: forever}, func(t *testing.T, c *Cluster, k kubernetes.Interface) {
		create(t, k, agent("a"))
		w, err := k.CoreV1().Pods(ns).Watch(ctx, metav1.ListOptions{
			SendInitialEvents: new(true), ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, AllowWatchBookmarks: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		if e := <-w.ResultChan(); e.Type != watch.Added {
			t.Fatalf("first %v", e)
		}
		e := <-w.ResultChan()
		if e.Type != watch.Bookmark || e.Object.(*corev1.Pod).Annotations[metav1.InitialEventsAnnotationKey] != "true" {
			t.Fatalf("then %v", e)
		}
		// A bookmark brings the versions of other resources.
		if _, err := k.CoreV1().Secrets(ns).Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		e = <-w.ResultChan()
		if e.Type != watch.Bookmark || e.Object.(*corev1.Pod).ResourceVersion != c.Secrets()[0].ResourceVersion {
			t.Errorf("and then %v", e)
		}
		_, err = k.CoreV1().Pods(ns).Watch(ctx, metav1.ListOptions{SendInitialEvents: new(true)})
		if !apierrors.IsInvalid(err) {
			t.Errorf("a streamed list asked for wrongly: %v", err)
		}
	})
}

// TestInformer: an informer sees every life, also over cuts and a forgotten history.
func TestInformer(t *testing.T) {
	bubble(t, Config{History: 20}, func(t *testing.T, c *Cluster, k kubernetes.Interface) {
		f := informers.NewSharedInformerFactoryWithOptions(k, 0, informers.WithNamespace(ns))
		inf := f.Core().V1().Pods().Informer()
		var mu sync.Mutex
		seen := map[string]int{}
		count := func(what string) {
			mu.Lock()
			defer mu.Unlock()
			seen[what]++
		}
		if _, err := inf.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { count("added") },
			DeleteFunc: func(any) { count("deleted") },
		}); err != nil {
			t.Fatal(err)
		}
		stop := make(chan struct{})
		f.Start(stop)
		defer f.Shutdown()
		defer close(stop)
		f.WaitForCacheSync(stop)
		same := func() bool {
			synctest.Wait()
			mine, theirs := inf.GetStore().List(), c.Pods()
			if len(mine) != len(theirs) {
				return false
			}
			for _, p := range theirs {
				o, ok, _ := inf.GetStore().GetByKey(p.Namespace + "/" + p.Name)
				if !ok || o.(*corev1.Pod).ResourceVersion != p.ResourceVersion {
					return false
				}
			}
			return true
		}
		for i := range 30 {
			create(t, k, agent(fmt.Sprintf("p%d", i)))
		}
		time.Sleep(10 * time.Second)
		if !same() {
			t.Fatal("the informer differs")
		}
		c.Cut(20 * time.Second)
		if _, err := k.CoreV1().Pods(ns).Get(ctx, "p1", metav1.GetOptions{}); err == nil {
			t.Error("reached through a cut")
		}
		for i := range 20 {
			c.Delete(ns, fmt.Sprintf("p%d", i), "someone", 0)
		}
		if same() {
			t.Error("the informer sees through a cut")
		}
		until(t, 2*time.Minute, same)
		mu.Lock()
		defer mu.Unlock()
		if seen["added"] != 30 || seen["deleted"] != 20 {
			t.Errorf("seen %v", seen)
		}
		if n := c.Stats().Requests["list pods"]; n > 1 {
			t.Errorf("%d plain lists: streamed ones are not understood", n)
		}
	})
}

// TestInformerOverASocket has an informer over a socket, with the wall's clock.
func TestInformerOverASocket(t *testing.T) {
	quick := func(*rand.Rand, *corev1.Pod) time.Duration { return time.Millisecond }
	served(t, Config{Schedule: quick, Pull: quick, Start: quick}, func(t *testing.T, _ *Cluster, k kubernetes.Interface) {
		f := informers.NewSharedInformerFactory(k, 0)
		inf := f.Core().V1().Pods().Informer()
		stop := make(chan struct{})
		f.Start(stop)
		defer f.Shutdown()
		defer close(stop)
		f.WaitForCacheSync(stop)
		create(t, k, agent("a"))
		until(t, 10*time.Second, func() bool {
			o, ok, _ := inf.GetStore().GetByKey(ns + "/a")
			return ok && o.(*corev1.Pod).Status.Phase == corev1.PodRunning
		})
	})
}
