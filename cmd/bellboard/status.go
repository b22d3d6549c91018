package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"bellboard/cmd/internal/app"
	"bellboard/cmd/internal/term"
	"bellboard/metrics/web"
	"bellboard/scaler"
	"bellboard/scaler/clock"
	"bellboard/scaler/plain"
)

// What status and why show at most.
const (
	changesShown = 5
	agentsShown  = 40
	queuedShown  = 20
	quietShown   = 6 // quiet teams, before they are folded into one line
)

// watchEvery is the time between two looks with --watch, as on the page.
const watchEvery = 2 * time.Second

// question is what status and why share: whom they ask, and how they print the answer.
type question struct {
	url, namespace, instance, output string
	watch                            bool
}

// command returns a command that asks the leader. The path is what it asks for, and words makes text of the
// answer.
func (q *question) command(environ []string, cmd *cobra.Command, path func(args []string) string, words func(s *term.Screen, args []string, answer []byte) (string, error)) *cobra.Command {
	cmd.Args = cobra.MaximumNArgs(1)
	cmd.Long += "\nFinds the leader by its Lease, and reaches its HTTP port through the API server of the kubeconfig, as kubectl port-forward\n" +
		"does. That needs the rights get leases, get pods and create pods/portforward in Bellboard's own namespace. With --url it\n" +
		"asks the Bellboard at that address. It changes nothing."
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if q.output != "text" && q.output != "json" {
			return usageError{fmt.Errorf("-o %s: write text or json", q.output)}
		}
		screen := term.New(cmd.OutOrStdout(), environ)
		var from *app.Remote
		look := func() (string, error) {
			if from == nil {
				var err error
				if from, err = q.reach(cmd.Context()); err != nil {
					return "", err
				}
			}
			answer, err := from.Get(cmd.Context(), path(args))
			if err != nil {
				from.Close() // with --watch the next look finds the leader anew
				from = nil
				return "", err
			}
			if q.output == "json" {
				return string(plain.JSON(answer)), nil
			}
			return words(screen, args, answer)
		}
		defer func() {
			if from != nil {
				from.Close()
			}
		}()
		for {
			text, err := look()
			if err != nil && (!q.watch || cmd.Context().Err() != nil) {
				return err
			}
			if err != nil {
				text = screen.Text("", err.Error())
			}
			if q.watch && q.output != "json" {
				text = screen.Clear() + text
			}
			if _, err := io.WriteString(screen, text); err != nil || !q.watch {
				return err
			}
			if clock.Sleep(cmd.Context(), clock.Real(), watchEvery) != nil {
				return nil // ctrl-C ends it
			}
		}
	}
	f := cmd.Flags()
	f.StringVar(&q.url, "url", settingOf(environ, "BELLBOARD_URL", ""), "address of a Bellboard, such as http://localhost:8080, in place of the leader's (default: BELLBOARD_URL, if set)")
	f.StringVar(&q.namespace, "namespace", "", "Bellboard's own namespace, with its Lease (default: the kubeconfig's, then bellboard)")
	f.StringVar(&q.instance, "instance", settingOf(environ, "BELLBOARD_INSTANCE", "bellboard"), "BELLBOARD_INSTANCE of that Bellboard")
	f.StringVarP(&q.output, "output", "o", "text", "text; or json: the answer itself")
	f.BoolVar(&q.watch, "watch", false, "look again every two seconds, until ctrl-C")
	return cmd
}

// settingOf returns a variable's value, or else its default.
func settingOf(environ []string, name, otherwise string) string {
	for _, e := range environ {
		if value, ok := strings.CutPrefix(e, name+"="); ok {
			otherwise = cmp.Or(value, otherwise)
		}
	}
	return otherwise
}

// reach returns the Bellboard to ask.
func (q *question) reach(ctx context.Context) (*app.Remote, error) {
	if q.url != "" {
		r, err := app.At(q.url)
		if err != nil {
			return nil, usageError{err}
		}
		return r, nil
	}
	kube, err := kubeConfig()
	if err != nil {
		return nil, err
	}
	namespaces := []string{q.namespace}
	if q.namespace == "" {
		own, _, _ := kubectlConfig().Namespace() // kubeConfig reports mistakes in the file
		namespaces = slices.Compact([]string{own, "bellboard"})
	}
	return app.Leader(ctx, kube, q.instance, namespaces...)
}

