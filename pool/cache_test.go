package pool

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"bellboard/scaler"
	"bellboard/scaler/clock"
)

func TestBeforeTheFirstListNothingIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(*rest.Config) {})
		if _, err := h.Observe(context.Background()); err == nil {
			t.Error("Observe returned no error before the first list")
		}
	})
}

func TestStartSaysWhyItCannot(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*house)
		within  time.Duration
		words   string
	}{
		"forbidden": {func(h *house) {
			h.cluster.Refuse(func(*http.Request, string, string) *metav1.Status {
				return &apierrors.NewForbidden(podsResource, "", errors.New("no role")).ErrStatus
			})
		}, time.Second, "no role"},
		"unreachable":                     {func(h *house) { h.cluster.Cut(time.Hour) }, startLimit + 2*maxBackoff, "refused"},
		"unreachable, and a person waits": {func(h *house) { h.cfg.FailFast = true; h.cluster.Cut(time.Hour) }, time.Second, "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t, func(*rest.Config) {})
				c.prepare(h)
				began := time.Now()
				err := h.Start(context.Background())
				if err == nil || !strings.Contains(err.Error(), c.words) || !strings.Contains(err.Error(), " in ") {
					t.Errorf("Start() = %v", err)
				}
				if took := time.Since(began); took > c.within {
					t.Errorf("Start took %s", took)
				}
			})
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, func(*rest.Config) {})
			h.cluster.Cut(time.Hour)
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			defer cancel()
			is(t, h.Start(ctx), context.DeadlineExceeded)
		})
	})
}

func TestAShortCutIsBridged(t *testing.T) {
	bubble(t, func(h *house) {
		h.running("web-e-1")
		cut := time.Now()
		h.cluster.Cut(10 * time.Second)
		for time.Since(cut) < 10*time.Second {
			time.Sleep(time.Second)
			view, err := h.Observe(context.Background())
			if err != nil || len(view.Pods) != 1 {
				t.Fatalf("after %s: %v, %v", time.Since(cut), view, err)
			}
			if age := view.At.Sub(cut); age < 0 || age > 100*time.Millisecond {
				t.Fatalf("after %s the cache was last current at the cut and %s", time.Since(cut), age)
			}
		}
		h.await(10*time.Second, func() bool {
			view, err := h.Observe(context.Background())
			return err == nil && view.At.Equal(time.Now())
		})
	})
}

func TestALongCutIsNoAnswer(t *testing.T) {
	bubble(t, func(h *house) {
		h.running("web-e-1")
		h.running("web-e-2")
		cut := time.Now()
		h.cluster.Cut(2 * time.Minute)
		time.Sleep(20 * time.Second)
		h.cluster.Delete("agents", "web-e-2", "somebody", 0)
		time.Sleep(9 * time.Second)
		h.pods()
		time.Sleep(2 * time.Second)
		_, err := h.Observe(context.Background())
		if err == nil || !strings.Contains(err.Error(), "not followed for 31s") {
			t.Fatalf("after %s: %v", time.Since(cut), err)
		}
		if got := scaler.CauseOf(err); got != causeUnavailable {
			t.Errorf("the error has class %s, want %s", got, causeUnavailable)
		}
		time.Sleep(time.Until(cut.Add(2*time.Minute + 7*time.Second)))
		if got := h.pods(); len(got) != 1 || got[0].Name != "web-e-1" {
			t.Errorf("Observe returned %v", got)
		}
	})
}

// TestPermanent tests which errors end a start. No retry mends these errors. Other errors may pass.
func TestPermanent(t *testing.T) {
	for _, err := range []error{
		fmt.Errorf("list: %w", &url.Error{Op: "Get", Err: &tls.CertificateVerificationError{Err: errors.New("unknown authority")}}),
		fmt.Errorf("list: %w", &url.Error{Op: "Get", Err: http.ErrSchemeMismatch}),
		apierrors.NewUnauthorized("no"),
	} {
		if !permanent(err) || unreachable(err) {
			t.Errorf("%v is not permanent, or counts as unreachable", err)
		}
	}
	for _, err := range []error{
		fmt.Errorf("list: %w", &url.Error{Op: "Get", Err: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}}),
		fmt.Errorf("list: %w", &url.Error{Op: "Get", Err: &net.DNSError{IsNotFound: true}}),
	} {
		if permanent(err) || !unreachable(err) {
			t.Errorf("%v is permanent, or does not count as unreachable", err)
		}
	}
	for _, err := range []error{context.DeadlineExceeded, apierrors.NewInternalError(errors.New("x")), &net.DNSError{IsTemporary: true}} {
		if permanent(err) || unreachable(err) {
			t.Errorf("%v is permanent, or counts as unreachable", err)
		}
	}
}

