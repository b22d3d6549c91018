package scaler

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// This file makes every sentence for people, from numbers; testdata/sentences.golden shows them all. No other
// file of the package has words for people but validate.go, whose errors are for those who mend Bellboard,
// and mark.go, whose words Jenkins keeps.

var zeros = regexp.MustCompile(`([hm])(0[ms])+$`)

// Short prints a duration as people write it.
func Short(dur time.Duration) string {
	return zeros.ReplaceAllString(dur.Round(time.Second).String(), "$1")
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// said returns the parts that are not empty.
func said(parts ...string) []string {
	return slices.DeleteFunc(parts, func(s string) bool { return s == "" })
}

// ---- rules

// note is what is left of a rule, or why it is there: "23s left".
func (s *Step) note() string {
	switch {
	case s.Veto != nil:
		return s.Veto.text()
	case s.Rule == RuleBackoff && s.Pause.Left > 0:
		return Short(s.Pause.Left) + " left"
	case s.Rule == RuleBackoff, s.Rule == RuleFallback:
		return s.Pause.text()
	case s.Left > 0:
		return Short(s.Left) + " left"
	}
	return ""
}

// blocks says what a rule does to a team that wants more. Other rules keep nothing from being made.
var blocks = map[Rule]string{
	RulePaused:          "paused",
	RuleQuietDown:       "Jenkins is about to shut down",
	RuleBackoff:         "{pause}",
	RuleScaleUpCooldown: "scale-up cooldown, {left} left",
	RuleMaxPersistent:   "at MAX_PERSISTENT={limit}",
	RuleScaleUpStep:     "SCALE_UP_STEP={limit} at a time",
	RuleMaxAgents:       "at MAX_AGENTS={limit} (wants {want})",
	RuleGlobalMax:       "all teams together at BELLBOARD_MAX_AGENTS={limit}",
	RuleVetoed:          "{veto}",
}

// block returns the words of blocks with the step's numbers.
func (s *Step) block() string {
	return strings.NewReplacer(
		"{limit}", strconv.Itoa(s.Limit), "{want}", strconv.Itoa(s.Want), "{left}", Short(s.Left),
		"{pause}", s.Pause.text(), "{veto}", s.Veto.text(),
	).Replace(blocks[s.Rule])
}

func (p *Pause) text() string {
	if p == nil {
		return ""
	}
	why, where := string(p.Kind)+" agents failed", "on the way"
	if p.Failure != "" {
		why += " (" + string(p.Failure) + ")"
	}
	if p.Came {
		where = "on trial"
	}
	switch {
	case p.Left > 0:
		return why + ", next try in " + Short(max(p.Left, time.Second))
	case p.Probes == 0:
		return why + ", one probe first"
	case p.May > 0:
		return why + fmt.Sprintf(", one more probe, %d overdue", p.Probes)
	case p.Probes > 1:
		return why + fmt.Sprintf(", %d probes %s", p.Probes, where)
	}
	return why + ", one probe " + where
}

// instead says which agents are made in place of those that fail.
func (p *Pause) instead() string {
	other := map[Kind]Kind{Ephemeral: Persistent, Persistent: Ephemeral}[p.Kind]
	return p.text() + ": " + string(other) + " ones instead"
}

func (v *Vetoed) text() string {
	switch {
	case v == nil:
		return ""
	case v.NamesNode:
		return "a Jenkins node is named like the label ‘" + v.Label + "’; rename it"
	case v.Inferred:
		return "Jenkins does not name the label, which is most likely ‘" + v.Label + "’: " + v.Why
	case v.Label == "":
		return "Jenkins gives builds without a label to no agent that fits: " + v.Why
	}
	return fmt.Sprintf("Jenkins gives %q to no agent that fits: %s", v.Label, v.Why)
}

// ---- decisions

// conclude finds the reason and the words for a team's decision.
func (a *ask) conclude() {
	dec := &a.dec
	dec.Want -= dec.Downs()
	block, fallback := a.blocked()
	leaving, leavingText := a.leaving()
	more := ""
	switch {
	case dec.Ups() > 0:
		dec.Reason, dec.Text = a.growing()
		more = strings.Join(said(block, fallback, leavingText), "; ")
		if block == "" && fallback == "" {
			more = strings.Join(said(a.kindText(), leavingText), "; ")
		}
	case dec.Downs() > 0 || dec.Renewals() > 0 && block == "":
		dec.Reason, dec.Text = leaving, leavingText
	case block != "":
		dec.Reason, dec.Text = ReasonBlocked, block
		more = leavingText
	case dec.Waiting > 0:
		dec.Reason, dec.Text = ReasonSteady, a.comingText()
	case a.t.Paused:
		dec.Reason, dec.Text = ReasonPaused, "paused"
	default:
		dec.Reason, dec.Text = ReasonSteady, "no build waits"
		more = a.heldText()
	}
	stays := ""
	switch {
	case a.stuck == 1:
		stays = "1 pod does not go away"
	case a.stuck > 1:
		stays = fmt.Sprintf("%d pods do not go away", a.stuck)
	}
	dec.Text = strings.Join(said(dec.Text, more, a.veto.text(), stays), "; ")
}

// blocked says which rule kept agents from being made, and which agents are made in place of others. When
// agents are made, the second says the first, too.
func (a *ask) blocked() (block, fallback string) {
	for i := range a.dec.Steps {
		if s := &a.dec.Steps[i]; s.Rule == RuleFallback {
			fallback = s.Pause.instead()
		}
	}
	if s := a.dec.stops(); s != nil {
		block = s.block()
	}
	return block, fallback
}

// growing says for what agents are made; the reason is the most urgent one.
func (a *ask) growing() (reason Reason, text string) {
	for _, why := range []Reason{ReasonDemand, ReasonMinimum, ReasonSpare, ReasonForecast} {
		switch n := a.up.count(func(c creation) bool { return c.why == why }); {
		case n > 0 && text == "":
			reason, text = why, a.creationText(why)
		case n > 0:
			text += fmt.Sprintf("; %d of the %d new agents for %s", n, a.dec.Ups(), a.creationText(why))
		}
	}
	return reason, text
}

func (a *ask) creationText(why Reason) string {
	switch why {
	case ReasonMinimum:
		return fmt.Sprintf("MIN_AGENTS=%d", a.t.MinAgents)
	case ReasonSpare:
		return fmt.Sprintf("MIN_IDLE=%d", a.t.MinIdle)
	case ReasonForecast:
		return plural(a.dec.Weighed.Ahead, "build") + " expected within " + Short(reach(a.weighed.Lead))
	default:
		return a.comingText()
	}
}

// kindText says why mode auto makes persistent agents, or one-build agents, for builds that accept either.
func (a *ask) kindText() string {
	w, n := &a.dec.Weighed, a.dec.Level
	if a.t.Mode != ModeAuto || w.Costs == 0 || a.up.count(soft) == 0 {
		return ""
	}
	if a.dec.Up[Persistent] == 0 {
		n++
	}
	switch {
	case n == 0 || n > len(a.weighed.Levels):
		return ""
	case len(a.weighed.Levels[n-1].Gaps.Last) < ownGaps && a.dec.Up[Persistent] == 0:
		return "" // a limit decides, and not the cache
	case len(a.weighed.Levels[n-1].Gaps.Last) < ownGaps:
		return fmt.Sprintf("persistent: too few builds yet to know what the cache of agent %d saves", n)
	}
	saves := seconds(w.Gain.Seconds() * (24 * time.Hour).Seconds() / a.weighed.Levels[n-1].Every.mean().Seconds())
	worth := seconds((1 + w.WaitValue) * saves.Seconds())
	form := "persistent: the cache of agent %d saves builds %s a day, worth %s of an agent; its volume costs %s"
	switch {
	case a.dec.Up[Persistent] > 0 && worth <= w.Costs:
		return "" // the slot is kept only for as long as it pays, or it is there already
	case a.dec.Up[Persistent] == 0 && worth > w.Costs:
		return "" // a limit or a trial decides
	case a.dec.Up[Persistent] == 0:
		form = "ephemeral: a cache of agent %d would save builds %s a day, worth %s of an agent; its volume would cost %s"
	}
	return fmt.Sprintf(form, n, Short(saves), Short(worth), Short(w.Costs))
}

// heldText says that free agents stay, and why.
func (a *ask) heldText() string {
	switch w := &a.dec.Weighed; {
	case w.Hold == 0 || a.total(a.surplus) == 0:
		return ""
	case w.Ahead > 0:
		return fmt.Sprintf("keeps up to %s: builds are expected about now", plural(w.Hold, "free agent"))
	default:
		return fmt.Sprintf("keeps up to %s: builds usually come soon, and a start takes %s", plural(w.Hold, "free agent"), Short(w.Start))
	}
}

func (a *ask) comingText() string {
	text := fmt.Sprintf("%d waiting, %d free, %d on the way", a.dec.Waiting, a.dec.Free, a.dec.Coming)
	if a.dec.Overdue > 0 {
		text += fmt.Sprintf(", %d overdue", a.dec.Overdue)
	}
	var slowest time.Duration // how long what is on the way usually takes, by the slowest kind
	for _, u := range a.dec.Usual {
		if a.coming[u.Kind]+a.ups(u.Kind) > 0 {
			slowest = max(slowest, u.Half)
		}
	}
	return text + usually(slowest)
}

// usually says how long starts take, if that is known.
func usually(dur time.Duration) string {
	if dur == 0 {
		return ""
	}
	return ", usually " + Short(dur)
}

// leaving says which agents go in this tick, and why; the reason is that of the first.
func (a *ask) leaving() (why Reason, text string) {
	var parts []string
	say := func(r Reason, words string) {
		if parts = append(parts, words); why == "" {
			why = r
		}
	}
	switch idle := a.dec.Downs() - a.departs.emptied; {
	case idle > 0 && a.departs.made > 0:
		say(ReasonIdle, "drains "+plural(idle, "idle agent")+": builds wait at a full cap")
	case idle > 0 && a.policy():
		say(ReasonIdle, "drains "+plural(idle, "free agent")+": to wait for the next build costs more than a start")
	case idle > 0:
		say(ReasonIdle, "drains "+plural(idle, "agent")+": idle too long")
	}
	if n := a.departs.emptied; n > 0 {
		say(ReasonRoom, "drains "+plural(n, "agent")+" at work: the other agents have room for its builds")
	}
	reasons := slices.SortedFunc(maps.Keys(a.departs.renewed), func(x, y outdated) int { return strings.Compare(x.text(), y.text()) })
	for _, r := range reasons {
		say(ReasonRenew, "renews "+plural(a.departs.renewed[r], "agent")+": "+r.text())
	}
	return why, strings.Join(parts, "; ")
}

func (o outdated) text() string {
	if o.settings {
		return "made from settings that have changed"
	}
	return "older than MAX_LIFETIME=" + Short(o.lifetime)
}

func renewText(why outdated) string { return why.text() + ", leaving" }

// Change says in a few words what the decision does: "+3 ephemeral, -1 persistent", "renew 1 persistent",
// "none" or "none, blocked".
func (d *Decision) Change() string {
	var parts []string
	say := func(format string, n int, k Kind) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf(format, n, k))
		}
	}
	for _, k := range Kinds() {
		say("+%d %s", d.Up[k], k)
		say("-%d %s", d.Down[k], k)
		say("renew %d %s", d.Renew[k], k)
	}
	switch {
	case len(parts) > 0:
		return strings.Join(parts, ", ")
	case d.Reason == ReasonBlocked:
		return "none, blocked"
	}
	return "none"
}

