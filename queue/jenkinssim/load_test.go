package jenkinssim

import (
	"encoding/json"
	"math"
	"net/url"
	"testing"
	"time"
)

type shownGauge map[string]struct {
	Latest  float64
	History []float64
}

func (h *house) gauges(path, tree string) map[string]shownGauge {
	h.Helper()
	a := h.get(path + "/api/json?tree=" + url.QueryEscape(tree))
	var doc map[string]json.RawMessage
	if err := json.Unmarshal([]byte(a.body), &doc); err != nil {
		h.Fatalf("%d %v %s", a.status, err, a.body)
	}
	delete(doc, "_class")
	out := map[string]shownGauge{}
	for name, raw := range doc {
		var g shownGauge
		if err := json.Unmarshal(raw, &g); err != nil {
			h.Fatalf("%s: %v in %s", name, err, raw)
		}
		out[name] = g
	}
	return out
}

// sampled is what an average was made of: Jenkins' decay can be undone.
func sampled(history []float64) int {
	return int(math.Round((history[0] - 0.9*history[1]) / 0.1))
}

// TestLoadStatistics: every ten seconds a sample, ten per cent of the average;
// the last sample is not lost in it.
func TestLoadStatistics(t *testing.T) {
	const all = "*[*[latest,history]]"
	inBubble(t, Config{}, func(h *house) {
		h.create("n1", "", "linux docker")
		h.create("n2", "", "linux docker")
		if a := h.post("/computer/doCreateItem", nodeForm("n3", "", "mac")); a.status != 302 {
			t.Fatal(a.status)
		}
		h.BuiltIn(1, false)
		for _, l := range []string{"linux", "linux%26%26docker", "docker%26%26linux", "gone", "mac"} {
			h.gauges("/label/"+l+"/loadStatistics", all) // it begins now
		}
		h.connect("n1", "n1")
		for range 3 {
			h.Submit(Job{Name: "l", Label: "docker && linux", Duration: time.Hour})
		}
		h.Submit(Job{Name: "never", Label: "gone", Duration: time.Hour})
		h.Submit(Job{Name: "quiet", Label: "linux", QuietPeriod: time.Hour})
		time.Sleep(25 * time.Second)
		for _, tt := range []struct {
			path  string
			tells map[string]int // the last sample
		}{
			{"/overallLoad", map[string]int{
				"definedExecutors": 3, "onlineExecutors": 1, "totalExecutors": 1, "busyExecutors": 1, "idleExecutors": 0,
				"availableExecutors": 0, "connectingExecutors": 0, "queueLength": 3, "totalQueueLength": 3,
			}},
			{"/label/linux/loadStatistics", map[string]int{"definedExecutors": 2, "onlineExecutors": 1, "queueLength": 0}},
			// What is counted has the very name, whatever it means.
			{"/label/docker%26%26linux/loadStatistics", map[string]int{"definedExecutors": 2, "busyExecutors": 1, "queueLength": 2}},
			{"/label/linux%26%26docker/loadStatistics", map[string]int{"definedExecutors": 2, "queueLength": 0}},
			{"/unlabeledLoad", map[string]int{"definedExecutors": 0, "queueLength": 0}},
		} {
			got := h.gauges(tt.path, all)
			for name, want := range tt.tells {
				if s := got[name]["sec10"]; len(s.History) != 3 || sampled(s.History) != want || s.Latest != s.History[0] {
					t.Errorf("%s: %s is %+v, want a last sample of %d after two", tt.path, name, s, want)
				}
			}
		}
		// No node has the label, so nobody looks how many wait for it.
		if s := h.gauges("/label/gone/loadStatistics", all)["queueLength"]["sec10"]; len(s.History) != 1 || s.Latest != 0 {
			t.Errorf("a label without a node: %+v", s)
		}
		const body = `{"_class":"hudson.model.OverallLoadStatistics","queueLength":{"sec10":{"history":[0.5700002,0.30000007],"latest":0.5700002}}}`
		if got := h.get("/overallLoad/api/json?tree=" + url.QueryEscape("queueLength[sec10[latest,history{0,2}]]")).body; got != body {
			t.Errorf("%s, want %s", got, body)
		}
		h.want("in a label", h.get("/label/mac/api/json?tree="+url.QueryEscape("loadStatistics[onlineExecutors[min[latest]]]")).body,
			`{"_class":"hudson.model.labels.LabelAtom","loadStatistics":{"_class":"hudson.model.Label$1","onlineExecutors":{"min":{"latest":0.0}}}}`)

		time.Sleep(8 * time.Hour)
		g := h.gauges("/overallLoad", all)["definedExecutors"]
		for scale, want := range map[string]int{"sec10": 6 * 60 * 6, "min": 1 + 8*60, "hour": 1 + 8} {
			if got := len(g[scale].History); got != want {
				t.Errorf("%d averages of %s, want %d", got, scale, want)
			}
		}
		// The slower ones decay as slowly by sample: eight samples in eight hours.
		if got, want := g["hour"].Latest, 3*(1-math.Pow(0.9, 8)); math.Abs(got-want) > 1e-4 {
			t.Errorf("after eight hours the hours' average is %v, want %v", got, want)
		}
		if got := g["sec10"].Latest; math.Abs(got-3) > 1e-4 {
			t.Errorf("after eight hours the ten seconds' average is %v, want 3", got)
		}
	})
}