// TestStaleError tests that each error has its own class, and that Causes has the class.
func TestStaleError(t *testing.T) {
	seen := map[scaler.HoldCause]bool{}
	for _, err := range []error{nil, errors.New("no route"), apierrors.NewUnauthorized("no"), apierrors.NewForbidden(podsResource, "", errors.New("no role"))} {
		cause := scaler.CauseOf(staleError("pods in agents", err))
		if !slices.Contains(Causes(), cause) {
			t.Errorf("%v has class %s, which is not in %v", err, cause, Causes())
		}
		seen[cause] = true
	}
	if len(seen) != len(Causes()) {
		t.Errorf("the errors have classes %v, want all of %v", seen, Causes())
	}
}

// TestNotAllowedIsSaidOnce tests that a missing right to watch is in the log once, though other errors come
// in between.
func TestNotAllowedIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.WarnLevel)
		h := newHouse(t, func(*rest.Config) {})
		h.cfg.Log = zap.New(core)
		h.start()
		var lists atomic.Int64 // of several caches at once
		h.cluster.Refuse(func(_ *http.Request, verb, resource string) *metav1.Status {
			switch {
			case verb == "watch" && resource == "pods":
				return &apierrors.NewForbidden(podsResource, "", errors.New("no role")).ErrStatus
			case verb == "list" && resource == "pods":
				if n := lists.Add(1); n%2 == 0 {
					return &apierrors.NewInternalError(fmt.Errorf("try %d", n)).ErrStatus
				}
			}
			return nil
		})
		h.cluster.Cut(time.Second)
		time.Sleep(5 * time.Minute)
		if n := lists.Load(); n < 10 || logs.Len() != len(h.namespaces) {
			t.Errorf("after %d lists the log has %v, want one line for each namespace", n, logs.All())
		}
	})
}

// An API server ends every watch after a few minutes, and may have forgotten the history. Neither makes the
// cache stale.
func TestWatchesThatEndInOrderAreNoBreak(t *testing.T) {
	bubble(t, func(h *house) {
		h.create("web-e-1", inbound)
		for end := time.Now().Add(time.Hour); time.Now().Before(end); time.Sleep(7 * time.Second) {
			view, err := h.Observe(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if age := time.Since(view.At); age > 10*time.Second {
				t.Fatalf("the view is %s old", age)
			}
		}
	})
}

// If the API server rejects every watch, lists alone keep the cache current.
func TestListsAloneWillDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(*rest.Config) {})
		h.cluster.Refuse(func(_ *http.Request, verb, _ string) *metav1.Status {
			if verb == "watch" {
				return &apierrors.NewInternalError(errors.New("no streams here")).ErrStatus
			}
			return nil
		})
		h.start()
		h.create("web-e-1", inbound)
		for range 60 {
			if got := len(h.pods()); got != 1 {
				t.Fatalf("%d agents count", got)
			}
			time.Sleep(5 * time.Second)
		}
	})
}

// TestTheFirstListIsAQuorums tests that the first list is never from an API server's cache. An API server's
// cache may be older than the last leader's writes. A new leader makes a new client, whose first list is like
// the first leader's, with streams or without.
func TestTheFirstListIsAQuorums(t *testing.T) {
	for name, streams := range map[string]bool{"streamed": true, "listed": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var firsts []string // what was asked for of the whole, in order
				h := newHouse(t, func(cfg *rest.Config) {
					cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
						return carrier(func(r *http.Request) (*http.Response, error) {
							if q := r.URL.Query(); (q.Get("watch") != "") == streams {
								mu.Lock()
								firsts = append(firsts, r.URL.Path+" of version "+strconv.Quote(q.Get("resourceVersion")))
								mu.Unlock()
							}
							return next.RoundTrip(r)
						})
					})
				})
				h.cluster.Refuse(func(_ *http.Request, verb, _ string) *metav1.Status {
					if verb == "watch" && !streams {
						return &apierrors.NewInternalError(errors.New("no streams here")).ErrStatus
					}
					return nil
				})
				for _, which := range []string{"the first leader's", "the next one's"} {
					firsts = nil
					p := New(Config{Client: h.client, Instance: "ci", Clock: clock.Real(), Specs: specs()})
					ctx, end := context.WithCancel(t.Context())
					if err := p.Start(ctx); err != nil {
						t.Fatal(err)
					}
					end()
					synctest.Wait()
					if want := 2 * len(p.namespaces); len(firsts) < want { // pods and claims
						t.Errorf("%s: the requests are %v, want at least %d", which, firsts, want)
					}
					for _, got := range firsts {
						if !strings.HasSuffix(got, ` of version ""`) {
							t.Errorf("%s: the request is %s, want the newest state", which, got)
						}
					}
				}
			})
		})
	}
}

