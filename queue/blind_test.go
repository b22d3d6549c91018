package queue

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bellboard/scaler/clock"
)

// TestBlind: permission Job/Read counts as missing in two cases. Either the queue is empty and two reads
// show no build on Bellboard's busy nodes, or the queue is empty and no job is visible. One of these signs
// alone means something else.
func TestBlind(t *testing.T) {
	const (
		hidden, shown, free = `[{"currentExecutable":null,"idle":false}]`, `[{"currentExecutable":{"_class":"b","number":3},"idle":false}]`, `[{"currentExecutable":null,"idle":true}]`
		ours, others        = "Bellboard: at work (bellboard instance=bellboard team=web kind=ephemeral)", "somebody's"
		waiting             = `{"_class":"hudson.model.Queue$BuildableItem","id":7,"inQueueSince":1795395095524,"why":"?","task":{"_class":"x","url":"job/a/1/"}}`
	)
	type node struct{ words, executors string }
	for name, c := range map[string]struct {
		nodes, again []node
		items        string
		blind        bool
		reads        int
	}{
		"nothing to be seen":            {[]node{{ours, hidden}, {ours, free}}, nil, "", true, 2},
		"two of them":                   {[]node{{ours, hidden}, {ours, hidden}}, nil, "", true, 2},
		"one can be seen":               {[]node{{ours, hidden}, {ours, shown}, {ours, hidden}}, nil, "", false, 1},
		"somebody waits":                {[]node{{ours, hidden}}, nil, waiting, false, 1},
		"nobody works":                  {[]node{{ours, free}}, nil, "", false, 1},
		"only others work":              {[]node{{others, hidden}, {ours, free}}, nil, "", false, 1},
		"an executor that only started": {[]node{{ours, hidden}}, []node{{ours, shown}}, "", false, 2},
		"and another after it":          {[]node{{ours, hidden}, {ours, free}}, []node{{ours, free}, {ours, hidden}}, "", false, 2},
		"not asked for":                 {[]node{{ours, `[{"idle":false}]`}}, nil, "", false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			reads := 0
			client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Jenkins", "2.568.1")
				w.Header().Set("X-Jenkins-Session", "a63ce597")
				switch r.URL.Path {
				case "/jenkins/queue/api/json":
					fmt.Fprintf(w, `{"_class":"hudson.model.Queue","items":[%s]}`, c.items)
					return
				case "/jenkins/api/json":
					fmt.Fprint(w, `{"_class":"hudson.model.Hudson","jobs":[{"_class":"x","name":"a"}]}`)
					return
				}
				nodes := c.nodes
				if reads++; reads > 1 && c.again != nil {
					nodes = c.again
				}
				var all []string
				for i, n := range nodes {
					all = append(all, fmt.Sprintf(`{"_class":"hudson.slaves.SlaveComputer","displayName":"n%d","description":"%s","idle":%v,"temporarilyOffline":false,"executors":%s}`,
						i, n.words, n.executors == free, n.executors))
				}
				fmt.Fprintf(w, `{"_class":"hudson.model.ComputerSet","computer":[%s]}`, strings.Join(all, ","))
			})
			_, err := client.Observe(t.Context())
			if errors.Is(err, ErrBlind) != c.blind || !c.blind && err != nil || reads != c.reads {
				t.Errorf("error %v after %d reads, want %d reads", err, reads, c.reads)
			}
		})
	}
}

// TestSeesJobs: with an empty queue the client asks once a minute for a job. With an item in the queue it
// does not ask.
func TestSeesJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var jobs, items string
		asked := 0
		answer := func(r *http.Request) (*http.Response, error) {
			w := httptest.NewRecorder()
			w.Header().Set("X-Jenkins", "2.568.1")
			w.Header().Set("X-Jenkins-Session", "a63ce597")
			switch r.URL.Path {
			case "/queue/api/json":
				fmt.Fprintf(w, `{"_class":"hudson.model.Queue","items":[%s]}`, items)
			case "/computer/api/json":
				fmt.Fprint(w, `{"_class":"hudson.model.ComputerSet","computer":[]}`)
			default:
				asked++
				fmt.Fprint(w, jobs)
			}
			return w.Result(), nil
		}
		client, err := New(Config{
			URL: "http://jenkins:8080", User: "bell", Instance: "bellboard", Clock: clock.Real(), Transport: roundTrip(answer),
			Token: func() (string, error) { return "token", nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		const (
			none    = `{"_class":"hudson.model.Hudson","jobs":[]}`
			one     = `{"_class":"hudson.model.Hudson","jobs":[{"_class":"x","name":"a"}]}`
			waiting = `{"_class":"hudson.model.Queue$BuildableItem","id":7,"inQueueSince":1795395095524,"why":"?","task":{"_class":"x","url":"job/a/1/"}}`
		)
		for _, step := range []struct {
			name        string
			after       time.Duration
			jobs, items string
			err         error
			asked       int
		}{
			{"nothing seen", 0, none, "", ErrBlind, 1},
			{"still nothing", time.Second, none, "", ErrBlind, 2},
			{"something waits", time.Second, none, waiting, nil, 2},
			{"a job", time.Second, one, "", nil, 3},
			{"within the minute", 59 * time.Second, none, "", nil, 3},
			{"after it", time.Second, none, "", ErrBlind, 4},
			{"no list", time.Second, "{", "", ErrNotJenkins, 5},
			{"a job again", time.Second, one, "", nil, 6},
		} {
			time.Sleep(step.after)
			jobs, items = step.jobs, step.items
			if _, err := client.Observe(t.Context()); !errors.Is(err, step.err) || asked != step.asked {
				t.Errorf("%s: %v after %d questions, want %v after %d", step.name, err, asked, step.err, step.asked)
			}
		}
	})
}