func statusCommand(environ []string) *cobra.Command {
	return (&question{}).command(environ, &cobra.Command{
		Use:   "status [TEAM]",
		Short: "Show whether builds wait, why, and what the running Bellboard did about it",
		Long:  "Prints what the page of the running Bellboard shows: of all teams, or of one team with its agents.",
	}, func(args []string) string {
		return "/api/v1/status?team=" + url.QueryEscape(strings.Join(args, ""))
	}, func(s *term.Screen, args []string, answer []byte) (string, error) {
		var is web.Status
		if err := web.ReadJSON(answer, &is); err != nil {
			return "", fmt.Errorf("the answer is of another version of Bellboard: %w", err)
		}
		return statusText(s, &is, strings.Join(args, "")), nil
	})
}

func whyCommand(environ []string) *cobra.Command {
	return (&question{}).command(environ, &cobra.Command{
		Use:   "why [TEAM|LABEL|JOB]",
		Short: "Say why a build waits, and when it gets its agent",
		Long: "Answers for the builds in Jenkins' queue of a job, a label or a team; without one, for all of them: which label they want,\n" +
			"which team answers, what is free or on its way, which rule stops it, and when the next agent is expected.",
	}, func(args []string) string {
		return "/api/v1/why?of=" + url.QueryEscape(strings.Join(args, ""))
	}, func(s *term.Screen, _ []string, answer []byte) (string, error) {
		var is web.Why
		if err := web.ReadJSON(answer, &is); err != nil {
			return "", fmt.Errorf("the answer is of another version of Bellboard: %w", err)
		}
		return whyText(s, &is), nil
	})
}

// headline is the first paragraph of both: the mood, the headline, and who says so.
func headline(s *term.Screen, m scaler.Mood, text string, r *web.Replica, tick *scaler.Tick) string {
	prefix := string(m) + "  "
	out := s.Mood(m) + strings.TrimPrefix(s.Text(prefix, text), string(m))
	who := "Bellboard " + r.Instance + ", " + r.Role
	switch {
	case r.Role == "standby":
		who += ", which changes nothing; " + cmp.Or(r.Leader, "nobody") + " leads"
	case r.Role == "dry run":
		who += ", which changes nothing: a change below is what it would do"
	case r.Leader != "":
		who += " " + r.Leader
	}
	who += ", version " + r.Version
	if tick != nil {
		who += ", tick " + tick.ID + " of " + clockOf(tick.At)
	}
	return out + s.Text(strings.Repeat(" ", len(prefix)), who+".")
}

// lastView says what the rest of an answer is of, during a hold.
const lastView = "Bellboard creates, marks and removes nothing. What follows is of the last view before the hold."

func clockOf(t time.Time) string { return t.UTC().Format("15:04:05") + " UTC" }

// statusText returns the page's words for a terminal.
func statusText(s *term.Screen, is *web.Status, team string) string {
	seen := cmp.Or(is.Seen, is.Tick)
	var b strings.Builder
	b.WriteString(headline(s, is.Mood, is.Headline, &is.Replica, is.Tick))
	if is.Stuck > 0 {
		b.WriteString(s.Text("stuck: ", "no tick has ended for "+is.Stuck.String()+". What follows is old."))
	}
	if is.Tick != nil && is.Tick.Hold != "" {
		b.WriteString(s.Text("hold: ", is.Tick.Hold))
		b.WriteString(s.Text("      ", lastView))
	}
	if seen == nil || seen.Hold != "" {
		return b.String()
	}
	p := &seen.Plan
	b.WriteString("\n")
	if team == "" {
		since := ""
		if is.Waiting > 0 {
			since = ", oldest " + scaler.Short(is.Oldest)
		}
		b.WriteString(s.Text("", fmt.Sprintf("waiting %d%s · busy %d · free %d · starting %d · alive %d of %d · %s",
			is.Waiting, since, is.Busy, is.Free, is.Coming, is.Alive, is.Max, waited(is))))
		b.WriteString("\n" + teamsText(s, p))
	} else {
		b.WriteString(teamText(s, is, seen, team))
	}
	if len(is.Changes) > 0 {
		t := term.Table{Head: []string{"WHEN", "TEAM", "BELLBOARD DID", "BECAUSE"}, Short: 3}
		for _, c := range is.Changes[:min(len(is.Changes), changesShown)] {
			odd := slices.DeleteFunc(c.Results, func(r string) bool { return strings.HasSuffix(r, ": "+string(scaler.Done)) })
			t.Add(clockOf(c.At), c.Team, c.What, strings.Join(append([]string{c.Why}, odd...), "; "))
		}
		b.WriteString("\n" + t.In(s))
	}
	b.WriteString(lostText(s, is, team))
	return b.String()
}