// OnTheWay says how many executors are on the way, and beside them those that no build waits for.
func (d *Decision) OnTheWay() string {
	if d.Overdue > 0 {
		return fmt.Sprintf("%d+%d overdue", d.Coming, d.Overdue)
	}
	return strconv.Itoa(d.Coming)
}

// Waited says how long the oldest of the waiting builds waits; "-": none does.
func (d *Decision) Waited() string {
	if d.Waiting == 0 {
		return "-"
	}
	return d.Oldest.Round(time.Second).String()
}

// Words says how a pool's agents start: "14s (9 in 10 within 20s, the longest part pull with 9s)".
func (u Usual) Words() string {
	text := fmt.Sprintf("%s (9 in 10 within %s", Short(u.Half), Short(u.Most))
	if len(u.Phases) > 0 {
		longest := slices.MaxFunc(u.Phases, func(a, b PhaseTime) int { return cmp.Compare(a.Took, b.Took) })
		text += ", the longest part " + string(longest.Phase) + " with " + Short(longest.Took)
	}
	return text + ")"
}

// ---- all teams

var holdWords = map[Source]string{
	SourceJenkins:    "Jenkins cannot be read",
	SourceKubernetes: "Kubernetes cannot be read",
	SourceBellboard:  "Bellboard's own plan broke a promise",
}

