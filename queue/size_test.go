package queue

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
	"bellboard/scaler/clock"
	"bellboard/scaler/control"
)

const (
	manyItems = 10_000
	manyNodes = 5_000
)

// largeJenkins returns a Jenkins with 5,000 nodes of Bellboard's, which have 40 sets of labels. Every tenth
// node is connected and busy. The 10,000 items are in folders, pipelines and projects, and ask for 200
// expressions.
func largeJenkins(c clock.Clock, latency func(*jenkinssim.Jenkins) func(string) time.Duration) *jenkinssim.Jenkins {
	var j *jenkinssim.Jenkins
	cfg := jenkinssim.Config{Clock: c}
	if latency != nil {
		cfg.Latency = func(op string) time.Duration { return latency(j)(op) }
	}
	j = jenkinssim.New(cfg)
	for i := range manyNodes {
		set := i % 40
		j.AddNode(jenkinssim.Node{
			Name:        fmt.Sprintf("team%02d-e-%05d", set, i),
			Description: scaler.Describe("bellboard", scaler.PoolID{Team: fmt.Sprintf("team%02d", set), Kind: scaler.Ephemeral}, false),
			Labels:      fmt.Sprintf("linux docker ephemeral team%02d", set), Exclusive: true,
		}, i%10 == 0)
	}
	for i := range manyNodes / 10 {
		j.Submit(jenkinssim.Job{Name: fmt.Sprintf("busy/%d", i), Label: "docker", Duration: 10 * time.Hour, Pipeline: i%2 == 0})
	}
	for i := range manyItems {
		j.Submit(jenkinssim.Job{
			Name:  fmt.Sprintf("folder%02d/team/job%d", i%17, i),
			Label: fmt.Sprintf("linux && team%02d && !slow%d", i%40, i%5), Duration: time.Hour, Pipeline: i%3 > 0,
		})
	}
	return j
}

// BenchmarkObserve is one poll of 10,000 items and 5,000 nodes over loopback: both reads, decoded, with
// labels. The simulated Jenkins is recorded first, so that the time of the simulator does not count.
func BenchmarkObserve(b *testing.B) {
	j := largeJenkins(clock.Real(), nil)
	defer j.Close()
	for deadline := time.Now().Add(time.Minute); j.Stats().Busy < manyNodes/10; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("%+v", j.Stats())
		}
	}
	answers := map[string]*httptest.ResponseRecorder{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := answers[r.URL.Path]
		if rec == nil {
			rec = httptest.NewRecorder()
			j.ServeHTTP(rec, r)
			answers[r.URL.Path] = rec
		}
		maps.Copy(w.Header(), rec.Header())
		_, _ = w.Write(rec.Body.Bytes())
	}))
	defer server.Close()
	client, err := New(Config{
		URL: server.URL, User: "bellboard", Instance: "bellboard", Clock: clock.Real(), Transport: NewTransport(nil),
		Token: func() (string, error) { return "token", nil },
	})
	if err != nil {
		b.Fatal(err)
	}
	defer closeIdle(client)
	for _, again := range []bool{false, true} {
		b.Run(map[bool]string{false: "new", true: "again"}[again], func(b *testing.B) {
			observe := func() {
				v, err := client.Observe(b.Context())
				if err != nil || len(v.Items) < manyItems || len(v.Nodes) != manyNodes+1 {
					b.Fatal(err, len(v.Items), len(v.Nodes))
				}
				for i := range v.Items {
					if it := &v.Items[i]; it.State == scaler.Buildable && it.Resolution != scaler.Labelled {
						b.Fatalf("%+v", it)
					}
				}
			}
			observe()
			b.ReportAllocs()
			var before, after syscall.Rusage
			_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
			b.ResetTimer()
			for range b.N {
				if !again {
					client.memory = &memory{}
				}
				observe()
			}
			b.StopTimer()
			_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
			cpu := time.Duration(after.Utime.Nano()+after.Stime.Nano()-before.Utime.Nano()-before.Stime.Nano()) / time.Duration(b.N)
			b.ReportMetric(float64(cpu.Microseconds())/1000, "cpu-ms/op")
			b.ReportMetric(float64(answers["/queue/api/json"].Body.Len())/manyItems, "B/item")
			b.ReportMetric(float64(answers["/computer/api/json"].Body.Len())/manyNodes, "B/node")
		})
	}
	runtime.KeepAlive(j)
}

