package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"bellboard/scaler/clock"
)

type obj = map[string]any

// pastJenkins is a Jenkins that shows its past. It answers with what the tree of a request asks for, and with
// _class, as Jenkins does. The shapes are those of Jenkins 2.568, matrix-project 917, workflow-job 1571 and
// metrics 4.2, as their sources export them.
type pastJenkins struct {
	docs  map[string]obj // by escaped path
	fault func(path string, n int) int
	asked []string
}

func (j *pastJenkins) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	path := strings.TrimSuffix(r.URL.EscapedPath(), "/api/json")
	j.asked = append(j.asked, path+" "+r.URL.Query().Get("tree"))
	rec := httptest.NewRecorder()
	rec.Header().Set("X-Jenkins", "2.568.1")
	rec.Header().Set("X-Jenkins-Session", "s")
	if j.fault != nil {
		if status := j.fault(path, len(j.asked)); status != 0 {
			rec.WriteHeader(status)
			return rec.Result(), nil
		}
	}
	doc, ok := j.docs[path]
	if !ok {
		rec.WriteHeader(http.StatusNotFound)
		return rec.Result(), nil
	}
	if all, ok := doc["allBuilds"].([]any); ok {
		doc["builds"] = all[:min(100, len(all))]
	}
	tree, _ := treeOf(r.URL.Query().Get("tree"))
	if err := json.NewEncoder(rec).Encode(prune(doc, tree)); err != nil {
		return nil, err
	}
	return rec.Result(), nil
}

// asked is what a tree asks for.
type asked struct {
	kids map[string]asked
	span []int
}

var ranged = regexp.MustCompile(`^\{(\d+),(\d+)\}`)

func treeOf(s string) (w asked, rest string) {
	w.kids = map[string]asked{}
	for s != "" && s[0] != ']' {
		end := strings.IndexAny(s+",", "[]{,")
		name, kid := s[:end], asked{}
		if s = s[end:]; strings.HasPrefix(s, "[") {
			kid, s = treeOf(s[1:])
			s = strings.TrimPrefix(s, "]")
		}
		if m := ranged.FindStringSubmatch(s); m != nil {
			from, _ := strconv.Atoi(m[1])
			to, _ := strconv.Atoi(m[2])
			kid.span, s = []int{from, to}, s[len(m[0]):]
		}
		w.kids[name], s = kid, strings.TrimPrefix(s, ",")
	}
	return w, s
}

func prune(v any, w asked) any {
	switch v := v.(type) {
	case obj:
		out := obj{}
		for name, value := range v {
			if kid, ok := w.kids[name]; ok {
				out[name] = prune(value, kid)
			} else if name == "_class" {
				out[name] = value
			}
		}
		return out
	case []any:
		if w.span != nil {
			v = v[min(w.span[0], len(v)):min(w.span[1], len(v))]
		}
		out := make([]any, len(v))
		for i := range v {
			out[i] = prune(v[i], w)
		}
		return out
	}
	return v
}

var pastNow = time.UnixMilli(1_795_000_000_000)

// ago returns the time so many seconds before pastNow, in milliseconds.
func ago(seconds int64) int64 { return pastNow.UnixMilli() - seconds*1000 }

func aBuild(class string, number int, at, ms int64, more obj, actions ...any) obj {
	b := obj{"_class": class, "number": number, "timestamp": at, "duration": ms, "building": false, "result": "SUCCESS", "actions": append(actions, obj{})}
	maps.Copy(b, more)
	return b
}

func timings(buildable, queuing, buildableTime, executing, blocks int64) obj {
	return obj{
		"_class": "jenkins.metrics.impl.TimeInQueueAction", "queuingDurationMillis": queuing, "buildableDurationMillis": buildable,
		"buildableTimeMillis": buildableTime, "executingTimeMillis": executing, "subTaskCount": blocks, "waitingDurationMillis": 0,
	}
}

func causedBy(job string, number int) obj {
	return obj{"_class": "hudson.model.CauseAction", "causes": []any{
		obj{"_class": "hudson.model.Cause$UserIdCause", "userId": "a"},
		obj{"_class": "hudson.model.Cause$UpstreamCause", "upstreamProject": job, "upstreamBuild": number, "upstreamUrl": "job/x/"},
	}}
}

const (
	freeStyle      = "hudson.model.FreeStyleProject"
	freeStyleBuild = "hudson.model.FreeStyleBuild"
	pipelineJob    = "org.jenkinsci.plugins.workflow.job.WorkflowJob"
)

