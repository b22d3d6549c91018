package app

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"

	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
)

// TestEvents: what people care about stands on the Lease, and what repeats is counted.
func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		a := p.start("a")
		p.work(10 * time.Second)
		p.jenkins.Restart(jenkinssim.Restart{Loading: 20 * time.Second})
		p.work(time.Minute)
		client, err := kubernetes.NewForConfig(p.cluster.RESTConfig())
		if err != nil {
			t.Fatal(err)
		}
		list, err := client.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var reasons []string
		for i := range list.Items {
			e := &list.Items[i]
			if e.InvolvedObject.Name != "bellboard-bellboard" || e.InvolvedObject.Kind != "Lease" {
				t.Errorf("event %s is on %s %s, want the Lease", e.Reason, e.InvolvedObject.Kind, e.InvolvedObject.Name)
			}
			// client-go writes the last of many alike anew, without the annotation.
			if e.Annotations[tickAnnotation] == "" && !strings.HasPrefix(e.Message, "(combined") {
				t.Errorf("event %s names no tick", e.Reason)
			}
			reasons = append(reasons, e.Reason)
			t.Logf("%s ×%d: %s", e.Reason, e.Count, e.Message)
		}
		for _, want := range []string{eventScaledUp, eventHolding, eventSeesAgain} {
			if !slices.Contains(reasons, want) {
				t.Errorf("no event %s among %s", want, strings.Join(reasons, " "))
			}
		}
		if n := len(list.Items); n > 30 {
			t.Errorf("%d events in 70 s, want them put together", n)
		}
		a.stop()
		<-a.ended
	})
}

// TestLostEvents: builds that lost their agents in one tick are one event for each
// pool, which names some of them.
func TestLostEvents(t *testing.T) {
	fake := record.NewFakeRecorder(10)
	e := &events{recorder: fake, said: map[string]string{}}
	web, data := scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}, scaler.PoolID{Team: "data", Kind: scaler.Persistent}
	var lost []scaler.LostBuilds
	for _, name := range []string{"web-e-1", "web-e-2", "web-e-3", "web-e-4", "web-e-5"} {
		lost = append(lost, scaler.LostBuilds{PoolID: web, Agent: name, Builds: 1, Text: "its pod vanished"})
	}
	lost = append(lost, scaler.LostBuilds{PoolID: data, Agent: "data-p-1", Builds: 3, Text: "its pod ended: Evicted: " + strings.Repeat("x", 1000)})
	e.observe(scaler.Tick{ID: "a-1", Facts: scaler.Facts{BuildsLost: lost}})
	close(fake.Events)
	var got []string
	for text := range fake.Events {
		got = append(got, text)
	}
	if len(got) != 2 ||
		!strings.HasPrefix(got[0], "Warning BuildLost web, ephemeral: 5 lost with their agents: web-e-1 (its pod vanished), web-e-2 (its pod vanished), web-e-3 (its pod vanished) and 2 more") ||
		!strings.HasPrefix(got[1], "Warning BuildLost data, persistent: 3 lost with their agents: data-p-1 (its pod ended: Evicted: xxx") || len(got[1]) > 400 {
		t.Errorf("the events are %q", got)
	}
}

// TestFailureEvents: agents that failed alike in one tick are one event, with the
// last words of the first that left any.
func TestFailureEvents(t *testing.T) {
	fake := record.NewFakeRecorder(10)
	e := &events{recorder: fake, said: map[string]string{}}
	web := scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}
	failed := func(f scaler.Failure, text, log string) scaler.FailedAgent {
		return scaler.FailedAgent{PoolID: web, Failure: f, Text: text, Log: log}
	}
	e.observe(scaler.Tick{ID: "a-1", Facts: scaler.Facts{Failures: []scaler.FailedAgent{
		failed(scaler.FailureCrashLoop, "its pod ended", ""),
		failed(scaler.FailureQuota, "exceeded quota", ""),
		failed(scaler.FailureCrashLoop, "its pod ended too", strings.Repeat("x", 1000)+"the end"),
	}}})
	close(fake.Events)
	var got []string
	for text := range fake.Events {
		got = append(got, text)
	}
	if len(got) != 2 || !strings.HasPrefix(got[0], "Warning AgentFailed web, ephemeral: 2 failed: crash-loop: its pod ended too; last words: …xxx") ||
		!strings.Contains(got[0], "the end") || len(got[0]) > 600 || !strings.HasPrefix(got[1], "Warning AgentFailed web, ephemeral: 1 failed: quota: exceeded quota") {
		t.Errorf("the events are %q", got)
	}
}
