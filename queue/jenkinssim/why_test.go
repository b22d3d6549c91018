package jenkinssim

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

type seenRound struct {
	Note, Lang string
	Items      []struct {
		Label, Why string
		Stuck      bool
	}
}

type queueAnswer struct {
	Items []struct {
		Class string `json:"_class"`
		ID    int64
		Why   string
		Stuck bool
		Task  struct {
			Name            string
			LabelExpression *string
		}
		Pending bool
	}
}

func (h *house) queueNow() queueAnswer {
	h.Helper()
	var q queueAnswer
	a := h.get(queueTree)
	if a.status != 200 {
		h.Fatalf("queue: %d %v", a.status, a.err)
	}
	if err := json.Unmarshal([]byte(a.body), &q); err != nil {
		h.Fatal(err)
	}
	return q
}

// TestWhyAsSeen asks for every sentence that was recorded on the real Jenkins.
func TestWhyAsSeen(t *testing.T) {
	raw, err := os.ReadFile("testdata/seen-why.json")
	if err != nil {
		t.Fatal(err)
	}
	var rounds []seenRound
	if err := json.Unmarshal(raw, &rounds); err != nil {
		t.Fatal(err)
	}
	const labels = "linux docker a b x y big größe"
	for _, round := range rounds {
		for _, pipeline := range []bool{false, true} {
			var cfg Config
			if strings.HasPrefix(round.Note, "built-in with 1") {
				cfg = Config{BuiltInExecutors: 1, BuiltInExclusive: true}
			}
			inBubble(t, cfg, func(h *house) {
				h.lang = round.Lang
				if !strings.HasPrefix(round.Note, "0 agent") {
					h.create("n1", "Bellboard berth", labels)
				}
				if !strings.HasPrefix(round.Note, "0 agent") && !strings.HasPrefix(round.Note, "1 agent") {
					h.create("n2", "Bellboard berth", labels)
				}
				// "free" was submitted last and so comes first.
				for _, it := range slices.Backward(round.Items) {
					if cfg.BuiltInExecutors > 0 && strings.Contains(it.Label, "->") {
						// The built-in node had taken these by then.
						t.Fatalf("unexpected %q", it.Label)
					}
					h.Submit(Job{Name: "w", Label: it.Label, Duration: time.Minute, Pipeline: pipeline})
				}
				time.Sleep(time.Second)
				got := h.queueNow()
				if len(got.Items) != len(round.Items) {
					h.Fatalf("%s: %d items, want %d", round.Note, len(got.Items), len(round.Items))
				}
				for i, it := range round.Items {
					if got.Items[i].Why != it.Why || got.Items[i].Stuck != it.Stuck {
						t.Errorf("%s, label %q: why = %q stuck %v, want %q %v",
							round.Note, it.Label, got.Items[i].Why, got.Items[i].Stuck, it.Why, it.Stuck)
					}
				}
			})
		}
	}
}

// TestWhyOfStates has the sentences that depend on the nodes that are online.
func TestWhyOfStates(t *testing.T) {
	const waiting = "Waiting for next available executor"
	tests := []struct {
		name  string
		setup func(h *house)
		label string
		want  string
	}{
		{"pinned to an offline node", func(h *house) { h.create("n1", "", "linux"); h.create("n2", "", "linux") }, "n1", "‘n1’ is offline"},
		{"two node names", func(h *house) { h.create("n1", "", ""); h.create("n2", "", "") }, "n1 || n2", "All nodes of label ‘n1||n2’ are offline"},
		{"one online and busy of two", func(h *house) {
			h.create("n1", "", "linux docker")
			h.create("n2", "", "linux docker")
			h.connect("n1", "n1")
			h.Submit(Job{Name: "first", Label: "linux", Duration: time.Hour})
			time.Sleep(time.Second)
		}, "linux && docker", waiting + " on ‘linux&&docker’"},
		{"the only one is busy", func(h *house) {
			h.create("n1", "", "linux")
			h.connect("n1", "n1")
			h.Submit(Job{Name: "first", Label: "linux", Duration: time.Hour})
			time.Sleep(time.Second)
		}, "linux", waiting + " on ‘n1’"},
		{"the only one is marked", func(h *house) {
			h.create("n1", "", "linux")
			h.connect("n1", "n1")
			h.mark("n1", markText)
		}, "linux", "‘n1’ is offline"},
		{"nothing asked, an exclusive agent idle", func(h *house) {
			for _, n := range []string{"b1", "b2", "w1"} {
				h.create(n, "", "linux")
			}
			h.connect("w1", "w1")
		}, "", "‘b1’ is reserved for jobs with matching label expression; ‘b2’ is reserved for jobs with matching label expression; " +
			"‘w1’ is reserved for jobs with matching label expression"},
		{"nothing asked, many exclusive agents", func(h *house) {
			for _, n := range []string{"a1", "a2", "a3", "a4", "a5", "a6", "a7"} {
				h.create(n, "", "linux")
			}
			h.connect("a1", "a1")
		}, "", strings.Repeat("‘a#’ is reserved for jobs with matching label expression; ", 5) + "... and 2 more"},
		{"quieting down", func(h *house) { h.QuietDown(true) }, "linux", "Jenkins is about to shut down"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, Config{}, func(h *house) {
				tt.setup(h)
				h.Submit(Job{Name: "j", Label: tt.label, Duration: time.Minute})
				time.Sleep(time.Second)
				want := tt.want
				for _, d := range "12345" {
					want = strings.Replace(want, "#", string(d), 1)
				}
				h.want("why", h.queueNow().Items[0].Why, want)
			})
		})
	}
}