// Headline says in a sentence how all builds fare, the worst first.
func (t *Tick) Headline() string {
	if t.Hold != "" {
		return "On hold for " + Short(t.At.Sub(t.HoldSince)) + ": " + holdWords[t.HoldBy] + "."
	}
	s := t.Plan.Sum()
	text, nobodys := "All quiet: no build waits or runs", fmt.Sprintf("no team serves %d of them", s.Nobodys)
	switch n := s.Waiting + s.Nobodys; {
	case n == 1:
		text, nobodys = "1 build waits, for "+Short(s.Oldest), "no team serves it"
	case n > 1:
		text = fmt.Sprintf("%d builds wait, the oldest %s", n, Short(s.Oldest))
	case s.Mood != MoodQuiet:
		text = "No build waits, " + plural(s.Busy, "build") + " at work"
	}
	if s.Waiting > 0 && s.Coming > 0 {
		text += "; " + plural(s.Coming, "executor") + " on the way" + usually(s.Usual)
	}
	if s.Nobodys > 0 {
		text += "; " + nobodys
	}
	if s.Worst != nil && s.Worst.stops() != nil {
		cause, _, _ := strings.Cut(s.Worst.stops().block(), ": ") // without Jenkins' own long words
		text += "; " + s.Worst.Team + ": " + cause
	}
	return text + "."
}

