package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bellboard/cmd/internal/simulate"
)

// pastServer serves a Jenkins with a past by path and list, as if every tree asked for all that is there.
func pastServer(t *testing.T, answer func(path, tree string) (body string, status int)) (requests *atomic.Int64, environ []string) {
	t.Helper()
	requests = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if user, token, _ := r.BasicAuth(); user != "bell" || token != "secret" || r.Method != http.MethodGet {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		body, status := answer(strings.TrimSuffix(r.URL.Path, "/api/json"), r.URL.Query().Get("tree"))
		w.Header().Set("X-Jenkins", "2.568.1")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	return requests, []string{"BELLBOARD_JENKINS_URL=" + server.URL, "BELLBOARD_JENKINS_USER=bell", "BELLBOARD_JENKINS_TOKEN_FILE=" + file}
}

const pastNodes = `{"_class":"hudson.model.ComputerSet","computer":[{"_class":"hudson.slaves.SlaveComputer","displayName":"n1","assignedLabels":[{"name":"n1"},{"name":"linux"}]}]}`

// pastAt is when the builds of smallPast began, in milliseconds.
var pastAt = time.Now().Add(-time.Hour).UnixMilli()

// smallPast answers for two jobs, of which broken does not answer, and a pipeline. The second build of app was
// caused by the pipeline.
func smallPast(path, _ string) (string, int) {
	at := pastAt
	switch path {
	case "/computer":
		return pastNodes, 200
	case "":
		text := `{"_class":"hudson.model.Hudson","jobs":[`
		for i, name := range []string{"app", "broken", "pipe"} {
			if i > 0 {
				text += ","
			}
			text += fmt.Sprintf(`{"_class":"x","name":%q,"fullName":%q,"labelExpression":"big && linux","lastBuild":{"timestamp":%d}}`, name, name, at)
		}
		return text + "]}", 200
	case "/job/app":
		return fmt.Sprintf(`{"_class":"hudson.model.FreeStyleProject","builds":[
{"_class":"hudson.model.FreeStyleBuild","number":2,"timestamp":%d,"duration":61000,"building":false,"builtOn":"n1","actions":[
 {"_class":"hudson.model.CauseAction","causes":[{"upstreamProject":"pipe","upstreamBuild":1}]},{},
 {"_class":"jenkins.metrics.impl.TimeInQueueAction","queuingDurationMillis":7000,"buildableDurationMillis":5000,"buildableTimeMillis":5000,"executingTimeMillis":61000,"subTaskCount":0}]},
{"_class":"hudson.model.FreeStyleBuild","number":1,"timestamp":%d,"duration":30500,"building":false,"builtOn":"n1","actions":[]}]}`, at+50_000, at), 200
	case "/job/pipe":
		return fmt.Sprintf(`{"_class":"org.jenkinsci.plugins.workflow.job.WorkflowJob","builds":[
{"_class":"org.jenkinsci.plugins.workflow.job.WorkflowRun","number":1,"timestamp":%d,"duration":99000,"building":false,"actions":[{}]}]}`, at+10_000), 200
	}
	return "", 500
}

// TestHistory checks that simulate reads what history writes, plain and packed, and that a job that does not
// answer is told by name and by the exit code.
func TestHistory(t *testing.T) {
	requests, environ := pastServer(t, smallPast)
	dir := t.TempDir()
	for _, name := range []string{"", "builds.csv", "builds.csv.gz"} {
		args := []string{"history"}
		if name != "" {
			args = append(args, "--out", filepath.Join(dir, name))
		}
		requests.Store(0)
		code, stdout, stderr := bellboard(environ, args...)
		if want := `bellboard: broken is left out: jenkins is not available (status 500)
bellboard: 3 rows from 3 builds; 3 jobs seen, 5 requests
bellboard: 1 pipelines count as one use of an agent for their whole time: only with its plugin metrics does Jenkins record node blocks
bellboard: 1 other rows lack their wait, which Jenkins' plugin metrics would record
bellboard: 1 folders or jobs are left out, since Jenkins did not answer for them
`; code != exitChanges || stderr != want {
			t.Errorf("bellboard %s = %d, saying\n%s\nwant %d, saying\n%s", strings.Join(args, " "), code, stderr, exitChanges, want)
		}
		if requests.Load() != 5 {
			t.Errorf("%d requests came", requests.Load())
		}
		file := filepath.Join(dir, "stdout.csv")
		if name != "" {
			file = filepath.Join(dir, name)
		} else if err := os.WriteFile(file, []byte(stdout), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		h, err := simulate.Read(f, name)
		_ = f.Close()
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, b := range h.Builds {
			got += fmt.Sprintf("%d %d %d %s %d %s\n", b.Submitted-h.Builds[0].Submitted, b.Length, max(0, b.Started-b.Submitted), h.Labels[b.Label], b.Group, h.Jobs[b.Job])
		}
		if want := "0 30500 0 big&&linux 0 app\n10000 99000 0 (pipeline) 1 pipe\n45000 61000 5000 big&&linux 1 app\n"; got != want {
			t.Errorf("%s has\n%s\nwant\n%s", file, got, want)
		}
		if code, stdout, stderr := bellboard(nil, "simulate", file, "--scenario", "warm"); code != 0 || !strings.Contains(stdout, "3 builds in 0.0 days, 2 labels") {
			t.Errorf("bellboard simulate %s = %d, %q:\n%s", file, code, stderr, stdout)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.part")); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}

// TestHistoryFails checks that a history that cannot be had leaves the file as it was, and says why.
func TestHistoryFails(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "old.csv")
	if err := os.WriteFile(old, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, wrong := pastServer(t, smallPast)
	_, empty := pastServer(t, func(path, tree string) (string, int) {
		if path == "" {
			return `{"_class":"hudson.model.Hudson","jobs":[{"_class":"x","name":"new","fullName":"new","lastBuild":null}]}`, 200
		}
		return smallPast(path, tree)
	})
	_, blind := pastServer(t, func(path, tree string) (string, int) {
		if path == "" {
			return `{"_class":"hudson.model.Hudson","jobs":[]}`, 200
		}
		return smallPast(path, tree)
	})
	for _, tt := range []struct {
		name    string
		environ []string
		args    []string
		code    int
		says    string
	}{
		{"a wrong user", append(wrong, "BELLBOARD_JENKINS_USER=bello"), nil, exitFailed, "jenkins does not accept the user and token"},
		{"no build", empty, nil, exitFailed, "no build of the last 14 days used an agent: 1 jobs seen"},
		{"no job", blind, nil, exitFailed, "Job/Read"},
		{"no user", wrong[:1], nil, exitUsage, "BELLBOARD_JENKINS_USER"},
		{"too many days", wrong, []string{"--days", "91"}, exitUsage, "--days 91: write a number of days from 1 to 90"},
		{"no such folder", wrong, []string{"--out", filepath.Join(dir, "none", "x.csv")}, exitUsage, "--out: "},
		{"no file", wrong, []string{"--out", os.DevNull}, exitUsage, "--out: /dev/null is no file"},
		{"a file too many", wrong, []string{old}, exitUsage, old},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := append([]string{"history", "--out", old}, tt.args...)
			code, stdout, stderr := bellboard(tt.environ, args...)
			if code != tt.code || stdout != "" || !strings.Contains(stderr, tt.says) {
				t.Errorf("bellboard %s = %d, saying %q; want %d and %q", strings.Join(args, " "), code, stderr, tt.code, tt.says)
			}
		})
	}
	if text, err := os.ReadFile(old); err != nil || string(text) != "old" {
		t.Errorf("the file has %q, %v", text, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
		t.Errorf("the folder has %v", left)
	}
}

// largePast returns the answers for 3,000 jobs in 30 folders with 67 builds each in time, and an old one.
func largePast() func(path, tree string) (string, int) {
	list := func(class, name string, n int, element func(i int) string) string {
		all := make([]string, n)
		for i := range all {
			all[i] = element(i)
		}
		return fmt.Sprintf(`{"_class":%q,%q:[%s]}`, class, name, strings.Join(all, ","))
	}
	const folder = "com.cloudbees.hudson.plugins.folder.Folder"
	now := time.Now().UnixMilli()
	root := list("hudson.model.Hudson", "jobs", 30, func(i int) string {
		return fmt.Sprintf(`{"_class":%q,"name":"folder-%d","fullName":"folder-%d","jobs":[{"_class":"x","name":"y"}]}`, folder, i, i)
	})
	jobs := list(folder, "jobs", 100, func(i int) string {
		return fmt.Sprintf(`{"_class":"hudson.model.FreeStyleProject","name":"job-%d","fullName":"FOLDER/job-%d","labelExpression":"linux","lastBuild":{"timestamp":%d}}`, i, i, now-1000)
	})
	builds := list("hudson.model.FreeStyleProject", "builds", 68, func(i int) string {
		at := now - int64(i+1)*4*3600*1000
		if i == 67 {
			at -= 30 * 24 * 3600 * 1000
		}
		return fmt.Sprintf(`{"_class":"hudson.model.FreeStyleBuild","number":%d,"timestamp":%d,"duration":600000,"building":false,"builtOn":"n1","actions":[{"_class":"hudson.model.CauseAction","causes":[{"_class":"hudson.model.Cause$UpstreamCause","upstreamProject":"folder-0/job-0","upstreamBuild":%d}]},{},{"_class":"jenkins.metrics.impl.TimeInQueueAction","buildableDurationMillis":5000,"buildableTimeMillis":5000,"queuingDurationMillis":5000,"executingTimeMillis":600000,"subTaskCount":0}]}`, 68-i, at, 68-i)
	})
	return func(path, tree string) (string, int) {
		switch parts := strings.Split(path, "/job/"); {
		case path == "/computer":
			return pastNodes, 200
		case len(parts) == 1:
			return root, 200
		case len(parts) == 3:
			return builds, 200
		case strings.HasSuffix(tree, "{0,100}"):
			return strings.ReplaceAll(jobs, "FOLDER", parts[1]), 200
		}
		return list(folder, "jobs", 0, nil), 200
	}
}

// TestLargeHistory checks that 201,000 builds of 3,000 jobs take a request for each job and for each folder,
// and little memory.
func TestLargeHistory(t *testing.T) {
	requests, environ := pastServer(t, largePast())
	out := filepath.Join(t.TempDir(), "builds.csv.gz")
	done := make(chan uint64)
	stop := make(chan struct{})
	go func() { // the most that lives at once, server and all
		most := uint64(0)
		for {
			select {
			case <-stop:
				done <- most
				return
			case <-time.After(500 * time.Millisecond):
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			}
		}
	}()
	code, _, stderr := bellboard(environ, "history", "--days", "14", "--out", out)
	close(stop)
	most := <-done
	if code != 0 || !strings.Contains(stderr, "201000 rows from 201000 builds; 3000 jobs seen, 3062 requests") {
		t.Errorf("bellboard history = %d, saying %q", code, stderr)
	}
	// The nodes, the root, two pages for each folder, whose first page is full, and the jobs.
	if got := requests.Load(); got != 1+1+2*30+3000 {
		t.Errorf("%d requests came", got)
	}
	t.Logf("%d MiB at most", most>>20)
	if most > 100<<20 {
		t.Errorf("%d MiB lived at once", most>>20)
	}
}
