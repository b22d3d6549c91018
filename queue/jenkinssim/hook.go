package jenkinssim

import "strings"

// hookText begins the marks of the one-build hook.
func (j *Jenkins) hookText() string { return "bellboard-hook(" + j.cfg.Hook + "): " }

// hookMinds reports whether the hook is installed and the node belongs to its Bellboard.
func (j *Jenkins) hookMinds(n *node) bool {
	return j.cfg.Hook != "" && strings.Contains(n.description, "bellboard instance="+j.cfg.Hook+" ")
}

// hookCloses marks an open ephemeral node that has had its build, unless a build waits that
// may only go there.
func (j *Jenkins) hookCloses(n *node) {
	if j.hookMinds(n) && ephemeral(n) && n.closing && n.mark == nil && j.pins[n.name] == nil {
		j.setMark(n, &mark{class: causeUser, text: j.hookText() + "one build only; this mark ends no build", user: "SYSTEM", ours: true})
	}
}

// hookOpens lifts the hook's mark or Bellboard's from the node to which an item must go.
func (j *Jenkins) hookOpens(name string) {
	if n := j.registered(name); n != nil && j.hookMinds(n) && j.hookKnows(n.mark) {
		j.setMark(n, nil)
	}
}

// hookKnows reports whether a mark is the hook's own, or its Bellboard's.
func (j *Jenkins) hookKnows(m *mark) bool {
	return m != nil && (strings.HasPrefix(m.text, j.hookText()) || strings.HasPrefix(m.text, "bellboard("+j.cfg.Hook+"): "))
}
