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

// abandoned is the age at which the probe of a Jenkins node has certainly ended.
const abandoned = 10 * time.Minute

// lateWrite is the time in which Jenkins may still carry out a registration that it did not answer: writes
// wait for the lock of Jenkins' queue.
const lateWrite = 5 * time.Second

// belief is the remedy if Jenkins does not behave as Bellboard needs.
const belief = "do not run Bellboard on this Jenkins; report it with Jenkins' version and plugins"

// doctorSecond is the reason in the probe's second mark.
const doctorSecond scaler.Reason = "doctor-second"

// probing is one probe: two Jenkins nodes with a new label. They belong to no instance, so that no Bellboard
// touches them.
type probing struct {
	*exam

	names [2]string
	label string
	found verdicts
	// made has the names of the Jenkins nodes that may exist now, unsure those of them whose registration
	// Jenkins has not answered, and may still carry out.
	made, unsure []string
}

// probe registers, marks and deletes Jenkins nodes, as Bellboard does.
func (e *exam) probe(ctx context.Context) verdicts {
	p := &probing{
		exam: e, label: "bellboard-doctor-" + random(), found: verdicts{},
		names: [2]string{"bellboard-doctor-" + random(), "bellboard-doctor-" + random()},
	}
	defer p.clean(ctx)
	p.sweep(ctx)
	steps := []struct {
		name string
		do   func(context.Context, string) bool // false: the next steps depend on this one
	}{
		{"probe: register", p.first},
		{"probe: secret and deletion", p.remake},
		{"probe: pair and label", p.pair},
		{"probe: mark", p.mark},
		{"probe: clear", p.clear},
	}
	for i, s := range steps {
		if s.do(ctx, s.name) {
			continue
		}
		for _, rest := range steps[i+1:] {
			e.skip(rest.name, "", "the probe ended before this step")
		}
		break
	}
	return p.found
}

func (p *probing) did(what string, args ...any) {
	p.report.Did = append(p.report.Did, fmt.Sprintf(what, args...))
}

// failed makes the row of a step with an error. A missing answer is no finding.
func (p *probing) failed(ctx context.Context, name, doing string, err error) bool {
	switch {
	case ctx.Err() != nil:
		p.skip(name, "", "interrupted while %s", doing)
	case errors.Is(err, queue.ErrUnavailable), errors.Is(err, queue.ErrUnauthorized):
		p.skip(name, "try again", "Jenkins did not answer while %s: %v", doing, err)
	case p.between(name, fmt.Errorf("%s: %w", doing, err)):
	case errors.Is(err, queue.ErrForbidden):
		p.skip(name, "", "a permission is missing for %s: %v", doing, err)
	default:
		p.finding(name, belief, "%s: %v", doing, err)
	}
	return false
}

// differs makes the row of a Jenkins that does not behave as Bellboard needs.
func (p *probing) differs(name, what string, args ...any) bool {
	p.finding(name, belief, what, args...)
	return false
}

func description(instance string, at time.Time) string {
	return "Bellboard doctor of instance " + instance + " since " + at.UTC().Format(time.RFC3339) + ": a probe; it may be deleted"
}

var descriptionPattern = regexp.MustCompile(`^Bellboard doctor of instance ([a-z0-9-]+) since (\S+): `)

// abandoned lists the Jenkins nodes that killed probes of this instance have left.
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

// leftovers makes a finding of the Jenkins nodes that killed probes have left.
func (e *exam) leftovers() {
	if names := e.abandoned(); len(names) > 0 && !e.Probe {
		e.finding("left by a probe", "delete them in Jenkins, or run bellboard doctor --probe", "a probe that was killed left the nodes %s", few(names))
	}
}

// sweep removes the Jenkins nodes that killed probes have left.
func (p *probing) sweep(ctx context.Context) {
	for _, name := range p.abandoned() {
		if err := p.client.DeleteNode(ctx, name, time.Time{}); err == nil {
			p.did("removed node %s, left by an earlier probe", name)
		} else if !errors.Is(err, scaler.ErrGone) {
			p.finding("left by a probe", "delete the node in Jenkins", "%s: %v", name, err)
		}
	}
}

// register registers one Jenkins node, and notes its name before the request.
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
	case first && errors.Is(err, scaler.ErrRejected):
		p.made = slices.DeleteFunc(p.made, func(n string) bool { return n == name })
	}
	return err
}

// state returns what Jenkins says about a Jenkins node of the probe.
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

// first registers one Jenkins node and reads it.
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
		return p.differs(row, "Jenkins should return a node's description as it was given, and returns %q", c.Description)
	case !slices.Contains(c.Labels, p.label):
		return p.differs(row, "a new node should carry its label at once")
	}
	p.ok(row, "a new node is offline, idle, unmarked, with its label and description")
	return true
}