// ---- why a build waits

// explain says why the builds wait.
func (t *Tick) explain(q *Queued) {
	q.Text = q.words()
	switch w := t.demandOf(q); {
	case q.State != Buildable:
		q.Why = said(q.stateText())
	case q.resolution == Unresolved:
		q.Why = []string{sentence(unresolvedText(q.jenkins))}
	case w != nil:
		q.Why = t.demandTexts(q, w)
	case t.agentOf(q.Label) != nil:
		q.Why = []string{pinnedText(t.agentOf(q.Label))}
	case q.Label == "":
		q.Why = []string{sentence(unlabelledText)}
	}
}

func sentence(text string) string { return strings.ToUpper(text[:1]) + text[1:] + "." }

// words says which builds wait, for what, and for how long.
func (q *Queued) words() string {
	label := ""
	switch {
	case q.Label != "":
		label = " for ‘" + q.Label + "’"
	case q.resolution == Unlabelled:
		label = " for an agent of any label"
	}
	if q.Builds == 1 {
		return fmt.Sprintf("1 build of %s waits%s, for %s now.", q.Job, label, Short(q.Oldest))
	}
	return fmt.Sprintf("%d builds of %s wait%s, the oldest %s.", q.Builds, q.Job, label, Short(q.Oldest))
}

// stateText says why Jenkins itself holds the builds back; "": it does not.
func (q *Queued) stateText() string {
	why := "."
	if q.jenkins != "" {
		why = ": " + strings.TrimSuffix(q.jenkins, ".") + "."
	}
	switch q.State {
	case Quiet:
		return "Jenkins holds it back: its quiet period is not over."
	case Blocked:
		return "Jenkins holds it back, for a reason that no agent changes" + why
	case Pending:
		return "It has its executor, and starts in a moment."
	case Flyweight:
		return "It needs no agent: Jenkins starts it by itself."
	case ShuttingDown:
		return "Jenkins is about to shut down, and starts no build."
	case Buildable:
	}
	return ""
}

func pinnedText(a *Agent) string {
	text := "It wants to go on on agent " + a.Name + ", which is " + string(a.Class)
	if a.Text != "" {
		text += ": " + a.Text
	}
	return text + "."
}

// demandTexts goes from the label to the next agent.
func (t *Tick) demandTexts(q *Queued, w *Demand) []string {
	if len(w.Teams) == 0 && w.Short == 0 {
		return []string{"No team answers, and none has to: a free executor of another Jenkins node fits."}
	}
	if len(w.Teams) == 0 {
		texts, u := []string{sentence(noTeamText(w.Label, w.Inferred))}, Unserved{Label: w.Label}
		if i := slices.IndexFunc(t.Plan.Unserved, func(known Unserved) bool { return known.Label == w.Label }); i >= 0 {
			u.Near = t.Plan.Unserved[i].Near
		}
		if remedy := u.Remedy(); remedy != "" {
			texts = append(texts, sentence("To serve it: "+remedy))
		}
		return texts
	}
	answers := "Team " + q.Team + " answers"
	if len(w.Teams) > 1 {
		answers += "; if it has no room: " + strings.Join(w.Teams[1:], ", ")
	}
	d := t.Plan.Decision(q.Team)
	q.Next = t.expected(d)
	return []string{answers + ".", w.served(), d.has(), "Bellboard's decision: " + d.Change() + ": " + d.Text + ".", q.Next.words(d)}
}