// add adds a job with its builds, the newest first, to a folder.
func (j *pastJenkins) add(folder, class, name, full, label string, builds ...any) {
	job := obj{"_class": class, "name": name, "fullName": full, "labelExpression": nil, "lastBuild": nil, "allBuilds": builds}
	if label != "" {
		job["labelExpression"] = label
	}
	if len(builds) > 0 {
		job["lastBuild"] = builds[0]
	}
	j.docs[folder+"/job/"+url.PathEscape(name)] = job
	j.docs[folder]["jobs"] = append(j.docs[folder]["jobs"].([]any), job)
}

func (j *pastJenkins) folder(in, class, name, full string) {
	f := obj{"_class": class, "name": name, "fullName": full, "jobs": []any{}}
	j.docs[in+"/job/"+name] = f
	j.docs[in]["jobs"] = append(j.docs[in]["jobs"].([]any), f)
}

func newPast() *pastJenkins {
	node := func(class, name string, labels ...string) any {
		all := []any{obj{"name": name}}
		for _, l := range labels {
			all = append(all, obj{"name": l})
		}
		return obj{"_class": class, "displayName": name, "assignedLabels": all}
	}
	return &pastJenkins{docs: map[string]obj{
		"": {"_class": "hudson.model.Hudson", "jobs": []any{}},
		"/computer": {"_class": "hudson.model.ComputerSet", "computer": []any{
			node("hudson.model.Hudson$MasterComputer", "Built-In Node", "built-in"), node("hudson.slaves.SlaveComputer", "n1", "linux", "docker"), node("hudson.slaves.SlaveComputer", "n2"),
		}},
	}}
}

// read reads the builds of the last hour before pastNow.
func (j *pastJenkins) read(t *testing.T, change ...func(*Reading)) (all []Past, r Reading, err error) {
	t.Helper()
	c, err := New(Config{
		URL: "http://jenkins", User: "bell", Token: func() (string, error) { return "token", nil }, Transport: j, Clock: clock.Real(),
	})
	if err != nil {
		t.Fatal(err)
	}
	r = Reading{
		Since:    pastNow.Add(-time.Hour),
		Past:     func(p Past) error { all = append(all, p); return nil },
		Failed:   func(name string, err error) { t.Errorf("%s could not be read: %v", name, err) },
		Progress: func(int, int, string) {},
	}
	for _, f := range change {
		f(&r)
	}
	err = c.History(t.Context(), &r)
	return all, r, err
}

// use returns a use as a line.
func (u Use) line() string {
	began := "?"
	if !u.Started.IsZero() {
		began = fmt.Sprint(u.Started.Sub(pastNow))
	}
	return fmt.Sprintf("%s %s came %s began %s ran %s", u.Job, u.Label, u.Submitted.Sub(pastNow), began, u.Length)
}

func lines(all []Past) (out []string) {
	for _, p := range all {
		line := fmt.Sprintf("%s#%d", p.Job, p.Number)
		if p.Up.Job != "" {
			line += fmt.Sprintf(" by %s#%d", p.Up.Job, p.Up.Number)
		}
		for _, u := range p.Uses {
			line += "\n  " + u.line()
		}
		out = append(out, line)
	}
	return out
}

