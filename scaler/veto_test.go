package scaler

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// stage simulates Jenkins and Kubernetes for Decide, one second at a time. An agent that is created is free
// three seconds later. take says whether Jenkins gives an agent an item of that label.
type stage struct {
	t       *testing.T
	in      Input
	take    func(agent string, pod *Pod, label string) bool
	created int
	last    Plan
	refused int
	words   string // a plugin's words on the veto
	late    bool   // Jenkins nodes are seen at work one tick after their items left the queue
	begun   []string
	ids     int64 // the last queue id
}

func (s *stage) run(d time.Duration) {
	s.t.Helper()
	for end := s.in.Now.Add(d); s.in.Now.Before(end); {
		s.assign()
		if s.words != "" {
			s.speak(s.words)
		}
		plan, memory, facts := Decide(s.in)
		if err := plan.Validate(s.in); err != nil {
			s.t.Fatalf("at %s: %v", s.in.Now.Sub(noon), err)
		}
		s.last, s.in.Memory = plan, memory
		for _, f := range facts.Failures {
			if f.Failure == FailureVetoed {
				s.refused++
			}
		}
		for _, a := range plan.Actions {
			switch a.Verb { //nolint:exhaustive // the others change nothing here
			case Create:
				s.created++
				name := s.in.agent(a.Pool.Team, a.Pool.Kind, fmt.Sprintf("new%07d", s.created), coming)
				pod := &s.in.Cluster.Pods[len(s.in.Cluster.Pods)-1]
				pod.Name, pod.Created, pod.Scheduled = name, s.in.Now, s.in.Now
			case Mark:
				s.node(a.Agent).OfflineBy = Ours
			case DeletePod:
				s.in.Cluster.Pods = slices.DeleteFunc(s.in.Cluster.Pods, func(p Pod) bool { return p.Name == a.Agent })
				s.node(a.Agent).Online = false
			case DeleteNode:
				s.in.Jenkins.Nodes = slices.DeleteFunc(s.in.Jenkins.Nodes, func(n Node) bool { return n.Name == a.Agent })
			}
		}
		s.in.Now = s.in.Now.Add(time.Second)
		s.in.Jenkins.AskedAt, s.in.Jenkins.AnsweredAt, s.in.Cluster.At = s.in.Now.Add(-100*time.Millisecond), s.in.Now, s.in.Now
		for i := range s.in.Cluster.Pods {
			if pod := &s.in.Cluster.Pods[i]; !pod.Connected && s.in.Now.Sub(pod.Created) >= 3*time.Second {
				pod.Connected = true
				s.node(pod.Name).Online = true
			}
		}
	}
}

func (s *stage) node(name string) *Node {
	for i := range s.in.Jenkins.Nodes {
		if s.in.Jenkins.Nodes[i].Name == name {
			return &s.in.Jenkins.Nodes[i]
		}
	}
	return nil
}

func (s *stage) assign() {
	for _, name := range s.begun {
		n := s.node(name)
		n.Idle, n.Busy = false, 1
	}
	s.begun = nil
	for i := range s.in.Cluster.Pods {
		pod := &s.in.Cluster.Pods[i]
		n := s.node(pod.Name)
		if !n.Online || !n.Idle || n.OfflineBy != NotMarked {
			continue
		}
		for j := range s.in.Jenkins.Items {
			if s.take != nil && s.take(n.Name, pod, s.in.Jenkins.Items[j].Label) {
				if s.late {
					s.begun = append(s.begun, n.Name)
				} else {
					n.Idle, n.Busy = false, 1
				}
				s.in.Jenkins.Items = append(s.in.Jenkins.Items[:j:j], s.in.Jenkins.Items[j+1:]...)
				break
			}
		}
	}
}

func (s *stage) text() string { return reasons(s.last)["web"] }

// submit adds n new items of that label.
func (s *stage) submit(n int, label string) {
	first := len(s.in.Jenkins.Items)
	s.in.wait(n, label, 0)
	for i := range s.in.Jenkins.Items[first:] {
		s.ids++
		it := &s.in.Jenkins.Items[first+i]
		it.ID, it.Since = 1000+s.ids, s.in.Now
	}
}

// speak lets Jenkins repeat a plugin's words on each item while there is an agent to refuse.
func (s *stage) speak(words string) {
	why := "All nodes of label ‘linux’ are offline"
	for i := range s.in.Jenkins.Nodes {
		if n := &s.in.Jenkins.Nodes[i]; n.Online && n.Idle && n.OfflineBy == NotMarked {
			why = words
		}
	}
	for i := range s.in.Jenkins.Items {
		s.in.Jenkins.Items[i].Why = why
	}
}