// served says how many of all builds of the label have an executor in sight.
func (w *Demand) served() string {
	return fmt.Sprintf("Executors that are free or on their way serve %d of %s for this label.", w.Builds-w.Short, plural(w.Builds, "build"))
}

// has says what a team has.
func (d *Decision) has() string {
	return fmt.Sprintf("The team has %s: %d busy, %d free, %s on the way; %d of at most %d agents live.",
		plural(d.Busy+d.Free+d.Coming+d.Overdue, "executor"), d.Busy, d.Free, d.OnTheWay(), d.Alive, d.MaxAgents)
}

// words says when the next agent is expected.
func (x *Expected) words(d *Decision) string {
	switch stop := d.stops(); {
	case x == nil && stop != nil && (stop.Rule == RuleMaxAgents || stop.Rule == RuleMaxPersistent || stop.Rule == RuleGlobalMax):
		return "No agent is on its way: the build gets an executor when another build ends."
	case x == nil && d.Short == 0:
		return "A free executor is there: Jenkins gives it the build in a moment."
	case x == nil:
		return "No agent is on its way."
	case x.Start == 0 && x.Agent == "" && x.After == 0:
		return "An agent is being made; how long a start takes is not known yet."
	case x.After > 0:
		text := "The next agent is tried in " + Short(max(x.After, time.Second))
		if x.Start == 0 {
			return text + "; how long a start takes is not known yet."
		}
		return text + ", and a start usually takes " + Short(x.Start) + "."
	case x.Agent == "":
		return "An agent is being made, and is expected in " + Short(x.In) + "."
	}
	text := "The next agent, " + x.Agent
	if x.Phase != "" {
		text += " in the step " + string(x.Phase)
	}
	switch {
	case x.Start == 0:
		return text + ", is on its way; how long a start takes is not known yet."
	case x.In > 0:
		return text + ", is expected in " + Short(max(x.In, time.Second)) + "."
	case x.Age <= 2*x.Start:
		return text + ", is expected any moment."
	}
	return text + strings.Join(said(fmt.Sprintf(", is late: a start usually takes %s, and it has taken %s", Short(x.Start), Short(x.Age)), x.Text), ": ") + "."
}

// noneText says that there is no such build. waiting is how many builds the queue has.
func (t *Tick) noneText(what string, waiting int) string {
	switch d := t.Plan.Decision(what); {
	case waiting == 0 && what == "":
		return "No build waits in Jenkins' queue."
	case d != nil:
		return "No build waits for team " + d.Team + ". " + d.has()
	case waiting == 0:
		return "No build waits in Jenkins' queue, so none of ‘" + what + "’."
	}
	return "No build that waits has ‘" + what + "’ as its job, label or team. In Jenkins' queue: " + plural(waiting, "build") + "."
}

// ---- windows of SCHEDULE

// WindowTime returns the begin or the end of a window, in the zone of the time.
func WindowTime(t time.Time) string { return t.Format("Mon 2 Jan 15:04 MST") }

// Words says what a window sets, and until when.
func (s *Scheduled) Words() string {
	return fmt.Sprintf("%s=%s instead of %s until %s: %s", s.Setting, s.Value, s.Else, WindowTime(s.Until), s.Window)
}

// Over says what holds again after the window.
func (s *Scheduled) Over() string {
	return fmt.Sprintf("%s=%s again: %s is over", s.Setting, s.Else, s.Window)
}

// ---- items that no team serves

// Remedy says what a person can do about builds that no team serves; "": Text says it.
func (u *Unserved) Remedy() string {
	switch {
	case u.Label == "":
		return ""
	case u.Near == nil:
		return "give a team all of these labels (BELLBOARD_TEAM_<NAME>_LABELS), or the job another label"
	case u.Near.Meant != "":
		return fmt.Sprintf("write ‘%s’ in the job in place of ‘%s’, if that is meant: team %s has it; or %s", u.Near.Meant, u.Near.Lacks[0], u.Near.Team, u.Near.settings())
	case len(u.Near.Lacks) == 0:
		return fmt.Sprintf("%s: team %s has the labels, and makes no %s agents", u.Near.settings(), u.Near.Team, u.Near.Kind)
	}
	return u.Near.settings() + "; or give the job another label"
}