// TestHistoryKinds checks the uses of each kind of build: times, labels, causes, and what is left out.
func TestHistoryKinds(t *testing.T) {
	j := newPast()
	j.add("", freeStyle, "app", "app", "linux && docker",
		aBuild(freeStyleBuild, 9, ago(5), 0, obj{"building": true, "builtOn": "n1"}),
		aBuild(freeStyleBuild, 8, ago(100), 30_000, obj{"builtOn": "gone"}, causedBy("up", 3), timings(4_000, 9_000, 4_000, 30_000, 0)),
		aBuild(freeStyleBuild, 7, ago(200), 20_000, obj{"builtOn": "n2"}),
		aBuild(freeStyleBuild, 6, ago(3601), 20_000, obj{"builtOn": "n1"}))
	j.add("", freeStyle, "roams", "roams", "",
		aBuild(freeStyleBuild, 4, ago(50), 1_000, obj{"builtOn": "n1"}), aBuild(freeStyleBuild, 3, ago(60), 1_000, obj{"builtOn": "n2"}),
		aBuild(freeStyleBuild, 2, ago(70), 1_000, obj{"builtOn": ""}), aBuild(freeStyleBuild, 1, ago(80), 1_000, obj{"builtOn": "gone"}))
	j.add("", freeStyle, "old", "old", "linux", aBuild(freeStyleBuild, 1, ago(9999), 1_000, obj{"builtOn": "n1"}))
	j.add("", freeStyle, "never", "never", "linux")
	j.add("", "hudson.model.ExternalJob", "outside", "outside", "", aBuild("hudson.model.ExternalRun", 1, ago(40), 1_000, nil, causedBy("app", 8)))
	run := func(cell string, number int, ms int64, node string, actions ...any) any {
		return aBuild("hudson.matrix.MatrixRun", number, ago(300), ms, obj{"builtOn": node, "url": fmt.Sprintf("http://elsewhere/job/matrix/%s/%d/", cell, number)}, actions...)
	}
	j.add("", classMatrixProject, "matrix", "matrix", "small",
		aBuild(classMatrixBuild, 5, ago(300), 90_000, obj{"builtOn": "", "runs": []any{
			run("OS=linux,JDK=a%20b", 5, 60_000, "n1", timings(10_000, 15_000, 10_000, 60_000, 0)), run("OS=mac", 5, 50_000, "gone"), run("OS=skipped", 4, 1, "n1"),
		}}, causedBy("app", 7)))
	j.folder("", "com.cloudbees.hudson.plugins.folder.Folder", "team", "team")
	j.folder("/job/team", "org.jenkinsci.plugins.workflow.multibranch.WorkflowMultiBranchProject", "service", "team/service")
	j.add("/job/team/job/service", pipelineJob, "feature%2Fx", "team/service/feature%2Fx", "",
		aBuild(classWorkflowRun, 5, ago(400), 100_000, nil, timings(2, 9, 10_002, 90_000, 1)),
		aBuild(classWorkflowRun, 4, ago(500), 90_000, nil, timings(0, 0, 0, 60_000, 3)),
		aBuild(classWorkflowRun, 3, ago(600), 100_000, nil, timings(0, 0, 20_000, 192_000, 2)),
		aBuild(classWorkflowRun, 2, ago(700), 100_000, nil, timings(0, 0, 0, 100_000, 0)),
		aBuild(classWorkflowRun, 1, ago(800), 100_000, nil))

	all, r, err := j.read(t)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"app#9",
		"app#8 by up#3\n  app linux&&docker came -1m44s began -1m40s ran 30s",
		"app#7\n  app linux&&docker came -3m20s began ? ran 20s",
		"matrix#5 by app#7\n  matrix/OS=linux,JDK=a b docker&&linux came -4m55s began -4m45s ran 1m0s\n  matrix/OS=mac (gone) came -5m0s began ? ran 50s",
		"outside#1 by app#8",
		"roams#4\n  roams docker&&linux came -50s began ? ran 1s",
		"roams#3\n  roams n2 came -1m0s began ? ran 1s",
		"roams#2\n  roams (built-in) came -1m10s began ? ran 1s",
		"roams#1\n  roams (gone) came -1m20s began ? ran 1s",
		"team/service/feature%2Fx#5\n  team/service/feature%2Fx (pipeline) came -6m40s began -6m30s ran 1m30s",
		"team/service/feature%2Fx#4\n  team/service/feature%2Fx (pipeline) came -8m20s began -8m20s ran 20s\n  team/service/feature%2Fx (pipeline) came -7m45s began -7m45s ran 20s\n  team/service/feature%2Fx (pipeline) came -7m10s began -7m10s ran 20s",
		"team/service/feature%2Fx#3\n  team/service/feature%2Fx (pipeline) came -10m0s began -9m50s ran 1m36s\n  team/service/feature%2Fx (pipeline) came -10m0s began -9m50s ran 1m36s",
		"team/service/feature%2Fx#2",
		"team/service/feature%2Fx#1\n  team/service/feature%2Fx (pipeline) came -13m20s began ? ran 1m40s",
	}
	if diff := cmp.Diff(want, lines(all)); diff != "" {
		t.Errorf("the past differs (-want +got):\n%s", diff)
	}
	counts := Reading{Jobs: 7, Requests: 1 + 3 + 5, Builds: 12, Running: 1, Other: 1, Whole: 1, Untimed: 7, Unlabelled: 2}
	r.Since, r.Past, r.Failed, r.Progress = time.Time{}, nil, nil, nil
	if diff := cmp.Diff(counts, r); diff != "" {
		t.Errorf("the counts differ (-want +got):\n%s", diff)
	}
	if !slices.ContainsFunc(j.asked, func(s string) bool {
		return strings.HasPrefix(s, "/job/team/job/service/job/feature%252Fx builds[")
	}) {
		t.Errorf("the branch was not asked by its address:\n%s", strings.Join(j.asked, "\n"))
	}
}

