package jenkinssim

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// restartMoment reads one state of a recorded restart in the words of restartState.
func restartMoment(r *replay, m *moment, hook bool) {
	var s []json.RawMessage
	if err := json.Unmarshal([]byte(m.state), &s); err != nil {
		r.Fatal(err)
	}
	var status int
	if err := json.Unmarshal(s[0], &status); err != nil || status != 200 {
		m.state = fmt.Sprint(status)
		return
	}
	items, rest := s[3], s[4:]
	if len(s) == 5 { // the Swarm recording has no version
		items, rest = s[2], s[3:]
	}
	var queue [][2]string
	var node, build []any
	if json.Unmarshal(items, &queue) != nil || json.Unmarshal(rest[0], &node) != nil || json.Unmarshal(rest[1], &build) != nil {
		r.Fatal(m.state)
	}
	var q []string
	for _, it := range queue {
		q = append(q, it[0]+": "+it[1])
	}
	words := spoken(node)
	if hook {
		words = strings.ReplaceAll(words, "bellboard: one build", "one build")
	}
	m.state = "200 " + strings.Join(q, " | ") + " / " + strings.TrimSpace(words)
	if result, ok := build[1].(string); ok {
		m.state += " " + result
	}
}

func (r *replay) restartState(node string, keys ...string) func() string {
	return func() string {
		a := r.get(queueTree)
		if a.err != nil {
			return "0"
		}
		if a.status != 200 {
			return fmt.Sprint(a.status)
		}
		var answer queueAnswer // one answer: between two, Jenkins may be gone
		if err := json.Unmarshal([]byte(a.body), &answer); err != nil {
			r.Fatal(err)
		}
		var q []string
		for _, it := range answer.Items {
			q = append(q, it.Task.Name+": "+it.Why)
		}
		s := strings.TrimSpace(r.state(node, keys...))
		s = strings.ReplaceAll(s, hookMark, "one build")
		s = "200 " + strings.Join(q, " | ") + " / " + s
		if res := r.result("run"); res != "" {
			s += " " + res
		}
		return s
	}
}

// phases takes from a recorded timeline how long each part of the restart took. Those times
// depend on the machine, and all that follows depends on Jenkins.
func phases(want []moment) (re Restart) {
	at := func(state string) float64 {
		for _, m := range want {
			if m.state == state {
				return m.at
			}
		}
		return 0
	}
	up := 0.0
	for i, m := range want {
		if i > 0 && strings.HasPrefix(m.state, "200") {
			up = m.at
			break
		}
	}
	down, loading, none := at("0"), at("503"), at("401")
	sec := func(f float64) time.Duration { return time.Duration(f * float64(time.Second)) }
	re.Down = sec(loading - down)
	if none == 0 {
		re.Loading = sec(up - loading)
		return re
	}
	re.Loading = sec(none - loading)
	re.Unauthorized = sec(up-none) - secondLoading
	return re
}

// restart plays a recorded restart: the questions before the restart, then the timeline, with
// the agent back at the recorded time.
func (r *replay) restart(node string, connectAt float64, keys []string) {
	r.ask() // before the restart
	var was map[string]json.RawMessage
	r.remark(&was)
	r.compare("before", was[node], doc(node))
	r.ask() // session before
	r.replayTimeline(node, connectAt, keys)
	r.next("") // the console: what the builds said
}

func (r *replay) replayTimeline(node string, connectAt float64, keys []string) {
	var remark struct{ Timeline []moment }
	r.remark(&remark)
	want := remark.Timeline
	for i := range want {
		restartMoment(r, &want[i], r.cfg.Hook != "")
	}
	re := phases(want)
	end := time.Duration(want[len(want)-1].at+1) * time.Second
	go func() {
		time.Sleep(time.Duration(want[1].at * float64(time.Second)))
		r.Restart(re)
	}()
	if connectAt > 0 {
		go func() {
			time.Sleep(time.Duration(connectAt * float64(time.Second)))
			if len(keys) == 3 { // a Swarm client registers first
				if _, err := r.CreateSwarm(SwarmAgent{Name: node, Labels: "linux docker", Description: "bellboard"}); err != nil {
					r.Error(err)
				}
				time.Sleep(400 * time.Millisecond)
			}
			r.connect(node, node)
		}()
	}
	r.timeline("timeline", want, r.watch(end, r.restartState(node, keys...)))
}

func restartPlainStory(r *replay) {
	r.create("a1", berthWords, "linux")
	r.create("b1", berthWords, "linux")
	r.connect("a1", "a1")
	r.Submit(Job{Name: "run", Pipeline: true, Label: "linux", Duration: 66 * time.Second})
	time.Sleep(time.Second)
	r.Submit(Job{Name: "next", Pipeline: true, Label: "linux"})
	time.Sleep(time.Second)
	r.restart("a1", 15.1, fourKeys)
}