type carrier func(*http.Request) (*http.Response, error)

func (f carrier) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestImagesThatCannotBePulled(t *testing.T) {
	bubble(t, func(h *house) {
		h.cluster.FailPulls(func(*corev1.Pod) bool { return true })
		h.secret(h.create("web-e-1", inbound))
		h.await(time.Minute, func() bool {
			r := h.pod("web-e-1").Trouble
			return r == "ErrImagePull" || r == "ImagePullBackOff"
		})
	})
}

func BenchmarkObserve5000(b *testing.B) {
	s := specOf(scaler.Ephemeral, scaler.Inbound, DockerNone)
	p := New(Config{Client: kubernetes.New(nil), Instance: "ci", Specs: []Spec{s}})
	list := make([]any, 5000)
	for i := range list {
		pod := Build(s, fmt.Sprintf("web-e-%04d", (i*7919)%5000))
		pod.UID, pod.ResourceVersion = types.UID(pod.Name), "1"
		list[i] = pod
	}
	f := p.namespaces["agents"].pods
	if err := f.Replace(list, "1"); err != nil {
		b.Fatal(err)
	}
	f.opened(nil, false)
	b.ReportAllocs()
	for b.Loop() {
		view, err := p.Observe(b.Context())
		if err != nil || len(view.Pods) != 5000 {
			b.Fatal(len(view.Pods), err)
		}
	}
}

// A stale cache may still have an earlier pod of the same name.
func TestAPendingPodReplacesAnEarlierPodOfItsName(t *testing.T) {
	p := New(Config{Client: kubernetes.New(nil), Instance: "ci", Specs: []Spec{specOf(scaler.Ephemeral, scaler.Inbound, DockerNone)}})
	pod := Build(p.specs[inbound], "web-e-1")
	pod.UID, pod.ResourceVersion = "first", "5"
	f := p.namespaces["agents"].pods
	if err := f.Replace([]any{pod}, "7"); err != nil {
		t.Fatal(err)
	}
	pod = pod.DeepCopy()
	pod.UID, pod.ResourceVersion = "second", "9"
	f.addWritten(convert(pod))
	for _, c := range []struct {
		version string
		uid     string
	}{{"8", "second"}, {"9", "first"}} { // at version 9 the cache decides
		f.UpdateResourceVersion(c.version)
		view, err := p.Observe(t.Context())
		if err != nil || len(view.Pods) != 1 || view.Pods[0].UID != c.uid {
			t.Errorf("at version %s: %+v, %v", c.version, view.Pods, err)
		}
	}
}

// The client knows its own patch at once, though the watch is late. Otherwise each tick would patch the pod
// again, and a deletion would name a version that does not exist any more.
func TestOurOwnPatchIsKnownAtOnce(t *testing.T) {
	bubble(t, func(h *house) {
		h.running("web-e-1")
		broken := h.breakWatch()
		if err := h.Annotate(context.Background(), h.pod("web-e-1")); err != nil {
			t.Fatal(err)
		}
		if p := h.pod("web-e-1"); !p.Connected {
			t.Errorf("the pod is %+v", p)
		}
		if err := h.DeletePod(context.Background(), h.pod("web-e-1"), soon()); err != nil {
			t.Errorf("the pod as observed cannot be deleted: %v", err)
		}
		if p := h.pod("web-e-1"); !p.DeletingByUs {
			t.Errorf("after the deletion the pod is %+v", p)
		}
		broken.Store(false)
		h.await(30*time.Second, func() bool { return len(h.pods()) == 0 })
		if f := h.namespaces["agents"].pods; len(f.written) > 0 {
			t.Errorf("%d patched pods are left", len(f.written))
		}
	})
}