// remake deletes the Jenkins node and registers its name again. This step comes before the second Jenkins
// node: without Agent/Delete one node is left, not two.
func (p *probing) remake(ctx context.Context, row string) bool {
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
		return p.lacking(checkDelete) // marks can be checked without a deletion
	}
	p.did("deleted node %s", name)
	switch err = p.client.DeleteNode(ctx, name, time.Time{}); {
	case err == nil:
		return p.differs(row, "deleting a node that is gone should give 404, and Jenkins says that it was done again")
	case !errors.Is(err, scaler.ErrGone):
		return p.failed(ctx, row, "deleting a node that is gone", err)
	}
	if err := p.register(ctx, name); err != nil {
		return p.failed(ctx, row, "registering the name again", err)
	}
	if before == "" {
		return true // the row is made already
	}
	after, err := p.client.Secret(ctx, name)
	switch {
	case err != nil:
		return p.failed(ctx, row, "reading the secret again", err)
	case before != after:
		return p.differs(row, "a name's secret should be the same after the node was deleted and registered again, and differs")
	}
	p.ok(row, "deleted, then 404; the name registered again has the same secret")
	return true
}

// learn notes what an answer shows of a permission.
func (p *probing) learn(permission string, err error, id string) {
	switch {
	case err == nil:
		p.found[permission] = true
	case lacks(err, id):
		p.found[permission] = false
	}
}

// lacking reports whether the probe has shown that a permission is missing.
func (p *probing) lacking(permission string) bool {
	granted, shown := p.found[permission]
	return shown && !granted
}

// pair registers the second Jenkins node, tries its name twice, and reads the nodes with the label.
func (p *probing) pair(ctx context.Context, row string) bool {
	if p.lacking(checkDelete) {
		p.skip(row, "", "the probe could not remove a second node either")
		return true
	}
	if err := p.register(ctx, p.names[1]); err != nil {
		return p.failed(ctx, row, "registering a second node", err)
	}
	err := p.register(ctx, p.names[1])
	switch {
	case err == nil:
		return p.differs(row, "Jenkins should reject a name that is taken, and accepted it twice")
	case !errors.Is(err, scaler.ErrExists):
		return p.failed(ctx, row, "registering a name that is taken", err)
	}
	var doc struct{ Nodes []struct{ NodeName string } }
	if err := p.document(ctx, "/label/"+p.label+"/api/json", "nodes[nodeName]", &doc); err != nil {
		return p.failed(ctx, row, "reading the nodes with the label", err)
	}
	var have []string
	for _, n := range doc.Nodes {
		have = append(have, n.NodeName)
	}
	slices.Sort(have)
	if want := slices.Sorted(slices.Values(p.names[:])); !slices.Equal(have, want) {
		return p.differs(row, "two nodes should have the label %s, and %v have", p.label, have)
	}
	p.ok(row, "two nodes carry the new label; Jenkins rejects a name that is taken")
	return true
}

// mark takes a Jenkins node offline with one text, and then twice with another.
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
			return p.differs(row, "mark %d should have the text %s, and has %q by %q", i+1, text, c.Offline, c.OfflineBy)
		}
	}
	p.did("marked node %s three times", name)
	p.ok(row, "a mark sets its text, replaces another, and repeats safely")
	return true
}

// clear clears the mark, as Bellboard does for a build that resumes.
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
		return p.differs(row, "a toggle with Bellboard's text should clear Bellboard's mark, and the mark is %q", c.Offline)
	}
	p.did("cleared the mark of node %s", p.names[0])
	p.ok(row, "a toggle with Bellboard's text clears the mark")
	return true
}

// clean removes the Jenkins nodes of the probe, also after an interruption, and tries again while Jenkins
// does not answer.
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
		p.finding(row, "delete the node in Jenkins, or run bellboard doctor --probe again in ten minutes", "left in Jenkins: %s: %v", strings.Join(left, ", "), why)
	case interrupted:
		p.ok(row, "interrupted; nothing is left in Jenkins")
	default:
		p.ok(row, "nothing is left in Jenkins")
	}
}

// remove deletes one Jenkins node until Jenkins says that it is gone.
func (p *probing) remove(ctx context.Context, name string) error {
	unsure := slices.Contains(p.unsure, name)
	for {
		pause := secondLook
		err := p.client.DeleteNode(ctx, name, time.Time{})
		switch {
		case err == nil:
			p.did("removed node %s", name)
			continue // the next deletion shows that the node is gone
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