func restartMarkedStory(r *replay) {
	r.create("a1", berthWords, "linux")
	r.create("b1", berthWords, "linux")
	r.connect("a1", "a1")
	r.Submit(Job{Name: "run", Pipeline: true, Label: "linux", Duration: 66 * time.Second})
	time.Sleep(time.Second)
	r.mark("a1", drainText)
	r.Submit(Job{Name: "next", Pipeline: true, Label: "linux"})
	time.Sleep(time.Second)
	r.restart("a1", 9, fourKeys)
}

func restartHookStory(r *replay) {
	r.create("one-a", ephemeralWords, "linux")
	r.create("one-b", ephemeralWords, "linux")
	r.connect("one-a", "one-a")
	r.Submit(Job{Name: "run", Pipeline: true, Label: "linux", Duration: 63 * time.Second})
	time.Sleep(time.Second)
	r.Submit(Job{Name: "next", Pipeline: true, Label: "linux"})
	time.Sleep(time.Second)
	r.restart("one-a", 12.5, fourKeys)
}

func restartSwarmStory(r *replay) {
	r.create("b1", berthWords, "other")
	r.swarm("sw")
	r.Submit(Job{Name: "run", Pipeline: true, Label: "linux", Duration: 70 * time.Second})
	time.Sleep(1500 * time.Millisecond)
	r.replayTimeline("sw", 10.7, []string{"offline", "idle", "temporarilyOffline"})
}

// swarmMoments reads [seconds, [[name, [status, offline, idle, marked, reason]], …]].
func swarmMoments(r *replay, raw json.RawMessage) []moment {
	var ms []moment
	if err := json.Unmarshal(raw, &ms); err != nil {
		r.Fatal(err)
	}
	for i := range ms {
		var parts []json.RawMessage
		if err := json.Unmarshal([]byte(ms[i].state), &parts); err != nil {
			r.Fatal(err)
		}
		var node []json.RawMessage
		var values, build []any
		if json.Unmarshal(parts[0], &node) != nil || json.Unmarshal(node[1], &values) != nil {
			r.Fatal(ms[i].state)
		}
		ms[i].state = strings.TrimSpace(spoken(values))
		if len(parts) > 1 && json.Unmarshal(parts[1], &build) == nil && build[1] != nil {
			ms[i].state += " " + build[1].(string)
		}
	}
	return ms
}

func (r *replay) swarmState(name, job string) func() string {
	return func() string {
		s := strings.TrimSpace(r.state(name, fourKeys...))
		if res := r.result(job); res != "" {
			s += " " + res
		}
		return s
	}
}

// first is the only value of a remark whose key has that beginning.
func (r *replay) first(key string) json.RawMessage {
	var remark map[string]json.RawMessage
	r.remark(&remark)
	for k, v := range remark {
		if strings.HasPrefix(k, key) {
			return v
		}
	}
	r.Fatalf("no %q", key)
	return nil
}

// createSlave is the Swarm client's own call.
func (r *replay) createSlave(name, hash string) answered {
	f := url.Values{"name": {name}, "description": {"bellboard"}, "executors": {"1"}, "labels": {"linux docker"}, "mode": {"EXCLUSIVE"}}
	if hash != "" {
		f.Set("hash", hash)
	}
	return r.post("/plugin/swarm/createSlave", f)
}

// client makes the node, and connects after the wait.
func (r *replay) client(name string, wait time.Duration) *Channel {
	r.Helper()
	if a := r.createSlave(name, ""); a.status != 200 || !strings.Contains(a.body, "secret="+r.Secret(name)) {
		r.Fatal(a.status, a.body)
	}
	time.Sleep(wait)
	return r.connect(name, name)
}

