package queue

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// inJenkins runs a story with a node of Bellboard's in a Jenkins of that version.
func inJenkins(t *testing.T, version string, story func(t *testing.T, j *jenkinssim.Jenkins, c *Client, ch *jenkinssim.Channel)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		j := jenkinssim.New(jenkinssim.Config{Clock: clock.Real(), Version: version, Hook: "bellboard"})
		defer j.Close()
		ch := j.AddNode(jenkinssim.Node{Name: "web-e-1", Description: scaler.Describe("bellboard", webPool.PoolID, false), Labels: "linux"}, true)
		c, err := New(Config{
			URL: "http://jenkins:8080", User: "bellboard", Instance: "bellboard", Clock: clock.Real(), Transport: j.Transport(),
			Token: func() (string, error) { return "token", nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		story(t, j, c, ch)
	})
}

// observeNode returns the node in the next view.
func observeNode(ctx context.Context, t *testing.T, c *Client) scaler.Node {
	t.Helper()
	v, err := c.Observe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range v.Nodes {
		if n.Name == "web-e-1" {
			return n
		}
	}
	t.Fatal("the node is not there")
	return scaler.Node{}
}

// versions are versions of Jenkins that each report a cause in another way.
var versions = []string{"2.318", oldCauses, "2.482", "2.483", "2.541", "2.555", "2.568.2"}

// oldCauses is a version in which a mark and a lost connection share one cause.
const oldCauses = "2.479.3"

// TestMarksSurvive: every version of Jenkins returns a mark as it was written, for every reason. ClearMark
// clears the mark.
func TestMarksSurvive(t *testing.T) {
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			inJenkins(t, version, func(t *testing.T, j *jenkinssim.Jenkins, c *Client, _ *jenkinssim.Channel) {
				for _, why := range scaler.Reasons() {
					text := scaler.MarkText("bellboard", why)
					if err := c.Mark(t.Context(), "web-e-1", text, time.Time{}); err != nil {
						t.Fatal(err)
					}
					if n := observeNode(t.Context(), t, c); n.OfflineBy != scaler.Ours || n.Offline != text {
						t.Errorf("the mark %q is %q by %q", text, n.Offline, n.OfflineBy)
					}
				}
				if err := c.ClearMark(t.Context(), "web-e-1", scaler.MarkText("bellboard", scaler.ReasonResume)); err != nil {
					t.Error(err)
				}
				if n := observeNode(t.Context(), t, c); n.OfflineBy != scaler.NotMarked {
					t.Errorf("after ClearMark there is still mark %q by %q", n.Offline, n.OfflineBy)
				}
				j.Submit(jenkinssim.Job{Name: "a", Label: "linux", Duration: time.Minute})
				time.Sleep(time.Second)
				if n := observeNode(t.Context(), t, c); n.OfflineBy != scaler.Hook {
					t.Errorf("the hook's mark is %q by %q", n.Offline, n.OfflineBy)
				}
			})
		})
	}
}

// TestPeoplesWords: a person may write any text. Bellboard shows the text as written, on one line, and never
// takes it for its own mark.
func TestPeoplesWords(t *testing.T) {
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			inJenkins(t, version, func(t *testing.T, j *jenkinssim.Jenkins, c *Client, _ *jenkinssim.Channel) {
				for _, words := range []string{
					"it's", `a<b>&"c" ‘größe’ {x} \ $1 *_`, "two\nlines", "x : y", "", "see : bellboard(bellboard): idle", "see bellboard(bellboard): idle",
					"Disconnected by bellboard : bellboard(bellboard): idle",
				} {
					j.PersonOffline("web-e-1", words)
					want := strings.ReplaceAll(words, "\n", " ")
					if n := observeNode(t.Context(), t, c); n.OfflineBy != scaler.Person || n.Offline != want {
						t.Errorf("a person's words %q are %q by %q", words, n.Offline, n.OfflineBy)
					}
				}
			})
		})
	}
}

// TestLostMarks: the agent of a marked node loses its connection. Before 2.482 the text of the mark is gone
// until the agent comes back. Bellboard remembers the owner of such a mark only if the owner is a person.
func TestLostMarks(t *testing.T) {
	for _, tt := range []struct {
		name, version string
		mark          func(context.Context, *jenkinssim.Jenkins, *Client) error
		before, lost  scaler.OfflineBy
	}{
		{"ours, old", oldCauses, markOurs, scaler.Ours, scaler.Monitor},
		{"ours, new", "2.568.2", markOurs, scaler.Ours, scaler.Ours},
		{"a person's, old", oldCauses, markPersons, scaler.Person, scaler.Person},
		{"a person's, new", "2.568.2", markPersons, scaler.Person, scaler.Person},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inJenkins(t, tt.version, func(t *testing.T, j *jenkinssim.Jenkins, c *Client, ch *jenkinssim.Channel) {
				is := func(what string, want scaler.OfflineBy) {
					t.Helper()
					if n := observeNode(t.Context(), t, c); n.OfflineBy != want {
						t.Errorf("%s: by %q (%s), want %q", what, n.OfflineBy, n.Offline, want)
					}
					if still, err := c.StillIdle(t.Context(), scaler.Node{Name: "web-e-1", OfflineBy: want}); err != nil || !still {
						t.Errorf("%s: StillIdle() = %v, %v, and the poll says otherwise", what, still, err)
					}
				}
				if err := tt.mark(t.Context(), j, c); err != nil {
					t.Fatal(err)
				}
				is("marked", tt.before)
				ch.Close("chaos")
				is("cut off", tt.lost)
				is("and seen again", tt.lost)
				if _, err := j.Connect("web-e-1", j.Secret("web-e-1"), "web-e-1"); err != nil {
					t.Fatal(err)
				}
				is("back", tt.before)
				j.Restart(jenkinssim.Restart{})
				time.Sleep(time.Second)
				if _, err := j.Connect("web-e-1", j.Secret("web-e-1"), "web-e-1"); err != nil {
					t.Fatal(err)
				}
				is("back after a restart of Jenkins", tt.before)
			})
		})
	}
}

func markOurs(ctx context.Context, _ *jenkinssim.Jenkins, c *Client) error {
	return c.Mark(ctx, "web-e-1", scaler.MarkText("bellboard", scaler.ReasonIdle), time.Time{})
}

func markPersons(_ context.Context, j *jenkinssim.Jenkins, _ *Client) error {
	j.PersonOffline("web-e-1", "looking at it")
	return nil
}
