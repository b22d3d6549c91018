package doctor

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"bellboard/queue"
	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// abandoned is how old a probe's node is when its probe surely does not live any more.
const abandoned = 10 * time.Minute

// lateWrite is how long a registration that was not answered may still be on its
// way: writes wait for the lock of Jenkins' queue.
const lateWrite = 5 * time.Second

// belief is the remedy where Jenkins does something else than Bellboard rests on.
const belief = "do not run Bellboard on this Jenkins; report it with Jenkins' version and plugins"

// doctorSecond is the reason in the probe's second mark.
const doctorSecond scaler.Reason = "doctor-second"

// probing is one probe: two nodes of a made-up label, and what they went through.
// No instance of Bellboard takes them for its own, so none touches them.
type probing struct {
	*exam

	names [2]string
	label string
	found verdicts
	// made are the names that may be in Jenkins now, unsure those of them whose
	// registration was not answered and may yet come.
	made, unsure []string
}

// probe plays a node's life on the real Jenkins.
func (e *exam) probe(ctx context.Context) verdicts {
	p := &probing{
		exam: e, label: "bellboard-doctor-" + random(), found: verdicts{},
		names: [2]string{"bellboard-doctor-" + random(), "bellboard-doctor-" + random()},
	}
	defer p.clean(ctx)
	p.sweep(ctx)
	steps := []struct {
		name string
		do   func(context.Context, string) bool // false: what follows rests on it
	}{
		{"probe: register", p.first},
		{"probe: secret and deletion", p.reborn},
		{"probe: pair and label", p.pair},
		{"probe: mark", p.mark},
		{"probe: clear", p.clear},
	}
	for i, s := range steps {
		if s.do(ctx, s.name) {
			continue
		}
		for _, rest := range steps[i+1:] {
			e.skip(rest.name, "", "the probe ended before")
		}
		break
	}
	return p.found
}

func (p *probing) did(what string, args ...any) {
	p.report.Did = append(p.report.Did, fmt.Sprintf(what, args...))
}

// failed makes the row of a step that did not go as it should: an answer that
// did not come says nothing of Jenkins' ways.
func (p *probing) failed(ctx context.Context, name, doing string, err error) bool {
	switch {
	case ctx.Err() != nil:
		p.skip(name, "", "interrupted while %s", doing)
	case errors.Is(err, queue.ErrUnavailable), errors.Is(err, queue.ErrUnauthorized):
		p.skip(name, "try again", "Jenkins went away while %s: %v", doing, err)
	case p.between(name, fmt.Errorf("%s: %w", doing, err)):
	case errors.Is(err, queue.ErrForbidden):
		p.skip(name, "", "a permission is missing for %s: %v", doing, err)
	default:
		p.finding(name, belief, "%s: %v", doing, err)
	}
	return false
}

// differs makes the row of a belief that does not hold.
func (p *probing) differs(name, what string, args ...any) bool {
	p.finding(name, belief, what, args...)
	return false
}

func description(instance string, at time.Time) string {
	return "Bellboard doctor of instance " + instance + " since " + at.UTC().Format(time.RFC3339) + ": a probe; it may be deleted"
}

var descriptionPattern = regexp.MustCompile(`^Bellboard doctor of instance ([a-z0-9-]+) since (\S+): `)

// abandoned lists the nodes of earlier probes of this instance that were killed.
func (e *exam) abandoned() (names []string) {
	for i := range e.computers {
		c := &e.computers[i]
		m := descriptionPattern.FindStringSubmatch(c.Description)
		if m == nil || m[1] != e.Settings.Instance || !strings.HasPrefix(c.Name, "bellboard-doctor-") {
			continue
		}
		since, err := time.Parse(time.RFC3339, m[2])
		if err == nil && e.Clock.Now().Sub(since) > abandoned && c.Idle && !c.Online {
			names = append(names, c.Name)
		}
	}
	return names
}

// leftovers tells of nodes that a killed probe left.
func (e *exam) leftovers() {
	if names := e.abandoned(); len(names) > 0 && !e.Probe {
		e.finding("left by a probe", "delete them in Jenkins, or run bellboard doctor --probe", "a probe that was killed left the nodes %s", few(names))
	}
}