// TestWhyOfAgentJustOnline: a new agent counts as offline until the queue is maintained. Until
// then Jenkins names the label that other nodes lack.
func TestWhyOfAgentJustOnline(t *testing.T) {
	inBubble(t, Config{}, func(h *house) {
		h.create("a1", "", "linux")
		h.create("b1", "", "linux")
		h.create("b2", "", "linux")
		h.Submit(Job{Name: "j", Label: "a1", Duration: time.Minute})
		time.Sleep(time.Second)
		h.connect("a1", "a1")
		h.want("why", h.queueNow().Items[0].Why, "‘a1’ is offline; ‘b1’ doesn’t have label ‘a1’; ‘b2’ doesn’t have label ‘a1’")
		time.Sleep(time.Second)
		h.want("queue", h.sees("a1"), " / online busy connected")
	})
}

func TestQueueStages(t *testing.T) {
	inBubble(t, Config{}, func(h *house) {
		id := h.Submit(Job{Name: "quiet", Label: "linux", Duration: time.Minute, QuietPeriod: 30 * time.Second})
		time.Sleep(500 * time.Millisecond)
		it := h.queueNow().Items[0]
		h.want("why", it.Why, "In the quiet period. Expires in 29 sec")
		h.want("class", it.Class, "hudson.model.Queue$WaitingItem")
		h.QuietDown(true)
		h.want("why while quieting down", h.queueNow().Items[0].Why, "In the quiet period. Expires in 29 sec")
		h.QuietDown(false)
		time.Sleep(30 * time.Second)
		it = h.queueNow().Items[0]
		h.want("class", it.Class, "hudson.model.Queue$BuildableItem")
		if it.ID != id {
			t.Errorf("id = %d, want %d", it.ID, id)
		}
		h.Submit(Job{Name: "serial", Serial: true, Label: "linux", Duration: time.Minute})
		h.Submit(Job{Name: "serial", Serial: true, Label: "linux", Duration: time.Minute})
		h.create("n1", "", "linux")
		h.create("n2", "", "linux")
		h.create("n3", "", "linux")
		for _, n := range []string{"n1", "n2", "n3"} {
			h.connect(n, n)
		}
		time.Sleep(time.Second)
		it = h.queueNow().Items[0]
		h.want("class", it.Class, "hudson.model.Queue$BlockedItem")
		h.want("why", it.Why, "Build #1 is already in progress (ETA: N/A)")
		time.Sleep(3 * time.Minute)
		h.want("fate", h.fate(), "quiet SUCCESS, serial SUCCESS, serial SUCCESS")
		gone := h.Submit(Job{Name: "never", Label: "nowhere"})
		if !h.Cancel(gone) || h.Cancel(gone) {
			t.Error("Cancel should work once")
		}
		if s := h.Stats(); s.Queued != 0 || s.Running != 0 || s.Succeeded != 3 || s.Cancelled != 1 {
			t.Errorf("stats = %+v", s)
		}
	})
}