// settings says which settings make the team serve the builds.
func (n *Near) settings() string {
	prefix, parts := VariablesOf(n.Team, "")+"_", []string{}
	if len(n.Lacks) > 0 {
		parts = append(parts, "add ‘"+strings.Join(n.Lacks, "’ and ‘")+"’ to "+prefix+"LABELS, if agents of team "+n.Team+", the nearest one, can run these builds")
	}
	if n.Kind != "" {
		parts = append(parts, "set "+prefix+"MODE="+string(ModeAuto))
	}
	return strings.Join(parts, ", and ")
}

const unlabelledText = "no team serves builds without a label: give them one, or a team UNLABELLED=true"

func noTeamText(label string, inferred bool) string {
	text := "no team serves ‘" + label + "’"
	if inferred {
		text += ", which is most likely the label"
	}
	return text
}

func unresolvedText(why string) string { return "Jenkins does not name the label: " + why }

// ---- agents

const (
	resumeText    = "a build wants its agent back"
	roomText      = "the other agents have room for its builds, leaving"
	connectedText = "its Jenkins node is online"
	secretText    = "repeated after a restart of Bellboard"
	buildText     = "a build runs on it"
	heldText      = "a person holds it, and no build runs on it"
	launchText    = "the agent runs, and waits for Jenkins to connect"
	berthText     = "a spare Jenkins node keeps its labels known to Jenkins"
	goneTeamText  = "its team is gone"
	pausedText    = "the team is paused"
	vanishedText  = "its pod vanished: deleted by force, or with its Kubernetes node"
)

func freeText() string { return "free for over " + Short(FreeUnprotected) }

func idleText(idle time.Duration, crowded bool) string {
	text := "idle " + Short(idle)
	if crowded {
		text += " while builds wait for its place"
	}
	return text + ", leaving"
}

// stepTexts has the words for the classes whose step always has the same reason.
var stepTexts = map[Class]string{
	Resuming:      resumeText,
	FenceInTheWay: resumeText,
	Draining:      "Jenkins is about to restart, and does not wait for builds on marked nodes",
	Leaving:       "its pod is being deleted by somebody else",
	Drained:       "idle and marked",
	Intruder:      "an agent of ours without a pod",
	Lost:          "its pod vanished under a build",
	Stray:         "no agent needs this Jenkins node",
}

func stepText(m *agent, now time.Time) string {
	switch class := m.verdict.Class; class {
	case Ended:
		return strings.TrimSpace("its pod ended: " + string(m.Pod.Phase) + " " + m.Pod.Trouble)
	case Stuck:
		return m.stuckText(now)
	case Fenced, Ghost:
		switch {
		case m.Pod != nil && !m.Pod.Connected: // fenced before it ever came
			return m.stuckText(now)
		case m.Node == nil && m.Connect == Inbound:
			return "its Jenkins node was deleted, so its agent cannot come back"
		}
		return "not connected for over " + Short(GhostAfter)
	case Busy, Free, Coming, Reconnecting:
		switch {
		case m.verdict.Reason == ReasonOneBuild && class == Free:
			return "the agent has had its build, and its mark was lifted"
		case m.verdict.Reason == ReasonOneBuild:
			return "one build"
		case m.verdict.Reason == ReasonDocker:
			return "its Docker daemon is dead (" + string(m.Pod.DockerFailure) + ")"
		}
		return "its Kubernetes node goes away"
	default:
		return cmp.Or(stepTexts[class], string(class))
	}
}

// agentText says what is odd about an agent; "": nothing.
func agentText(m *agent, now time.Time) string {
	switch {
	case m.overdue:
		return "overdue: " + culprit(m.Pod, now)
	case m.stuck:
		return "its pod does not go away: its deletion was due " + Short(now.Sub(m.Pod.Ends)) + " ago"
	case m.Pod != nil && m.Pod.Trouble != "":
		return m.Pod.Trouble + ": " + m.Pod.TroubleText
	case m.Node != nil:
		return m.Node.Offline
	}
	return ""
}

var phaseWords = map[Phase]string{
	PhaseSchedule: "waits for a Kubernetes node",
	PhaseMount:    "its volumes or its network not ready",
	PhasePull:     "image pull",
	PhaseDocker:   "Docker daemon not ready",
	PhaseAgent:    "agent's container not started",
	PhaseConnect:  "runs, and does not connect",
}

