package migrate

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"bellboard/pool"
	"bellboard/scaler"
)

// A setting is one variable of a team or of the daemon, and the field that it comes from.
type setting struct{ name, value, at string }

// A team is what one pod template becomes.
type team struct {
	name     string
	at       string // the template's place in the file
	settings []setting
	template map[string]any // the pod template; empty: none
}

func (t *team) set(name, value, at string) {
	if value != "" {
		t.settings = append(t.settings, setting{name, value, at})
	}
}

func (t *team) get(name string) string {
	for _, s := range t.settings {
		if s.name == name {
			return s.value
		}
	}
	return ""
}

func (t *team) drop(name string) {
	t.settings = slices.DeleteFunc(t.settings, func(s setting) bool { return s.name == name })
}

// part returns an object within the pod template, which it makes if need be.
func (t *team) part(path ...string) map[string]any { return part(t.template, path...) }

func part(at map[string]any, path ...string) map[string]any {
	for _, name := range path {
		next, ok := at[name].(map[string]any)
		if !ok {
			next = map[string]any{}
			at[name] = next
		}
		at = next
	}
	return at
}

// team makes a team of a template, or nil if the template makes no agents of its own.
func (t *template) team() *team {
	mode := t.value("nodeUsageMode")
	unlabelled := strings.EqualFold(mode, "NORMAL")
	if t.label == "" && !unlabelled {
		t.m.fine(t.at, "", noLabel+"so only other templates use it; they have its values here")
		return nil
	}
	out := &team{name: cmp.Or(t.name, t.label), at: t.at, template: map[string]any{}}
	t.labels(out, t.label)
	pod := t.pod()
	if os := pool.NotLinux(pod.Spec.NodeSelector); os != "" {
		t.m.todo(t.at+".nodeSelector", "", noTeam+os)
		return nil
	}
	if unlabelled {
		out.set("UNLABELLED", "true", t.at+".nodeUsageMode")
	}
	out.set("MODE", "ephemeral", t.at)
	if idle := t.value("idleMinutes"); idle != "" {
		out.drop("MODE")
		out.set("MODE", "persistent", t.at+".idleMinutes")
		out.set("IDLE_TIMEOUT", idle+"m", t.at+".idleMinutes")
	}
	t.caps(out)
	if wait := t.number("slaveConnectTimeout"); wait != nil && *wait > 300 && *wait != 1000 {
		out.set("START_TIMEOUT", fmt.Sprintf("%ds", *wait), t.at+".slaveConnectTimeout")
	}
	t.taken["slaveConnectTimeoutStr"] = true
	t.connect(out)
	p := &parts{team: out, t: t, pod: pod}
	p.settle()
	t.tell(templateFields)
	t.rest()
	return out
}

// labels gives a team the labels that are labels to Bellboard, too.
func (o *object) labels(out *team, text string) {
	var labels []string
	for l := range strings.FieldsSeq(text) {
		switch {
		case strings.ContainsAny(l, `&|!<>(),"'`) || strings.Contains(l, "->"):
			o.m.todo(o.at+".label", l, "is no plain word, and is left out; give the jobs that ask for it another label")
		case slices.Contains(scaler.Kinds(), scaler.Kind(l)):
			o.m.fine(o.at+".label", l, "Bellboard itself gives this label to the agents of that kind")
		case !slices.Contains(labels, l):
			labels = append(labels, l)
		}
	}
	if len(labels) == 0 {
		labels = []string{teamName(out.name)}
		o.m.todo(o.at+".label", "", "is not set, and each of Bellboard's teams has one; "+labels[0]+" is written, and no job has to ask for it")
	}
	out.set("LABELS", strings.Join(labels, " "), o.at+".label")
}

// caps sets the most agents of a team.
func (t *template) caps(out *team) {
	own := t.get("instanceCap")
	if own == nil || own.text == "" {
		own = t.get("instanceCapStr")
	}
	most := t.value("instanceCap", "instanceCapStr")
	all := t.cloud.value("containerCap", "containerCapStr")
	switch {
	case own != nil && strings.TrimSpace(own.text) == "0":
		out.set("PAUSED", "true", t.at+".instanceCap")
	case most != "" && !strings.HasPrefix(most, "-"):
		out.set("MAX_AGENTS", most, t.at+".instanceCap")
	case all != "":
		out.set("MAX_AGENTS", all, t.cloud.at+".containerCap")
	default:
		out.set("MAX_AGENTS", strconv.Itoa(unlimited), t.at+".instanceCap")
		t.m.todo(t.at+".instanceCap", "", fmt.Sprintf("has no limit, and Bellboard always has one; MAX_AGENTS=%d is written: lower it to what may be paid for", unlimited))
	}
}

// unlimited stands for no limit: Bellboard's own limit for all teams together.
const unlimited = 100

// connect sets how the team's agents reach Jenkins.
func (t *template) connect(out *team) {
	c := t.cloud
	if c.value("webSocket") == "" {
		out.set("CONNECT", "tcp", c.at+".webSocket")
	}
	if c.value("directConnection") != "" {
		t.m.fine(c.at+".directConnection", "true", "Bellboard's agents ask Jenkins by HTTP for the port, and need Jenkins' web port, too")
	}
}

// teamName makes a name that a team may have.
func teamName(text string) string {
	name := strings.Trim(noName.ReplaceAllString(strings.ToLower(text), "-"), "-")
	if len(name) > 36 {
		name = strings.Trim(name[:36], "-")
	}
	return cmp.Or(name, "agents")
}

var noName = regexp.MustCompile(`[^a-z0-9]+`)
