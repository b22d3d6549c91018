package scaler

import (
	"regexp"
	"strings"
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

// TestDescribeHoldsForLife: a Jenkins node keeps its description from its registration to its end.
func TestDescribeHoldsForLife(t *testing.T) {
	const want = "Bellboard: agent of team web (bellboard instance=bell team=web kind=ephemeral)"
	if got := Describe("bell", PoolID{"web", Ephemeral}, false); got != want {
		t.Errorf("a node is described as %q, want %q", got, want)
	}
}

// TestOwnerRoundTrip: ParseOwner reads back what Describe writes, for every name that config accepts,
// whatever text stands before it.
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
	const (
		user  = "hudson.slaves.OfflineCause$UserCause"
		cli   = "hudson.slaves.OfflineCause$ByCLI"
		plain = "hudson.slaves.OfflineCause$SimpleOfflineCause"
		cut   = "hudson.slaves.OfflineCause$ChannelTermination"
		disk  = "hudson.node_monitors.DiskSpaceMonitorDescriptor$DiskSpace"
	)
	mark := MarkText("bell", ReasonOneBuild)
	tests := []struct {
		name      string
		temporary bool
		cause     Cause
		before    OfflineBy
		want      OfflineBy
	}{
		{"not marked", false, Cause{}, "", NotMarked},
		{"not marked, a lost connection", false, Cause{cut, "", "Connection was broken"}, "", NotMarked},
		{"not marked any more, the text is left", false, Cause{user, "", mark}, Ours, NotMarked},
		{"not marked any more, it was a person's", false, Cause{cut, "", "Connection was broken"}, Person, NotMarked},
		{"ours", true, Cause{user, "Disconnected by bellboard : " + mark, mark}, "", Ours},
		{"ours, of an answer without description", true, Cause{user, "", mark}, "", Ours},
		{"ours, over a person's", true, Cause{user, "", mark}, Person, Ours},
		{"ours of an old release: cut after its last colon", true, Cause{user, "Disconnected by bellboard : bellboard(bell): late: volume \"x\" : timed out", "timed out"}, "", Ours},
		{"the hook's", true, Cause{cli, "Disconnected by SYSTEM : " + HookText("bell") + ": one build only; this mark ends no build", HookText("bell") + ": one build only; this mark ends no build"}, "", Hook},
		{"the hook's, of a class of its own", true, Cause{"BellboardHook$OneBuild", "", HookText("bell") + ": build #7"}, "", Hook},
		{"another instance's", true, Cause{user, "", MarkText("other", ReasonIdle)}, "", Person},
		{"an instance's that ours begins", true, Cause{user, "", MarkText("bell-2", ReasonIdle)}, "", Person},
		{"another hook's", true, Cause{user, "", HookText("other") + ": build #7"}, "", Person},
		{"a person's", true, Cause{user, "Disconnected by ada : new disk on Thursday", "new disk on Thursday"}, "", Person},
		{"a person's without words", true, Cause{user, "Disconnected by ada", ""}, "", Person},
		{"a person's through the command line", true, Cause{cli, "Disconnected by ada : new disk", "new disk"}, "", Person},
		{"a person who mentions Bellboard", true, Cause{user, "", "see bellboard(bell): gone"}, "", Person},
		{"a person whose words are cut to a mark of ours", true, Cause{user, "Disconnected by ada : see : " + mark, mark}, "", Person},
		{"a script's without a cause", true, Cause{}, "", Person},
		{"a script's in newer versions", true, Cause{"hudson.slaves.OfflineCause$LegacyOfflineCause", "", ""}, "", Person},
		{"a script's with words", true, Cause{plain, "new disk", "new disk"}, "", Person},
		{"a class of a plugin", true, Cause{"org.example.NightOff", "", "it is night"}, "", Person},
		{"a monitor's", true, Cause{disk, "", "Disk space is too low. Only 0.9GB left."}, "", Monitor},
		{"a monitor's, response time", true, Cause{"hudson.node_monitors.ResponseTimeMonitor$Data", "", "Time out for last 5 try"}, "", Monitor},
		{"a plugin's monitor", true, Cause{"org.example.VersionsNodeMonitor$Cause", "", "wrong version"}, "", Monitor},
		{"a plugin's monitor of another name", true, Cause{"hudson.plugin.versioncolumn.JVMVersionMonitor$JVMMismatchCause", "", "wrong version"}, "", Monitor},

		// Before 2.482 the cause of a lost connection replaces the cause of the mark.
		{"cut off", true, Cause{cut, "", "Connection was broken"}, "", Monitor},
		{"cut off, ours before", true, Cause{cut, "", "Connection was broken"}, Ours, Monitor},
		{"cut off, a person's before", true, Cause{cut, "", "Connection was broken"}, Person, Person},
		{"not launched", true, Cause{"hudson.slaves.OfflineCause$LaunchFailed", "", "This agent is offline because Jenkins failed to launch the agent process on it."}, Hook, Monitor},
		{"no answer to pings", true, Cause{plain, "Repeated ping attempts failed", "Repeated ping attempts failed"}, Ours, Monitor},
		{"no answer to pings, a person's before", true, Cause{plain, "Repeated ping attempts failed", "Repeated ping attempts failed"}, Person, Person},
		{"too slow, a person's before", true, Cause{"hudson.node_monitors.ResponseTimeMonitor$Data", "", "Time out for last 5 try"}, Person, Person},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := ReadMark("bell", tt.temporary, tt.cause, tt.before); got != tt.want {
				t.Errorf("ReadMark(bell, %v, %+v, %q) = %q, want %q", tt.temporary, tt.cause, tt.before, got, tt.want)
			}
		})
	}
}

// TestMarkText: a mark's text contains nothing that Jenkins changes or cuts, whatever the reason is.
func TestMarkText(t *testing.T) {
	for _, why := range Reasons() {
		text := MarkText("bell-2", why)
		if !regexp.MustCompile(`^bellboard\(bell-2\): [a-z0-9 -]+$`).MatchString(text) || strings.Contains(text, "  ") {
			t.Errorf("the mark for %q is %q, want lower-case letters, digits, blanks and dashes", why, text)
		}
	}
}

func TestCauseText(t *testing.T) {
	for _, tt := range []struct {
		cause Cause
		want  string
	}{
		{Cause{Reason: "it&#039;s"}, "it's"},
		{Cause{Reason: "a&lt;b&gt;&amp;&quot;c&quot; ‘größe’ {x} \\ $1 *_"}, `a<b>&"c" ‘größe’ {x} \ $1 *_`},
		{Cause{Reason: "two<br>lines,&nbsp; apart"}, "two lines,  apart"},
		{Cause{Description: "Disconnected by ada : two\nlines", Reason: "two<br>lines"}, "two lines"},
		{Cause{Description: "Disconnected by ada : x : y", Reason: "y"}, "x : y"},
		{Cause{Description: "Disconnected by ada", Reason: ""}, ""},
		// Jenkins 2.551 returns it like this.
		{Cause{Description: "Disconnected by ada : it&#039;s", Reason: "it&amp;#039;s"}, "it's"},
		{Cause{Class: "hudson.slaves.OfflineCause$ChannelTermination", Reason: "Connection was broken"}, "Connection was broken"},
	} {
		if got := tt.cause.Text(); got != tt.want {
			t.Errorf("the text of %+v is %q, want %q", tt.cause, got, tt.want)
		}
	}
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
		if got := Short(tt.d); got != tt.want {
			t.Errorf("Short(%v) = %q, want %q", tt.d, got, tt.want)
		}
	}
}