func swarmStory(r *replay) {
	want := swarmMoments(r, r.first("swarm connects"))
	go func() {
		time.Sleep(300 * time.Millisecond)
		r.client("sw1", 1300*time.Millisecond)
	}()
	for i := range want { // the recorder began before the client did
		want[i].at -= 1.3
	}
	r.timeline("swarm connects", want, r.watch(5*time.Second, r.swarmState("sw1", "s")))
	r.ask()
	r.ask()
	refused := func(name string) {
		a := r.createSlave(name, "")
		if said := string(r.rows[r.at-1].Note); a.status != 409 || !strings.Contains(said, strings.ReplaceAll(strings.TrimSpace(a.body), `"`, `\"`)) ||
			!strings.Contains(said, "Response code: 409") {
			r.differ(name, "409", "%d %q, want %s", a.status, a.body, said)
		}
	}
	r.next("")
	refused("sw1")
	r.compare("first one after that", r.first("first one"), doc("sw1"))
	r.create("sw2", berthWords, "linux")
	r.next("")
	refused("sw2")
	var other struct{ Comp json.RawMessage }
	if err := json.Unmarshal(r.rows[r.at-1].Note, &other); err != nil {
		r.Fatal(err)
	}
	r.compare("registered inbound node", other.Comp, doc("sw2"))
	r.delete("sw2")
	var names []string
	if err := json.Unmarshal(r.first("without"), &names); err != nil {
		r.Fatal(err)
	}
	hashed := names[len(names)-1]
	if a := r.createSlave("sw3", strings.TrimPrefix(hashed, "sw3-")); a.status != 200 || !strings.HasPrefix(a.body, "name="+hashed+"\n") {
		r.differ("unique id", "name", "%d %s", a.status, a.body)
	}
	sw3 := r.connect(hashed, hashed)

	want = swarmMoments(r, r.first("killed"))
	got := []moment{{0, r.swarmState(hashed, "")()}}
	sw3.Close("chaos")
	r.timeline("killed", want, append(got, r.watch(time.Second, r.swarmState(hashed, ""))...))

	r.Submit(Job{Name: "s", Label: "sw1", Duration: 17 * time.Second})
	time.Sleep(time.Second)
	r.mark("sw1", drainText)
	want = swarmMoments(r, r.first("marked while busy"))
	r.timeline("marked while busy", want, r.watch(17*time.Second, r.swarmState("sw1", "s")))

	want = swarmMoments(r, r.first("SIGTERM"))
	got = []moment{{0, r.swarmState("sw1", "")()}}
	r.channel("sw1").Close("chaos")
	r.timeline("SIGTERM", want, append(got, r.watch(time.Second, r.swarmState("sw1", ""))...))

	// A client that is deleted or disconnected is back after ten seconds.
	back := func(name string) {
		go func() {
			time.Sleep(10200 * time.Millisecond)
			r.client(name, 400*time.Millisecond)
		}()
	}
	sw4 := r.client("sw4", 0)
	r.mark("sw4", drainText)
	r.ask()
	if !ended(sw4) {
		r.differ("doDelete", "channel", "outlived its node")
	}
	want = swarmMoments(r, r.first("after doDelete"))
	back("sw4")
	r.timeline("after doDelete", want, r.watch(12*time.Second, r.swarmState("sw4", "")))
	r.client("sw5", 0)
	r.ask()
	want = swarmMoments(r, r.first("after doDelete"))
	r.timeline("with -noRetryAfterConnected", want, r.watch(12*time.Second, r.swarmState("sw5", "")))
	r.client("sw6", 0)
	r.mark("sw6", drainText)
	r.must(r.post("/computer/sw6/doDisconnect", nil))
	want = swarmMoments(r, r.first("marked, then disconnected"))
	back("sw6")
	r.timeline("disconnected by hand", want, r.watch(12*time.Second, r.swarmState("sw6", "")))
}

// channel is the connection of a node's agent.
func (r *replay) channel(name string) (c *Channel) {
	r.withNode(name, func(n *node) { c = n.ch })
	return c
}

func swarmCutStory(r *replay) {
	for _, again := range []bool{true, false} {
		r.swarm("sw")
		job := fmt.Sprint("run", again)
		r.Submit(Job{Name: job, Pipeline: true, Label: "linux", Duration: 49 * time.Second})
		time.Sleep(time.Second)
		r.channel("sw").Close("chaos")
		var remark map[string]json.RawMessage
		r.remark(&remark)
		cutMoments := func(raw json.RawMessage) []moment {
			var ms []moment
			if err := json.Unmarshal(raw, &ms); err != nil {
				r.Fatal(err)
			}
			for i := range ms {
				var s [3][]any
				if err := json.Unmarshal([]byte(ms[i].state), &s); err != nil || len(s[0]) != 0 {
					r.Fatal(err, ms[i].state)
				}
				ms[i].state = strings.TrimSpace(spoken(s[1]))
				if s[2][1] != nil {
					ms[i].state += " " + s[2][1].(string)
				}
			}
			return ms
		}
		for k, v := range remark {
			if strings.HasPrefix(k, "SIGKILL") {
				r.timeline(k, cutMoments(v), r.watch(15*time.Second, r.swarmState("sw", job)))
			}
		}
		want := cutMoments(remark["then"])
		if again {
			go func() {
				time.Sleep(time.Second)
				r.swarm("sw")
			}()
		}
		if last := &want[len(want)-1]; again && strings.HasPrefix(last.state, "404 ") {
			r.differ("then", "last", "%s", last.state)
			last.state = "false true false" + strings.TrimPrefix(last.state, "404")
		}
		got := r.watch(time.Duration(want[len(want)-1].at+2)*time.Second, r.swarmState("sw", job))
		r.timeline("then", want, got)
		r.PersonDelete("sw")
	}
}