func oldest(d *scaler.Decision) string {
	if d.Waiting == 0 {
		return "-"
	}
	return scaler.Short(d.Oldest)
}

func waited(is *web.Status) string {
	if is.Left == 0 {
		return "no build left the queue in the last hour"
	}
	return fmt.Sprintf("95 %% of %d builds waited less than %s in the last hour", is.Left, scaler.Short(is.P95))
}

// teamsText has a row for each team, the worst first, and for the builds that no team serves.
func teamsText(s *term.Screen, p *scaler.Plan) string {
	teams := make([]*scaler.Decision, 0, len(p.Decisions))
	for i := range p.Decisions {
		teams = append(teams, &p.Decisions[i])
	}
	slices.SortStableFunc(teams, func(a, b *scaler.Decision) int {
		if a.Mood() != b.Mood() {
			if a.Mood().Worse(b.Mood()) {
				return -1
			}
			return 1
		}
		return cmp.Compare(b.Oldest, a.Oldest)
	})
	var quiet []string
	if n := slices.IndexFunc(teams, func(d *scaler.Decision) bool { return d.Mood() == scaler.MoodQuiet }); n >= 0 && len(teams)-n > quietShown {
		for _, d := range teams[n:] {
			quiet = append(quiet, d.Team)
		}
		teams = teams[:n]
	}
	t := term.Table{Head: []string{"TEAM", "MOOD", "WAITING", "OLDEST", "BUSY", "FREE", "STARTING", "ALIVE", "BECAUSE"}, Short: 8}
	for _, d := range teams {
		text := d.Text
		if d.Changes() {
			text = d.Change() + ": " + text
		}
		t.Add(d.Team, string(d.Mood()), fmt.Sprint(d.Waiting), oldest(d), fmt.Sprint(d.Busy), fmt.Sprint(d.Free), d.OnTheWay(), fmt.Sprintf("%d of %d", d.Alive, d.MaxAgents), text)
	}
	out := ""
	if len(t.Rows) > 0 {
		out = t.In(s)
	}
	if len(quiet) > 0 {
		out += s.Text("", fmt.Sprintf("%d quiet teams: %s", len(quiet), strings.Join(quiet, ", ")))
	}
	nobodys := slices.Concat(p.Unserved, p.Unresolved)
	if len(nobodys) > 0 {
		out += "\nBuilds that no team serves:\n"
	}
	for i := range nobodys {
		u := &nobodys[i]
		text := fmt.Sprintf("%d, the oldest %s: %s (jobs: %s)", u.Count, scaler.Short(u.Oldest), u.Text, strings.Join(u.Jobs, ", "))
		if remedy := u.Remedy(); remedy != "" {
			text += ". To serve them: " + remedy + "."
		}
		out += s.Text("  ", text)
	}
	return out
}