func (p Phase) words() string { return phaseWords[p] }

// culprit says at which step an agent stands still, since when, and why.
func culprit(p *Pod, now time.Time) string {
	phase, since := p.reached()
	text := phase.words()
	switch {
	case phase == PhaseSchedule && p.Failure == FailureStorage:
		text = "waits for its volume"
	case phase == PhasePull && p.Failure == FailureCrashLoop:
		text = "a container cannot be made"
	case (phase == PhasePull || phase == PhaseAgent) && p.Failure == "" && p.Faulty != "":
		text = "waits for container " + p.Faulty
	}
	if !since.IsZero() {
		text += " since " + Short(now.Sub(since))
	}
	return text + reasonOf(p)
}

func reasonOf(p *Pod) string {
	if p.Trouble == "" {
		return ""
	}
	return " (" + p.Trouble + ")"
}

func (m *agent) stuckText(now time.Time) string {
	switch {
	case m.Pod == nil:
		return "did not connect"
	case m.Connect == Inbound && m.Node == nil:
		return "its Jenkins node is gone, so the agent cannot connect"
	case m.givenUp(now):
		return fmt.Sprintf("given up after %s: %s", Short(now.Sub(m.Pod.Created)), culprit(m.Pod, now))
	}
	wait := m.StartTimeout
	if m.Pod.Scheduled.IsZero() {
		wait = m.Pod.patience()
	} else if phase, _ := m.Pod.reached(); phase == PhaseDocker {
		return fmt.Sprintf("Docker did not become ready in %s%s", Short(wait), reasonOf(m.Pod))
	}
	return fmt.Sprintf("did not connect in %s: %s", Short(wait), culprit(m.Pod, now))
}

func failedText(a *Action) string { return strings.Join(said(a.Text, a.Pod.TroubleText), ": ") }

// ending is what a pod tells of its end; "": nothing.
func (p *Pod) ending() string {
	text := ""
	switch {
	case p.Ended():
		text = "its pod ended"
	case p.DeletingByUs:
		return "the agent lost its connection, and did not come back"
	case p.Deleting && p.Trouble == "":
		return "its pod was deleted by somebody"
	case p.Deleting:
		text = "its pod was deleted"
	case p.Disrupted:
		text = "its pod was to be deleted by the cluster"
	default:
		return ""
	}
	return strings.Join(said(text, p.Trouble, p.TroubleText), ": ")
}

// ---- cache slots

const (
	slotClosingText = "a cleanup removes everything of this instance"
	slotLostText    = "its volume is gone"
	slotSmallText   = "smaller than CACHE_SIZE"
	slotAsideText   = "an agent did not start on this slot"
	slotUnusedText  = "no pool uses this slot any more"
)

func slotOrphanText(unused time.Duration) string {
	return slotUnusedText + ", for " + Short(unused) + " now"
}

func slotOldText(unused, keep time.Duration) string {
	return fmt.Sprintf("unused for %s (CACHE_KEEP=%s)", Short(unused), Short(keep))
}

func slotWorthText(worth int) string {
	return fmt.Sprintf("used too rarely: the team has volumes worth their cost for %s", plural(worth, "slot"))
}

func slotCrowdText(most int, aside bool) string {
	use := "agents can use"
	if aside {
		use = "are put aside"
	}
	return fmt.Sprintf("more than MAX_PERSISTENT=%d %s", most, use)
}

// The errors of what was learnt name what is wrong as the JSON does.

func tooLarge(teams, size, most int) error {
	return fmt.Errorf("what was learnt of %d teams takes %d bytes, over %d", teams, size, most)
}

func tooLong(most int) error { return fmt.Errorf("it has more than %d bytes of text", most) }

func unknownVersion(is int) error {
	return fmt.Errorf("its version is %d, and this Bellboard reads version %d", is, learntVersion)
}

func ofTeam(team string, err error) error { return fmt.Errorf("team %q: %w", team, err) }

func outOfBounds(what string, is, least, most float64) error {
	return fmt.Errorf("%s is %g, and not from %g to %g", what, is, least, most)
}

func outOfTime(what string, is, now time.Time) error {
	return fmt.Errorf("%s is of %s, and now it is %s", what, is.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
}

func unknownWord(what, is string) error { return fmt.Errorf("%q is no %s", is, what) }

func useInDoubt(level int, used bool) error {
	return fmt.Errorf("level %d is in use by demand: %t, and not by since", level, used)
}