// sweep removes them.
func (p *probing) sweep(ctx context.Context) {
	for _, name := range p.abandoned() {
		if err := p.client.DeleteNode(ctx, name, time.Time{}); err == nil {
			p.did("removed node %s, left by an earlier probe", name)
		} else if !errors.Is(err, scaler.ErrGone) {
			p.finding("left by a probe", "delete the node in Jenkins", "%s: %v", name, err)
		}
	}
}

// register makes one node, and notes it before it is asked for.
func (p *probing) register(ctx context.Context, name string) error {
	first := !slices.Contains(p.made, name)
	if first {
		p.made = append(p.made, name)
	}
	err := p.client.RegisterProbe(ctx, name, description(p.Settings.Instance, p.Clock.Now()), []string{p.label})
	switch {
	case err == nil:
		p.did("registered node %s with the label %s", name, p.label)
	case errors.Is(err, queue.ErrUnavailable):
		p.unsure = append(p.unsure, name)
	case first && errors.Is(err, scaler.ErrRefused):
		p.made = slices.DeleteFunc(p.made, func(n string) bool { return n == name })
	}
	return err
}

// state is what Jenkins says of a node of the probe.
func (p *probing) state(ctx context.Context, name string) (queue.Computer, error) {
	all, err := p.client.Computers(ctx)
	i := slices.IndexFunc(all, func(c queue.Computer) bool { return c.Name == name })
	switch {
	case err != nil:
		return queue.Computer{}, err
	case i < 0:
		return queue.Computer{}, scaler.ErrGone
	}
	return all[i], nil
}

// first registers one node and looks at it.
func (p *probing) first(ctx context.Context, row string) bool {
	name := p.names[0]
	if err := p.register(ctx, name); err != nil {
		return p.failed(ctx, row, "registering a node", err)
	}
	c, err := p.state(ctx, name)
	switch {
	case err != nil:
		return p.failed(ctx, row, "reading a new node", err)
	case c.Online || !c.Idle || c.OfflineBy != scaler.NotMarked:
		return p.differs(row, "a new node without an agent should be offline, idle and unmarked: online %t, idle %t, marked by %q", c.Online, c.Idle, c.OfflineBy)
	case !strings.Contains(c.Description, "Bellboard doctor of instance "):
		return p.differs(row, "a node's description should be told as it was given, and is %q", c.Description)
	case !slices.Contains(c.Labels, p.label):
		return p.differs(row, "a new node should carry its label at once")
	}
	p.ok(row, "a new node is offline, idle, unmarked, with its label and description")
	return true
}

// reborn deletes the node and makes it anew. It comes before there are two: a
// user who may not delete leaves one behind, not more.
func (p *probing) reborn(ctx context.Context, row string) bool {
	name := p.names[0]
	before, err := p.client.Secret(ctx, name)
	p.learn(checkConnect, err, idConnect)
	if err != nil {
		p.failed(ctx, row, "reading a node's secret", err)
		before = ""
	}
	err = p.client.DeleteNode(ctx, name, time.Time{})
	p.learn(checkDelete, err, idDelete)
	if err != nil {
		p.failed(ctx, row, "deleting a node", err)
		return p.found[checkDelete] == missing // its marks can still be looked at
	}
	p.did("deleted node %s", name)
	switch err = p.client.DeleteNode(ctx, name, time.Time{}); {
	case err == nil:
		return p.differs(row, "deleting a node that is gone should give 404, and was done again")
	case !errors.Is(err, scaler.ErrGone):
		return p.failed(ctx, row, "deleting a node that is gone", err)
	}
	if err := p.register(ctx, name); err != nil {
		return p.failed(ctx, row, "registering the name again", err)
	}
	if before == "" {
		return true // its row is made
	}
	after, err := p.client.Secret(ctx, name)
	switch {
	case err != nil:
		return p.failed(ctx, row, "reading the secret again", err)
	case before != after:
		return p.differs(row, "a name's secret should be the same after the node was deleted and made anew, and differs")
	}
	p.ok(row, "deleted, then 404; the name made anew has the same secret")
	return true
}

// learn notes what an answer says of a permission.
func (p *probing) learn(permission string, err error, id string) {
	switch {
	case err == nil:
		p.found[permission] = granted
	case lacks(err, id):
		p.found[permission] = missing
	}
}