// TestHistoryIsBounded checks that no number in an answer makes a history that simulate would not read, or
// fills the memory.
func TestHistoryIsBounded(t *testing.T) {
	j := newPast()
	j.add("", pipelineJob, "pipe", "pipe", "", aBuild(classWorkflowRun, 2, ago(100), 1_000_000, nil, timings(0, 0, 0, 1, 1<<40)),
		aBuild(classWorkflowRun, 1, ago(100), 1_000_000, nil, timings(0, 0, 0, 1, -1)))
	j.add("", freeStyle, "app", "app", "linux", aBuild(freeStyleBuild, 2, ago(1), 1<<62, obj{"builtOn": ""}), aBuild(freeStyleBuild, 1, ago(1), -5, obj{"builtOn": ""}))
	all, _, err := j.read(t)
	if err != nil || len(all) != 4 {
		t.Fatalf("%d builds, %v", len(all), err)
	}
	if a, b := all[0].Uses[0].Length, all[1].Uses[0].Length; a != longestUse || b != 0 {
		t.Errorf("the builds ran %s and %s", a, b)
	}
	if a, b := len(all[2].Uses), len(all[3].Uses); a != mostUses || b != 0 {
		t.Errorf("the pipelines have %d and %d uses", a, b)
	}
	if last := all[2].Uses[mostUses-1].Submitted.Sub(all[2].Uses[0].Submitted); last > 1_000*time.Second || last < 999*time.Second {
		t.Errorf("the last use came %s after the first", last)
	}
}

// manyBuilds returns builds that began one second after another.
func manyBuilds(n int) (all []any) {
	for i := n; i > 0; i-- {
		all = append(all, aBuild(freeStyleBuild, i, ago(int64(n-i+1)), 1_000, obj{"builtOn": "n1"}))
	}
	return all
}

// TestHistoryPages checks that long lists are read in pages, each build once, although builds begin
// meanwhile; and that Jenkins has to load all builds of a job only if the last hundred are not enough.
func TestHistoryPages(t *testing.T) {
	j := newPast()
	for i := range 250 {
		j.add("", freeStyle, fmt.Sprintf("job%03d", i), fmt.Sprintf("job%03d", i), "linux")
	}
	j.add("", freeStyle, "busy", "busy", "linux", manyBuilds(230)...)
	j.add("", freeStyle, "quiet", "quiet", "linux", append(manyBuilds(99), aBuild(freeStyleBuild, 0, ago(4000), 1_000, obj{"builtOn": "n1"}))...)
	j.fault = func(path string, n int) int {
		if path == "/job/busy" {
			all := j.docs[path]["allBuilds"].([]any)
			j.docs[path]["allBuilds"] = append([]any{aBuild(freeStyleBuild, 230+n, ago(0), 1_000, obj{"builtOn": "n1"})}, all...)
		}
		return 0
	}
	all, r, err := j.read(t)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[Run]int{}
	for _, p := range all {
		seen[p.Run]++
	}
	for i := 1; i <= 230; i++ {
		if n := seen[Run{"busy", i}]; n != 1 {
			t.Fatalf("build %d of busy is there %d times", i, n)
		}
	}
	if r.Jobs != 252 || len(seen) != len(all) || len(all) != 231+99 {
		t.Errorf("%d jobs, %d builds, %d different", r.Jobs, len(all), len(seen))
	}
	var got []string
	for _, s := range j.asked[1:] {
		path, tree, _ := strings.Cut(s, " ")
		list, _, _ := strings.Cut(tree, "[")
		got = append(got, path+" "+list+tree[strings.LastIndexByte(tree, '{'):])
	}
	want := []string{
		" jobs{0,100}", " jobs{100,200}", " jobs{200,300}", " jobs{300,400}",
		"/job/busy builds{0,100}", "/job/busy allBuilds{100,200}", "/job/busy allBuilds{200,300}", "/job/quiet builds{0,100}",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the requests differ (-want +got):\n%s", diff)
	}
}

