package app

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"bellboard/pool/kubesim"
	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
	"bellboard/scaler/control"
)

// memories has what each leader knew of the team in its first and in its last tick.
type memories struct {
	mu          sync.Mutex
	first, last []scaler.TeamMemory
}

// watch notes the memories of the leaders from now on.
func (m *memories) watch(p *pair) {
	p.change = func(c *control.Config) {
		if c.DryRun {
			return
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		i := len(m.last)
		m.last = append(m.last, scaler.TeamMemory{})
		c.Decide = func(in scaler.Input) (scaler.Plan, scaler.Memory, scaler.Facts, error) {
			plan, mem, facts, err := scaler.Checked(in)
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.last[i].Ledger.At.IsZero() {
				m.first = append(m.first, in.Memory.Teams["web"])
			}
			m.last[i] = mem.Teams["web"]
			return plan, mem, facts, err
		}
	}
}

// learn lets the replicas see demand with pauses in it, for a quarter of an hour. (No agent ever connects
// here, so a person cancels each build.)
func (p *pair) learn() {
	for range 10 {
		item := p.jenkins.Submit(jenkinssim.Job{Name: "web", Label: "linux"})
		time.Sleep(20 * time.Second)
		p.jenkins.Cancel(item)
		time.Sleep(70 * time.Second)
	}
}

// run runs the replica while f does.
func (i *instance) run(f func()) {
	ctx, stop := context.WithCancel(context.Background())
	go func() { i.ended <- i.d.Run(ctx) }()
	f()
	stop()
	<-i.ended
}

// TestTheNextLeaderKnowsWhatWasLearnt hands the Lease over in each way. The next leader begins with what the
// leader before it knew at its end, or if that leader was killed, with what it knew five minutes before.
func TestTheNextLeaderKnowsWhatWasLearnt(t *testing.T) {
	for _, tt := range []struct {
		name   string
		end    func(*pair, *instance)
		within time.Duration // how old what the next leader knows may be
	}{
		{"given back", func(_ *pair, a *instance) { a.stop() }, 0},
		{"restarted", func(_ *pair, a *instance) {
			a.stop()
			<-a.ended
			a.ended <- nil
		}, 0},
		{"killed", func(_ *pair, a *instance) {
			a.toJenkins.Store(true)
			a.toKube.Store(true)
		}, 5 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, m := newPair(t), &memories{}
				m.watch(p)
				a := p.start("a")
				var b *instance
				if tt.name != "restarted" {
					time.Sleep(time.Second)
					b = p.start("b")
				}
				p.learn()
				tt.end(p, a)
				if b == nil {
					b = p.start("b")
				}
				time.Sleep(time.Minute)
				<-a.ended
				b.stop()
				<-b.ended
				m.mu.Lock()
				defer m.mu.Unlock()
				if len(m.first) != 2 {
					t.Fatalf("%d leaders decided, want two", len(m.first))
				}
				was, is := m.last[0], m.first[1]
				if len(was.Levels) == 0 || len(was.Levels[0].Gaps.Last) < 8 {
					t.Fatalf("the first leader has learnt only %+v", was)
				}
				if old := was.Ledger.At.Sub(is.Ledger.At); old > tt.within+time.Second {
					t.Errorf("what the next leader knows is %s old, want at most %s", old, tt.within)
				}
				if tt.within == 0 {
					if diff := cmp.Diff(was, is); diff != "" {
						t.Errorf("the next leader knows something else: %s", diff)
					}
				} else if lost := len(was.Levels[0].Gaps.Last) - len(is.Levels[0].Gaps.Last); lost > 4 {
					t.Errorf("the next leader lacks the last %d gaps", lost)
				}
				p.oneAtATime()
			})
		})
	}
}

// TestWithoutTheRightToKeep checks that a replica that may not use the ConfigMap works all the same, and says
// so once.
func TestWithoutTheRightToKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.cluster.Refuse(func(_ *http.Request, verb, resource string) *metav1.Status {
			if resource != "configmaps" {
				return nil
			}
			return kubesim.NoPermission("bellboard", verb, resource, "default", "bellboard-learnt-bellboard")
		})
		i := p.make("a")
		core, logs := observer.New(zap.WarnLevel)
		i.d.parts.Log = zap.New(core)
		i.run(p.learn)
		if n := logs.FilterMessageSnippet("what was learnt").Len(); n != 1 {
			t.Errorf("%d lines say that nothing is kept, want one: %v", n, logs.All())
		}
		if n := p.cluster.Stats().Requests["create pods"]; n == 0 {
			t.Error("it made no agent")
		}
	})
}

// TestCleanupForgets checks that a cleanup removes the ConfigMap, too.
func TestCleanupForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		kept := func() bool {
			_, err := kubernetes.NewForConfigOrDie(p.cluster.RESTConfig()).CoreV1().ConfigMaps("default").Get(t.Context(), "bellboard-learnt-bellboard", metav1.GetOptions{})
			if err != nil && !apierrors.IsNotFound(err) {
				t.Fatal(err)
			}
			return err == nil
		}
		p.make("a").run(p.learn)
		if !kept() {
			t.Error("the leader has kept nothing")
		}
		if err := p.make("b", "BELLBOARD_JENKINS_RESTART_GRACE=0s").d.Cleanup(t.Context(), func(Left) {}); err != nil {
			t.Error(err)
		}
		if kept() {
			t.Error("the cleanup leaves what was learnt")
		}
	})
}
