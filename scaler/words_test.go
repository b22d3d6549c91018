package scaler

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseOwner(t *testing.T) {
	id := PoolID{"web-2", Persistent}
	ours := Describe("bell", id, false)
	tests := []struct {
		name, description string
		want              PoolID
		fence, ok         bool
	}{
		{"a berth", ours, id, false, true},
		{"a fence", Describe("bell", id, true), id, true, true},
		{"behind Swarm's words", "Swarm agent from 127.0.0.1: " + ours, id, false, true},
		{"a fence behind Swarm's words", "Swarm agent from 127.0.0.1: " + Describe("bell", id, true), id, true, true},
		{"as it was written once", "Bellboard: waiting to be started for team web-2 (bellboard instance=bell team=web-2 kind=persistent)", id, false, true},
		{"the owner alone", "bellboard instance=bell team=web-2 kind=persistent", id, false, true},
		{"another instance", Describe("other", id, false), PoolID{}, false, false},
		{"an instance that ours begins", Describe("bell-2", id, false), PoolID{}, false, false},
		{"a person's node", "the old Mac under the desk", PoolID{}, false, false},
		{"no such kind", "bellboard instance=bell team=web-2 kind=eternal", PoolID{}, false, false},
		{"a kind that goes on", "bellboard instance=bell team=web-2 kind=persistently", PoolID{}, false, false},
		{"nothing", "", PoolID{}, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, fence, ok := ParseOwner("bell", tt.description)
			if got != tt.want || fence != tt.fence || ok != tt.ok {
				t.Errorf("ParseOwner(bell, %q) = %v, %v, %v, want %v, %v, %v", tt.description, got, fence, ok, tt.want, tt.fence, tt.ok)
			}
		})
	}
}

// TestDescribeHoldsForLife: a node keeps its description from its registration to its end.
func TestDescribeHoldsForLife(t *testing.T) {
	const want = "Bellboard: agent of team web (bellboard instance=bell team=web kind=ephemeral)"
	if got := Describe("bell", PoolID{"web", Ephemeral}, false); got != want {
		t.Errorf("a node is described as %q, want %q", got, want)
	}
}

// TestOwnerRoundTrip: what Describe writes, ParseOwner reads, for every name that
// config accepts, whatever stands before it.
func TestOwnerRoundTrip(t *testing.T) {
	name := rapid.StringMatching(`[a-z]([a-z0-9-]{0,12}[a-z0-9])?`)
	rapid.Check(t, func(t *rapid.T) {
		instance, before := name.Draw(t, "instance"), rapid.SampledFrom([]string{"", "Swarm agent from 10.0.0.1: "}).Draw(t, "before")
		id := PoolID{name.Draw(t, "team"), rapid.SampledFrom(Kinds()).Draw(t, "kind")}
		fence := rapid.Bool().Draw(t, "fence")
		text := before + Describe(instance, id, fence)
		if got, f, ok := ParseOwner(instance, text); !ok || got != id || f != fence {
			t.Fatalf("ParseOwner(%q, %q) = %v, %v, %v, want %v, %v, true", instance, text, got, f, ok, id, fence)
		}
		if _, _, ok := ParseOwner(instance+"x", text); ok {
			t.Fatalf("ParseOwner(%q, %q) is ours, want another's", instance+"x", text)
		}
	})
}