// emptyCluster is a cluster without pods.
type emptyCluster struct{ control.Cluster }

func (emptyCluster) Observe(context.Context) (scaler.ClusterView, error) {
	return scaler.ClusterView{At: time.Now()}, nil
}

// TestSlowAsSeen: Jenkins is as slow as the measured one would be with so many nodes. A poll takes long and
// is still complete.
func TestSlowAsSeen(t *testing.T) {
	if testing.Short() {
		t.Skip("a large house")
	}
	synctest.Test(t, func(t *testing.T) {
		j := largeJenkins(clock.Real(), func(j *jenkinssim.Jenkins) func(string) time.Duration {
			return jenkinssim.Seen(func() (int, int) {
				s := j.Stats()
				return s.Nodes, s.Queued
			})
		})
		defer j.Close()
		time.Sleep(time.Minute)
		client, err := New(Config{
			URL: "http://jenkins:8080", User: "bellboard", Instance: "bellboard", Clock: clock.Real(), Transport: j.Transport(),
			Token: func() (string, error) { return "token", nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		v, err := client.Observe(t.Context())
		took := time.Since(start)
		if err != nil || len(v.Items) != manyItems || len(v.Nodes) != manyNodes+1 {
			t.Fatal(err, len(v.Items), len(v.Nodes))
		}
		if took < 2*time.Second || took > 10*time.Second || v.AnsweredAt.Sub(v.AskedAt) != took {
			t.Errorf("the poll took %v", took)
		}
		// The loop leaves such a Jenkins alone for nine tenths of the time, or for half a minute.
		var ticks []scaler.Tick
		loop := control.New(control.Config{
			Jenkins: client, Cluster: emptyCluster{}, Clock: clock.Real(), Log: zap.NewNop(), Instance: "bellboard", MaxAgents: 1,
			Poll: time.Second, DryRun: true, Record: func(t scaler.Tick) { ticks = append(ticks, t) },
		})
		ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
		defer stop()
		asked := j.Stats().Requests
		if err := loop.Run(ctx); err != nil {
			t.Error(err)
		}
		if asked, most := j.Stats().Requests-asked, 2*int(2*time.Minute/min(10*took, 30*time.Second)+1); len(ticks) < 3 || asked > most {
			t.Errorf("%d requests in two minutes, %d ticks, want %d requests at most", asked, len(ticks), most)
		}
		// The lock of such a queue is held for minutes. A write ends in an error and does not wait forever.
		start = time.Now()
		if err := client.Register(t.Context(), "web-e-new", webPool, time.Time{}); err == nil || time.Since(start) > 2*writeTimeout {
			t.Errorf("error %v after %v", err, time.Since(start))
		}
	})
}

// mostAllocated is how many bytes one poll may allocate.
var mostAllocated uint64 = 40 << 20

// TestLookAllocates: one poll of a large house stays within its memory.
func TestLookAllocates(t *testing.T) {
	if testing.Short() {
		t.Skip("a large house")
	}
	now := &manualClock{time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	j := largeJenkins(now, nil)
	defer j.Close()
	now.now = now.now.Add(time.Second)
	answers := map[string]string{}
	for _, path := range []string{"/computer/api/json?tree=" + computersTree, "/queue/api/json?tree=" + queueTree} {
		r := httptest.NewRequest(http.MethodGet, "http://h"+path, nil)
		r.SetBasicAuth("bellboard", "token")
		r.Header.Set("Accept-Language", "en")
		rec := httptest.NewRecorder()
		j.ServeHTTP(rec, r)
		answers[r.URL.Path] = rec.Body.String()
	}
	client, err := New(Config{
		URL: "http://h", User: "u", Instance: "bellboard", Clock: now, Token: func() (string, error) { return "t", nil },
		Transport: bodies(answers["/computer/api/json"], answers["/queue/api/json"]),
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		v, err := client.Observe(t.Context())
		runtime.ReadMemStats(&after)
		if err != nil || len(v.Items) < manyItems || len(v.Nodes) != manyNodes+1 {
			t.Fatal(err, len(v.Items), len(v.Nodes))
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > mostAllocated {
			t.Errorf("%d MB allocated, want %d at most", got>>20, mostAllocated>>20)
		}
	}
}

// TestMemoryIsBounded: the memory of the client does not grow with every node and item that ever existed.
func TestMemoryIsBounded(t *testing.T) {
	m := &memory{}
	for i := range maxRemembered + 1 {
		text := fmt.Sprint("n", i)
		it, r := item{Why: "All nodes of label ‘" + text + "’ are offline", Task: task{URL: "job/" + text}}, newResolver(m, nil)
		out := scaler.Item{Job: m.job(&it)}
		out.Resolution, out.Label, _ = r.resolve(&it, scaler.Buildable)
		m.learn(&it, &out)
		m.node(&computer{Description: text, Temporary: new(bool), Idle: new(bool)}, "bellboard")
	}
	if n := len(m.jobs) + len(m.sentences) + len(m.owners) + len(m.wanted); n != 4 {
		t.Errorf("%d entries are left of four full tables, want the last one of each", n)
	}
	own := computer{Description: scaler.Describe("bellboard", webPool.PoolID, true), Temporary: new(bool), Idle: new(bool)}
	if n := m.node(&own, "bellboard"); n.Team != "web" || n.Kind != scaler.Ephemeral || !n.Fence {
		t.Errorf("after that the owner is wrong: %+v", n)
	}
}

// TestKeepAlive: polls and writes share connections, even after a rejection.
func TestKeepAlive(t *testing.T) {
	var opened atomic.Int32
	refuse := false
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refuse = !refuse; refuse {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write(make([]byte, 100_000))
			return
		}
		good(w, r)
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	client, err := New(Config{
		URL: server.URL + "/jenkins", User: "u", Instance: "bellboard", Clock: clock.Real(), Transport: NewTransport(nil), Token: func() (string, error) { return "t", nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer closeIdle(client)
	for range 20 {
		_, _ = client.Observe(t.Context())
		_ = client.DeleteNode(t.Context(), "x", time.Time{})
	}
	if opened.Load() != 1 {
		t.Errorf("%d connections, want 1", opened.Load())
	}
}

// TestLargeAnswer: before 2.542 the sentence of each item names every node, and an answer has no bound. The
// client holds only one item of the answer in memory, and what it keeps of each item.
func TestLargeAnswer(t *testing.T) {
	if testing.Short() {
		t.Skip("a large answer")
	}
	const length, most = 150 << 20, 64 << 20
	why := strings.Repeat("‘team-e-0123456789’ is reserved for jobs with matching label expression; ", 300)
	items := []io.Reader{strings.NewReader(`{"_class":"hudson.model.Queue","items":[`)}
	n := 0
	for size := 0; size < length; n++ {
		before := fmt.Sprintf(`,{"_class":"hudson.model.Queue$BuildableItem","id":%d,"inQueueSince":1,"why":"`, n+1)
		after := fmt.Sprintf(`‘x%d’ is offline","task":{"_class":"hudson.model.FreeStyleProject","url":"http://h/job/a%d/"}}`, n, n)
		if n == 0 {
			before = before[1:]
		}
		items = append(items, strings.NewReader(before), strings.NewReader(why), strings.NewReader(after))
		size += len(before) + len(why) + len(after)
	}
	items = append(items, strings.NewReader(`]}`))
	small := bodies(twoNodes, "")
	client, err := New(Config{
		URL: "http://h", User: "u", Instance: "bellboard", Clock: clock.Real(), Token: func() (string, error) { return "t", nil },
		Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			res, err := small(r)
			if strings.Contains(r.URL.Path, "queue") {
				res.ContentLength, res.Body = -1, io.NopCloser(io.MultiReader(items...))
			}
			return res, err
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC() // frees the memory of other tests
	done, peak := make(chan struct{}), make(chan uint64)
	go func() {
		var m runtime.MemStats
		top := uint64(0)
		for {
			runtime.ReadMemStats(&m)
			top = max(top, m.HeapInuse)
			select {
			case <-done:
				peak <- top
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	v, err := client.Observe(t.Context())
	close(done)
	top := <-peak
	if err != nil || len(v.Items) != n {
		t.Errorf("%d of %d items, error %v", len(v.Items), n, err)
	}
	t.Logf("%d MiB in use at most", top>>20)
	if top > most {
		t.Errorf("%d MiB in use, want %d at most", top>>20, most>>20)
	}
}