// pair registers the second node, tries its name twice, and asks who has the label.
func (p *probing) pair(ctx context.Context, row string) bool {
	if p.found[checkDelete] == missing {
		p.skip(row, "", "a second node could not be removed either")
		return true
	}
	if err := p.register(ctx, p.names[1]); err != nil {
		return p.failed(ctx, row, "registering a second node", err)
	}
	err := p.register(ctx, p.names[1])
	switch {
	case err == nil:
		return p.differs(row, "a name that is taken should be refused, and was taken twice")
	case !errors.Is(err, scaler.ErrExists):
		return p.failed(ctx, row, "registering a name that is taken", err)
	}
	var doc struct{ Nodes []struct{ NodeName string } }
	if err := p.document(ctx, "/label/"+p.label+"/api/json", "nodes[nodeName]", &doc); err != nil {
		return p.failed(ctx, row, "asking who has the label", err)
	}
	var have []string
	for _, n := range doc.Nodes {
		have = append(have, n.NodeName)
	}
	slices.Sort(have)
	if want := slices.Sorted(slices.Values(p.names[:])); !slices.Equal(have, want) {
		return p.differs(row, "two nodes should have the label %s, and %v have", p.label, have)
	}
	p.ok(row, "two nodes carry the made-up label; a name that is taken is refused")
	return true
}

// mark takes a node offline, with one text and then with another, twice.
func (p *probing) mark(ctx context.Context, row string) bool {
	name := p.names[0]
	for i, why := range []scaler.Reason{"doctor-first", doctorSecond, doctorSecond} {
		text := scaler.MarkText(p.Settings.Instance, why)
		err := p.client.Mark(ctx, name, text, time.Time{})
		p.learn(checkDisconnect, err, idDisconnect)
		if err != nil {
			return p.failed(ctx, row, "marking a node", err)
		}
		c, err := p.state(ctx, name)
		switch {
		case err != nil:
			return p.failed(ctx, row, "reading a marked node", err)
		case c.OfflineBy != scaler.Ours || c.Offline != text:
			return p.differs(row, "mark %d should be there as it was given (%s), and is %q by %q", i+1, text, c.Offline, c.OfflineBy)
		}
	}
	p.did("marked node %s three times", name)
	p.ok(row, "a mark sets its text, replaces another, and repeats safely")
	return true
}

// clear lifts the mark, as for a build that resumes.
func (p *probing) clear(ctx context.Context, row string) bool {
	err := p.client.ClearMark(ctx, p.names[0], scaler.MarkText(p.Settings.Instance, doctorSecond))
	if err != nil {
		return p.failed(ctx, row, "clearing a mark", err)
	}
	c, err := p.state(ctx, p.names[0])
	switch {
	case err != nil:
		return p.failed(ctx, row, "reading a cleared node", err)
	case c.OfflineBy != scaler.NotMarked:
		return p.differs(row, "a toggle with our text should clear our mark, and %q is there", c.Offline)
	}
	p.did("cleared the mark of node %s", p.names[0])
	p.ok(row, "a toggle with our text clears the mark")
	return true
}

// clean removes what the probe made, and stays at it while Jenkins is away: also
// when the examination was interrupted.
func (p *probing) clean(ctx context.Context) {
	interrupted := ctx.Err() != nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.Clock.Wall(p.Patience))
	defer cancel()
	var left []string
	var why error
	for _, name := range p.made {
		if err := p.remove(ctx, name); err != nil {
			left, why = append(left, name), err
		}
	}
	const row = "probe: removal"
	switch {
	case len(left) > 0:
		p.finding(row, "delete the node in Jenkins, or run bellboard doctor --probe again in ten minutes", "left behind in Jenkins: %s: %v", strings.Join(left, ", "), why)
	case interrupted:
		p.ok(row, "interrupted; nothing is left in Jenkins")
	default:
		p.ok(row, "nothing is left in Jenkins")
	}
}

// remove deletes one node until Jenkins says that it is gone.
func (p *probing) remove(ctx context.Context, name string) error {
	unsure := slices.Contains(p.unsure, name)
	for {
		pause := secondLook
		err := p.client.DeleteNode(ctx, name, time.Time{})
		switch {
		case err == nil:
			p.did("removed node %s", name)
			continue // to hear that it is gone
		case errors.Is(err, scaler.ErrGone) && !unsure:
			return nil
		case errors.Is(err, scaler.ErrGone):
			unsure, pause = false, lateWrite
		case lacks(err, idDelete):
			return err
		}
		if clock.Sleep(ctx, p.Clock, pause) != nil {
			return err
		}
	}
}
