package tune

import (
	"maps"
	"slices"

	"bellboard/cmd/internal/simulate"
	"bellboard/queue"
	"bellboard/scaler"
	"bellboard/scaler/label"
)

// past collects the builds of a reading by the team that serves them.
type past struct {
	teams   []scaler.Team // in the order in which they are asked to serve a build
	jobs    map[string]string
	labels  map[string]string // the team of each label; "": none serves it
	builds  map[string]*simulate.Collector
	rows    int
	strange int // uses of agents that no team serves
	failed  int // jobs and folders that Jenkins did not answer for
}

func (t *Tuner) newPast() *past {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := &past{teams: t.c.Settings.ScalerTeams(), jobs: maps.Clone(t.jobs), labels: map[string]string{}, builds: map[string]*simulate.Collector{}}
	slices.SortFunc(p.teams, func(a, b scaler.Team) int { return scaler.TeamOrder(&a, &b) })
	return p
}

// add adds the uses of a build.
func (p *past) add(b queue.Past) error {
	for _, u := range b.Uses {
		team := p.team(&u)
		if team == "" {
			p.strange++
			continue
		}
		if p.rows++; p.rows > mostRows {
			return errTooMany // the memory of the daemon has a limit
		}
		c := p.builds[team]
		if c == nil {
			c = &simulate.Collector{}
			p.builds[team] = c
		}
		if err := c.Add(simulate.Build{Submitted: u.Submitted.UnixMilli(), Length: u.Length.Milliseconds()}, team, u.Job, b.Job, b.Number); err != nil {
			return err
		}
	}
	return nil
}

// team returns the team that serves such a use, or "". If Jenkins tells no label, that is the team on whose
// agents Bellboard has seen the job, or the only team.
func (p *past) team(u *queue.Use) string {
	switch u.Label {
	case queue.LabelBuiltIn:
		return ""
	case queue.LabelPipeline, queue.LabelGone:
		if team := p.jobs[u.Job]; team != "" || len(p.teams) > 1 {
			return team
		}
		return p.teams[0].Name
	}
	team, known := p.labels[u.Label]
	if !known {
		team = p.serves(label.Parse(u.Label))
		p.labels[u.Label] = team
	}
	return team
}

// serves returns the first team whose agents satisfy a label expression, or "".
func (p *past) serves(e label.Expr) string {
	for i := range p.teams {
		for j := range p.teams[i].Pools {
			if e.Matches(func(atom string) bool { return slices.Contains(p.teams[i].Pools[j].Labels, atom) }) {
				return p.teams[i].Name
			}
		}
	}
	return ""
}

// history returns the builds of a team.
func (p *past) history(team string) *simulate.History {
	c := p.builds[team]
	if c == nil {
		return &simulate.History{}
	}
	delete(p.builds, team)
	h := c.History()
	h.Name = team
	return h
}