// TestHistoryWithout checks that a folder, a job and a page that cannot be read are told, and that the rest
// is read. A job of which one page is missing has no build at all.
func TestHistoryWithout(t *testing.T) {
	j := newPast()
	j.folder("", "com.cloudbees.hudson.plugins.folder.Folder", "shut", "shut")
	for _, name := range []string{"a", "b", "c", "d", "e", "z"} {
		j.add("", freeStyle, name, name, "linux", manyBuilds(1)...)
	}
	j.add("", freeStyle, "half", "half", "linux", manyBuilds(150)...)
	delete(j.docs, "/job/b") // a person removed it meanwhile
	j.fault = func(path string, _ int) int {
		switch {
		case path == "/job/shut":
			return http.StatusForbidden
		case path == "/job/c", path == "/job/d", path == "/job/e": // three in a row are no reason to stop
			return http.StatusInternalServerError
		case path == "/job/half" && strings.Contains(j.asked[len(j.asked)-1], "allBuilds"):
			return http.StatusInternalServerError
		}
		return 0
	}
	failed := map[string]error{}
	all, _, err := j.read(t, func(r *Reading) { r.Failed = func(name string, err error) { failed[name] = err } })
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(failed)); !slices.Equal(got, []string{"b", "c", "d", "e", "half", "shut"}) {
		t.Errorf("told of %v", got)
	}
	if got := lines(all); len(got) != 2 || !strings.HasPrefix(got[0], "a#1") || !strings.HasPrefix(got[1], "z#1") {
		t.Errorf("read %q", got)
	}
	if !errors.Is(failed["c"], ErrUnavailable) {
		t.Errorf("job c: %v", failed["c"])
	}
}

// TestHistoryThroughRestart checks that a Jenkins that is away for half a minute costs no job, and that one
// that stays away ends the reading.
func TestHistoryThroughRestart(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		away   time.Duration
		want   error
	}{
		{"503 for half a minute", http.StatusServiceUnavailable, 30 * time.Second, nil},
		{"the token is not known yet", http.StatusUnauthorized, 10 * time.Second, nil},
		{"503 for good", http.StatusServiceUnavailable, time.Hour, errGone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := newPast()
				for i := range 20 {
					j.add("", freeStyle, fmt.Sprint(i), fmt.Sprint(i), "linux", manyBuilds(1)...)
				}
				var from time.Time
				j.fault = func(_ string, n int) int {
					if n == 8 {
						from = time.Now()
					}
					if n >= 8 && time.Since(from) < tt.away {
						return tt.status
					}
					return 0
				}
				all, r, err := j.read(t)
				if !errors.Is(err, tt.want) || tt.want == nil && err != nil {
					t.Fatalf("the reading ends with %v, want %v", err, tt.want)
				}
				if tt.want == nil && len(all) != 20 {
					t.Errorf("%d of 20 builds", len(all))
				}
				if r.Requests > 40 {
					t.Errorf("%d requests", r.Requests)
				}
			})
		})
	}
}

// TestHistoryEndsAtOnce checks that a Jenkins that cannot be read at all is no empty history, and is not
// waited for.
func TestHistoryEndsAtOnce(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		want   error
	}{
		{"a wrong token", http.StatusUnauthorized, ErrUnauthorized},
		{"no Overall/Read", http.StatusForbidden, ErrForbidden},
		{"away from the start", http.StatusServiceUnavailable, ErrUnavailable},
		{"no Job/Read", 0, ErrBlind},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j, began := newPast(), time.Now()
				j.fault = func(string, int) int { return tt.status }
				if _, _, err := j.read(t); !errors.Is(err, tt.want) || time.Since(began) > 0 {
					t.Errorf("the reading ends with %v after %s, want %v at once", err, time.Since(began), tt.want)
				}
			})
		})
	}
}

// TestHistoryIsStopped checks that a reading ends with the context or with an error of its caller, and blames
// no job.
func TestHistoryIsStopped(t *testing.T) {
	j := newPast()
	for i := range 9 {
		j.add("", freeStyle, fmt.Sprint(i), fmt.Sprint(i), "linux", manyBuilds(1)...)
	}
	full := errors.New("full")
	all, _, err := j.read(t, func(r *Reading) { r.Past = func(Past) error { return full } })
	if !errors.Is(err, full) || len(all) > 0 {
		t.Errorf("the reading ends with %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c, err := New(Config{URL: "http://jenkins", User: "bell", Token: func() (string, error) { return "token", nil }, Transport: j, Clock: clock.Real()})
	if err != nil {
		t.Fatal(err)
	}
	j.asked = nil
	err = c.History(ctx, &Reading{
		Since: pastNow.Add(-time.Hour), Past: func(Past) error { cancel(); return nil },
		Failed: func(name string, err error) { t.Errorf("%s is blamed: %v", name, err) }, Progress: func(int, int, string) {},
	})
	if !errors.Is(err, context.Canceled) || len(j.asked) > 4 {
		t.Errorf("the reading ends with %v after %d requests", err, len(j.asked))
	}
}