func unlabelled(t *Team) {
	for i := range t.Pools {
		t.Pools[i].Unlabelled = true
	}
}

// keep keeps idle agents from leaving, which other tests check.
func keep(t *Team) {
	for i := range t.Pools {
		t.Pools[i].IdleTimeout = time.Hour
	}
}

func TestRefused(t *testing.T) {
	t.Run("all agents that fit are refused: one more is tried, then none", func(t *testing.T) {
		s := &stage{t: t, in: newHouse(web(keep))}
		s.in.agent("web", Ephemeral, "old")
		s.in.wait(3, "linux", time.Minute)
		s.run(15 * time.Second)
		if s.created != 2 {
			t.Fatalf("%d agents were made at first, want 2: three items, one agent is free", s.created)
		}
		s.run(9 * time.Minute)
		if s.created != 3 || s.refused != 4 {
			t.Errorf("%d agents were made and %d refused, want 3 (one more to see) and 4", s.created, s.refused)
		}
		if want := "blocked: Jenkins gives \"linux\" to no agent that fits: Waiting for next available executor on ‘linux’"; s.text() != want {
			t.Errorf("the team says %q, want %q", s.text(), want)
		}
		if d := s.last.Decisions[0]; d.Vetoed != 3 || d.Waiting != 3 || d.Short != 3 {
			t.Errorf("the decision counts %d waiting, %d short, %d refused, want 3 each", d.Waiting, d.Short, d.Vetoed)
		}
		if n := s.in.Memory.Teams["web"].Demand; n != 0 {
			t.Errorf("the history has a demand of %d, want 0: no agent would serve them", n)
		}
		s.run(2 * time.Minute)
		if s.created != 4 {
			t.Errorf("%d agents were made after it was forgotten, want one more try: 4", s.created)
		}
	})
	for _, label := range []string{"linux", ""} {
		t.Run("a fresh agent serves: an agent for each item, "+cmp.Or(label, "without a label"), func(t *testing.T) {
			s := &stage{t: t, in: newHouse(web(keep, unlabelled))}
			old := s.in.agent("web", Ephemeral, "old")
			s.take = func(agent string, _ *Pod, _ string) bool { return agent != old }
			s.in.wait(1, label, time.Minute)
			s.run(17 * time.Second)
			if s.created != 1 {
				t.Fatalf("%d agents were made, want one to see", s.created)
			}
			s.in.wait(5, label, time.Minute)
			s.run(10 * time.Second) // one agent connects after three seconds, and then all others at once
			if len(s.in.Jenkins.Items) != 0 || s.created != 6 {
				t.Errorf("%d items wait after %d agents were made, want 0 and 6: the old one does not count", len(s.in.Jenkins.Items), s.created)
			}
		})
	}
	t.Run("a static agent that takes nothing", func(t *testing.T) {
		s := &stage{t: t, in: newHouse(web(keep))}
		s.in.Jenkins.Nodes = append(s.in.Jenkins.Nodes, Node{Name: "static", Labels: []string{"linux"}, Online: true, Executors: 2, Idle: true})
		s.in.wait(1, "linux", time.Minute)
		s.take = func(string, *Pod, string) bool { return true }
		s.run(14 * time.Second)
		if s.created != 0 {
			t.Fatalf("%d agents were made while the static node may take the item, want 0", s.created)
		}
		s.run(10 * time.Second)
		if s.created != 1 || len(s.in.Jenkins.Items) != 0 {
			t.Errorf("%d agents were made and %d items wait, want 1 and 0", s.created, len(s.in.Jenkins.Items))
		}
	})
	t.Run("only that label", func(t *testing.T) {
		s := &stage{t: t, in: newHouse(web(keep))}
		s.in.agent("web", Ephemeral, "old")
		s.in.wait(1, "linux&&ephemeral", time.Minute)
		s.run(20 * time.Second) // Jenkins refuses it, and another agent is tried
		s.in.Jenkins.Items = nil
		s.in.wait(2, "linux", 0)
		made := s.created
		s.run(time.Second)
		if s.created != made {
			t.Errorf("%d agents were made for two items of another label, want none: two are free", s.created-made)
		}
	})
	t.Run("items that come and go", func(t *testing.T) {
		s := &stage{t: t, in: newHouse(web(keep))}
		s.in.agent("web", Ephemeral, "old")
		for range 40 { // somebody else takes each item at once
			s.in.Jenkins.Items = nil
			s.in.wait(1, "linux", 0)
			s.in.Jenkins.Items[0].ID = 1000 + s.in.Now.Unix()
			s.run(time.Second)
		}
		if s.refused != 0 || s.created != 0 {
			t.Errorf("%d refused, %d made, want none: no item has waited long", s.refused, s.created)
		}
	})
	t.Run("a slow Jenkins refuses no agent", func(t *testing.T) {
		s := &stage{t: t, in: newHouse(web(keep, func(tm *Team) { tm.MaxAgents = 400 }))}
		s.in.MaxAgents = 1000
		s.in.wait(100, "linux", time.Minute)
		last, places := noon, 0
		s.take = func(string, *Pod, string) bool { // every 20 s Jenkins starts ten items
			if s.in.Now.Sub(last) >= 20*time.Second {
				last, places = s.in.Now, 10
			}
			places--
			return places >= 0
		}
		s.run(5 * time.Minute)
		if len(s.in.Jenkins.Items) != 0 || s.created > 101 {
			t.Errorf("%d builds wait after five minutes, and %d agents were made for 100, want 0 and no more than one to see", len(s.in.Jenkins.Items), s.created)
		}
	})
	t.Run("one build is vetoed, the others of its label are not", func(t *testing.T) {
		s := &stage{t: t, in: newHouse(pets(keep, func(tm *Team) { tm.MaxAgents, tm.MaxPersistent = 100, 100 }))}
		s.in.agent("web", Persistent, "old")
		s.in.wait(1, "linux", time.Minute)
		vetoed := s.in.Jenkins.Items[0]
		for range 20 {
			s.run(18 * time.Second)
			// An item comes, and this agent gets it at once.
			taker := s.in.Jenkins.Nodes[len(s.in.Jenkins.Nodes)-1].Name
			s.in.wait(1, "linux", 0)
			s.in.Jenkins.Items[1].ID = s.in.Now.Unix()
			s.run(time.Second)
			s.node(taker).Idle, s.node(taker).Busy = false, 1
			s.in.Jenkins.Items = []Item{vetoed}
			s.run(10 * time.Second)
			s.node(taker).Idle, s.node(taker).Busy = true, 0
		}
		if s.created > 5 {
			t.Errorf("%d agents were made for one build that is vetoed for ten minutes, want one in five minutes to see, and few for the others", s.created)
		}
	})
	t.Run("agents at work have room, and are not given it", func(t *testing.T) {
		s := &stage{t: t, in: newHouse(pets(keep, func(tm *Team) { tm.Pools[0].Executors = 2 }))}
		s.in.agent("web", Persistent, "old", busy, func(p *Pair) { p.Node.Executors = 2 })
		s.in.wait(1, "linux", time.Minute) // throttled to one build on each Jenkins node
		s.run(14 * time.Second)
		if s.created != 0 {
			t.Fatalf("%d agents were made while Jenkins may give the build to the agent that has room, want 0", s.created)
		}
		s.run(10 * time.Second)
		if s.created != 1 {
			t.Errorf("%d agents were made, want 1: the agent that has room does not get the build", s.created)
		}
	})
	t.Run("each agent gets one build, though it has room for two", func(t *testing.T) {
		s := &stage{t: t, in: newHouse(pets(keep, func(tm *Team) { tm.MaxAgents, tm.MaxPersistent, tm.Pools[0].Executors = 100, 100, 2 }))}
		s.in.wait(20, "linux", time.Minute)
		s.take = func(string, *Pod, string) bool { return true }
		if s.run(3 * time.Minute); len(s.in.Jenkins.Items) != 0 || s.created > 21 {
			t.Errorf("%d builds wait and %d agents were made for 20, want none and one for each", len(s.in.Jenkins.Items), s.created)
		}
	})
	t.Run("an agent that was tried got another build first, and proves nothing", func(t *testing.T) {
		s := &stage{t: t, in: newHouse(pets(keep, func(tm *Team) { tm.Pools[0].Executors = 2 }))}
		s.in.agent("web", Persistent, "old", busy)
		s.in.wait(1, "linux", time.Minute)
		s.run(18 * time.Second)
		if s.created != 1 {
			t.Fatalf("%d agents were made, want one to see", s.created)
		}
		s.run(2 * time.Second)
		tried := &s.in.Jenkins.Nodes[len(s.in.Jenkins.Nodes)-1]
		tried.Idle, tried.Busy = false, 1
		if s.run(20 * time.Second); s.created != 2 {
			t.Errorf("%d agents were made, want another: 2", s.created)
		}
	})
	t.Run("a refused agent has gone unused, and others are served", func(t *testing.T) {
		s := &stage{t: t, in: newHouse(web(keep))}
		var old []string
		for _, random := range []string{"a", "b", "c", "d", "e"} {
			old = append(old, s.in.agent("web", Ephemeral, random))
		}
		s.take = func(agent string, _ *Pod, _ string) bool { return !slices.Contains(old, agent) }
		s.in.wait(1, "linux", time.Minute)
		s.run(17 * time.Second)
		s.in.Cluster.Pods = slices.DeleteFunc(s.in.Cluster.Pods, func(p Pod) bool { return p.Name == old[0] })
		s.in.Jenkins.Nodes = slices.DeleteFunc(s.in.Jenkins.Nodes, func(n Node) bool { return n.Name == old[0] })
		s.in.wait(5, "linux", 0)
		s.run(10 * time.Second)
		if len(s.in.Jenkins.Items) != 0 {
			t.Errorf("%d builds wait, want none: that one left does not mean that the other four are given work", len(s.in.Jenkins.Items))
		}
	})
}