// teamText has a team's decision, agents, starts and slots.
func teamText(s *term.Screen, is *web.Status, seen *scaler.Tick, team string) string {
	d := seen.Plan.Decision(team)
	if d == nil {
		return "" // the server knows the team, or answers that it does not
	}
	var out strings.Builder
	out.WriteString(s.Text("", fmt.Sprintf("%s: waiting %d, oldest %s · busy %d · free %d · starting %s · alive %d of %d · %s",
		team, d.Waiting, oldest(d), d.Busy, d.Free, d.OnTheWay(), d.Alive, d.MaxAgents, waited(is))) + s.Text("", d.Change()+": "+d.Text))
	t, more := term.Table{Head: []string{"AGENT", "STATE", "AGE", "BUILD", "REMARK"}, Short: 4}, 0
	for i := range seen.Plan.Agents {
		a := &seen.Plan.Agents[i]
		if !a.Pod || a.Team != team {
			continue
		}
		if len(t.Rows) == agentsShown {
			more++
			continue
		}
		state, build, remark := web.State(a.Class), "-", a.Text
		if a.OfflineBy == scaler.Ours {
			remark = "" // Bellboard's own mark, and the state says so
		}
		if a.Phase != "" {
			state += ", " + string(a.Phase)
		}
		if a.Build != "" {
			build = web.BuildName(a.Build)
		}
		t.Add(a.Name, state, scaler.Short(max(0, seen.At.Sub(a.Created))), build, remark)
	}
	if len(t.Rows) > 0 {
		out.WriteString("\n" + t.In(s))
	}
	if more > 0 {
		fmt.Fprintf(&out, "and %d more\n", more)
	}
	for _, u := range d.Usual {
		out.WriteString(s.Text("", fmt.Sprintf("%s agents start in %s", u.Kind, u.Words())))
	}
	for i := range d.Scheduled {
		out.WriteString(s.Text("", "window of SCHEDULE: "+d.Scheduled[i].Words()))
	}
	slots := map[scaler.SlotState]int{}
	for _, x := range seen.Plan.Slots {
		if x.Team == team {
			slots[x.State]++
		}
	}
	for _, state := range scaler.SlotStates() {
		if n := slots[state]; n > 0 {
			fmt.Fprintf(&out, "cache slots %s: %d\n", state, n)
		}
	}
	return out.String()
}

// lostText has the last agents that failed, and the builds that lost their agent.
func lostText(s *term.Screen, is *web.Status, team string) string {
	t := term.Table{Head: []string{"WHEN", "TEAM", "AGENT", "FAILED BY", "BECAUSE"}, Short: 4}
	for i := range is.Failed {
		if f := &is.Failed[i]; (team == "" || team == f.Team) && len(t.Rows) < changesShown {
			t.Add(clockOf(f.At), f.Team, f.Agent, string(f.Failure), f.Text)
		}
	}
	for i := range is.Lost {
		if l := &is.Lost[i]; team == "" || team == l.Team {
			t.Add(clockOf(l.At), l.Team, l.Agent, fmt.Sprintf("%d builds lost", l.Builds), l.Text)
		}
	}
	if len(t.Rows) == 0 {
		return ""
	}
	return "\n" + t.In(s)
}

// whyText says why builds wait: one group of builds in full, several in short.
func whyText(s *term.Screen, is *web.Why) string {
	out := headline(s, is.Mood, is.Headline, &is.Replica, nil)
	if is.Mood == scaler.MoodHold {
		out += s.Text("      ", lastView)
	}
	out += "\n"
	switch len(is.Queued) {
	case 0:
		return out + s.Text("", is.None)
	case 1:
		out += s.Text("", is.Queued[0].Text)
		for _, why := range is.Queued[0].Why {
			out += s.Text("  ", why)
		}
		return out
	}
	for i := range is.Queued[:min(len(is.Queued), queuedShown)] {
		q := &is.Queued[i]
		short := q.Why[:min(len(q.Why), 1)]
		if len(q.Why) > 1 {
			short = []string{q.Why[0], q.Why[len(q.Why)-1]}
		}
		out += s.Text("", strings.Join(append([]string{q.Text}, short...), " "))
	}
	if more := len(is.Queued) - queuedShown; more > 0 {
		out += fmt.Sprintf("and %d more\n", more)
	}
	return out + s.Text("", "bellboard why JOB says more of one job.")
}