func TestReadMark(t *testing.T) {
	const user, disk = "hudson.slaves.OfflineCause$UserCause", "hudson.node_monitors.DiskSpaceMonitorDescriptor$DiskSpace"
	tests := []struct {
		name      string
		temporary bool
		class     string
		text      string
		want      OfflineBy
	}{
		{"not marked", false, "", "", NotMarked},
		{"not marked, a lost connection", false, "hudson.slaves.OfflineCause$ChannelTermination", "Connection was broken", NotMarked},
		{"not marked any more, the text is left", false, user, MarkText("bell", "one build"), NotMarked},
		{"ours", true, user, MarkText("bell", "one build"), Ours},
		{"ours, with Jenkins' words before", true, user, "Disconnected by bellboard : " + MarkText("bell", "one build"), Ours},
		{"ours, with words like Jenkins' in it", true, user, MarkText("bell", "a : b"), Ours},
		{"ours, with both", true, user, "Disconnected by bellboard : " + MarkText("bell", "a : b"), Ours},
		{"the hook's", true, user, HookText("bell") + ": build #7 has begun", Hook},
		{"the hook's, with Jenkins' words before", true, user, "Disconnected by SYSTEM : " + HookText("bell") + ": build #7", Hook},
		{"the hook's, of a class of its own", true, "BellboardHook$OneBuild", HookText("bell") + ": build #7", Hook},
		{"another instance's", true, user, MarkText("other", "one build"), Person},
		{"an instance's that ours begins", true, user, MarkText("bell-2", "one build"), Person},
		{"another hook's", true, user, HookText("other") + ": build #7", Person},
		{"a person's", true, user, "new disk on Thursday", Person},
		{"a person's, with Jenkins' words before", true, user, "Disconnected by ada : new disk", Person},
		{"a person's without words", true, user, "", Person},
		{"a person who speaks of us", true, user, "see bellboard(bell): gone", Person},
		{"a person who deceives: Jenkins' words twice", true, user, "Disconnected by ada : Disconnected by bellboard : bellboard(bell): x", Person},
		{"a monitor's", true, disk, "Disk space is too low. Only 0.9GB left.", Monitor},
		{"a monitor's, response time", true, "hudson.node_monitors.ResponseTimeMonitor$Data", "Time out for last 5 try", Monitor},
		{"a plugin's monitor", true, "org.example.VersionsNodeMonitor$Cause", "wrong version", Monitor},
		{"a plugin's monitor of another name", true, "hudson.plugin.versioncolumn.JVMVersionMonitor$JVMMismatchCause", "wrong version", Monitor},
		{"no class, no words", true, "", "", Person},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := ReadMark("bell", tt.temporary, tt.class, tt.text); got != tt.want {
				t.Errorf("ReadMark(bell, %v, %q, %q) = %q, want %q", tt.temporary, tt.class, tt.text, got, tt.want)
			}
		})
	}
}

// TestMarkRoundTrip: whatever the reason says, our mark is ours.
func TestMarkRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := MarkText("bell", rapid.String().Draw(t, "reason"))
		for _, before := range []string{"", "Disconnected by bellboard : "} {
			if got := ReadMark("bell", true, "hudson.slaves.OfflineCause$UserCause", before+text); got != Ours {
				t.Fatalf("ReadMark(%q) = %q, want ours", before+text, got)
			}
		}
	})
}

func TestAgentName(t *testing.T) {
	for _, tt := range []struct {
		id   PoolID
		want string
	}{
		{PoolID{"web", Ephemeral}, "web-e-0123456789"},
		{PoolID{"web-2", Persistent}, "web-2-p-0123456789"},
	} {
		if got := AgentName(tt.id, "0123456789"); got != tt.want {
			t.Errorf("AgentName(%v, 0123456789) = %q, want %q", tt.id, got, tt.want)
		}
	}
}

func TestShort(t *testing.T) {
	for _, tt := range []struct {
		d    time.Duration
		want string
	}{
		{0, "0s"},
		{499 * time.Millisecond, "0s"},
		{23 * time.Second, "23s"},
		{time.Minute, "1m"},
		{90 * time.Second, "1m30s"},
		{time.Hour, "1h"},
		{time.Hour + time.Minute, "1h1m"},
		{10 * time.Minute, "10m"},
		{20 * time.Hour, "20h"},
		{time.Hour + time.Second, "1h0m1s"},
	} {
		if got := short(tt.d); got != tt.want {
			t.Errorf("short(%v) = %q, want %q", tt.d, got, tt.want)
		}
	}
}