// TestVetoForHours: a plugin vetoes builds for hours. Bellboard tries one agent after each pause, and the
// pauses grow. The plugin's words are shown all that time. As soon as an agent gets one of the builds, each
// build gets an agent.
func TestVetoForHours(t *testing.T) {
	const builds, words = 20, "‘b1’ is offline; Already running 1 builds on node"
	vetoed := func(t *testing.T) *stage {
		s := &stage{t: t, in: newHouse(web(func(tm *Team) { tm.MaxAgents = 100 })), words: words}
		s.in.wait(builds, "linux", 0)
		s.run(time.Minute)
		if s.created != builds+1 {
			t.Fatalf("%d agents were made at first, want one for each build and one to see: %d", s.created, builds+1)
		}
		for range 3*60 - 1 {
			s.run(time.Minute)
			if !strings.Contains(s.text(), words) {
				t.Fatalf("after %s the team says %q, want %q", s.in.Now.Sub(noon), s.text(), words)
			}
		}
		if most := builds + 1 + 4; s.created > most || s.created < builds+3 {
			t.Fatalf("%d agents were made in three hours, want one after 10, 30, 70 and 150 minutes: %d", s.created, most)
		}
		return s
	}
	ends := func(s *stage) (served time.Duration) {
		s.take = func(string, *Pod, string) bool { return true }
		began := s.in.Now
		for len(s.in.Jenkins.Items) == builds {
			s.run(time.Second)
			if s.in.Now.Sub(began) > VetoMost {
				s.t.Fatal("no agent was made in the longest pause")
			}
		}
		served = s.in.Now.Sub(began)
		if s.run(10 * time.Second); len(s.in.Jenkins.Items) != 0 {
			s.t.Errorf("%d builds wait ten seconds after the first was served, want none: the veto is over", len(s.in.Jenkins.Items))
		}
		return served
	}
	t.Run("the next trial shows that it is over", func(t *testing.T) {
		s := vetoed(t)
		ends(s)
	})
	t.Run("its agent is seen at work a look later", func(t *testing.T) {
		s := vetoed(t)
		s.late = true
		ends(s)
	})
	t.Run("another agent shows it", func(t *testing.T) {
		s := vetoed(t)
		s.in.agent("web", Ephemeral, "other")
		if served := ends(s); served > time.Minute {
			t.Errorf("the first build was served after %s", served)
		}
	})
	t.Run("a build that comes meanwhile is not vetoed", func(t *testing.T) {
		s := vetoed(t)
		made := s.created
		s.submit(1, "linux")
		mine := s.in.Jenkins.Items[builds].ID
		s.take = func(string, *Pod, string) bool {
			last := &s.in.Jenkins.Items[len(s.in.Jenkins.Items)-1]
			if last.ID == mine { // moved to the front, which the stage removes
				s.in.Jenkins.Items[0], *last = *last, s.in.Jenkins.Items[0]
				return true
			}
			return false
		}
		s.run(5 * time.Minute)
		if len(s.in.Jenkins.Items) != builds || s.created != made+1 {
			t.Errorf("%d builds wait, and %d agents were made for the build that came; want the %d that are vetoed, and 1", len(s.in.Jenkins.Items), s.created-made, builds)
		}
	})
	t.Run("those that come and are vetoed have an idle agent to be refused", func(t *testing.T) {
		s := vetoed(t)
		made := s.created
		for range 30 {
			s.submit(1, "linux")
			s.run(10 * time.Second)
		}
		if n := s.created - made; n < 5 || n > 15 {
			t.Errorf("%d agents were made for 30 builds in five minutes, want some, and one for half of them at most", n)
		}
	})
	t.Run("builds that people cancel are not served", func(t *testing.T) {
		s := vetoed(t)
		made := s.created
		for range 20 {
			s.in.Jenkins.Items = s.in.Jenkins.Items[1:]
			s.run(10 * time.Second)
		}
		if s.created != made+1 {
			t.Errorf("%d agents were made when 20 of %d builds were cancelled, want one to see whether the veto is over", s.created-made, builds)
		}
	})
}

// TestInferred: if the label is not certain, one agent is tried at a time, until an agent has got such an
// item.
func TestInferred(t *testing.T) {
	house := func(t *testing.T) *stage {
		s := &stage{t: t, in: newHouse(web(keep))}
		s.in.wait(5, "linux", 0)
		for i := range s.in.Jenkins.Items {
			s.in.Jenkins.Items[i].Resolution = Inferred
		}
		return s
	}
	t.Run("it is right", func(t *testing.T) {
		s := house(t)
		s.run(3 * time.Second)
		if s.created != 1 {
			t.Fatalf("%d agents were made at first, want one to see", s.created)
		}
		if want := "most likely ‘linux’: Waiting for"; !strings.Contains(s.text(), want) {
			t.Errorf("the team says %q, want %q", s.text(), want)
		}
		s.take = func(string, *Pod, string) bool { return true }
		if s.run(10 * time.Second); s.created != 5 || len(s.in.Jenkins.Items) != 0 {
			t.Errorf("%d agents were made and %d items wait, want 5 and none", s.created, len(s.in.Jenkins.Items))
		}
	})
	t.Run("it is wrong", func(t *testing.T) {
		s := house(t)
		if s.run(9 * time.Minute); s.created != 1 {
			t.Errorf("%d agents were made in nine minutes, want one to see", s.created)
		}
		if s.run(51 * time.Minute); s.created != 3 {
			t.Errorf("%d agents were made in an hour, want one more after 10 and 30 minutes: 3", s.created)
		}
	})
	t.Run("beside those that are known to want it", func(t *testing.T) {
		s := house(t)
		s.in.wait(3, "linux", 0)
		if s.run(3 * time.Second); s.created != 4 {
			t.Errorf("%d agents were made, want one for each item that is known to want the label, and one to see: 4", s.created)
		}
	})
	t.Run("a node is called so", func(t *testing.T) {
		s := house(t)
		s.in.Jenkins.Nodes = append(s.in.Jenkins.Nodes, Node{Name: "linux", Labels: []string{"big"}, Online: true, Executors: 1, Busy: 1})
		s.run(3 * time.Second)
		if want := "a Jenkins node is named like the label ‘linux’; rename it"; s.created != 1 || !strings.HasSuffix(s.text(), want) {
			t.Errorf("%d agents were made, and the team says %q, want 1 and %q", s.created, s.text(), want)
		}
	})
	t.Run("no team serves it", func(t *testing.T) {
		s := house(t)
		for i := range s.in.Jenkins.Items {
			s.in.Jenkins.Items[i].Label = "mac"
		}
		s.run(time.Second)
		if n := s.last.Unserved; s.created != 0 || len(n) != 1 || n[0].Label != "mac" || n[0].Count != 5 || !strings.Contains(n[0].Text, "most likely") {
			t.Errorf("%d agents were made, and no team serves these: %+v", s.created, n)
		}
	})
	t.Run("it names an agent of ours", func(t *testing.T) {
		s := house(t)
		name := s.in.agent("web", Ephemeral, "old")
		for i := range s.in.Jenkins.Items {
			s.in.Jenkins.Items[i].Label = name
		}
		if s.run(20 * time.Second); s.created != 0 || s.refused != 0 {
			t.Errorf("%d agents were made and %d refused, want none: a build that names an agent waits for that agent", s.created, s.refused)
		}
	})
}
