package web

import (
	"cmp"
	"slices"
	"time"

	"bellboard/scaler"
)

const (
	daysKept = 7               // today among them
	unseen   = 2 * time.Minute // between two looks: nobody knows what was paid for meanwhile
)

// The states in which an agent is paid for. paid has their words, and the classes that have their colours.
const (
	paidStarting = iota
	paidBusy
	paidIdle
	paidLeaving
	paidStates
)

var paid = [paidStates]struct{ Words, Class string }{{"starting", "coming"}, {"busy", "busy"}, {"idle", "free"}, {"leaving", "leaving"}}

func paidAs(c scaler.Class) int {
	switch c {
	case scaler.Coming, scaler.Stuck:
		return paidStarting
	case scaler.Busy, scaler.Draining, scaler.Cut:
		return paidBusy
	case scaler.Going, scaler.Ended, scaler.Fenced, scaler.Leaving, scaler.Drained:
		return paidLeaving
	default:
		return paidIdle
	}
}

// hours are the hours of agents by state.
type hours [paidStates]float64

// day is what agents of one team were paid for in one day of UTC, by kind.
type day struct {
	at    int32 // days since 1970
	hours [2]hours
}

// bill is the last days of one team, in half a kB.
type bill [daysKept]day

// bills has the bill of each team.
type bills map[string]*bill

func dayOf(t time.Time) int32 { return int32(t.Unix() / (24 * 60 * 60)) }

// spend adds the time from a tick until now, in which its agents were what that tick saw.
func (b bills) spend(t *scaler.Tick, now time.Time) {
	took := now.Sub(t.At)
	if took <= 0 || took > unseen {
		return
	}
	counts := map[scaler.PoolID]*hours{}
	for i := range t.Plan.Agents {
		if a := &t.Plan.Agents[i]; a.Pod {
			if counts[a.PoolID] == nil {
				counts[a.PoolID] = new(hours)
			}
			counts[a.PoolID][paidAs(a.Class)]++
		}
	}
	for id, n := range counts {
		if b[id.Team] == nil {
			b[id.Team] = new(bill)
		}
		d := &b[id.Team][dayOf(now)%daysKept]
		if d.at != dayOf(now) {
			*d = day{at: dayOf(now)}
		}
		for state := range n {
			d.hours[slices.Index(scaler.Kinds(), id.Kind)][state] += n[state] * took.Hours()
		}
	}
}

// paidFor returns what was paid for since a day, today included.
func (b *bill) paidFor(since, now time.Time) (by [2]hours) {
	for i := range b {
		if d := &b[i]; d.at >= dayOf(since) && d.at > dayOf(now)-daysKept {
			for kind := range by {
				for state := range by[kind] {
					by[kind][state] += d.hours[kind][state]
				}
			}
		}
	}
	return by
}

// cost is what was paid for in some days.
type cost struct {
	ID, Title string
	Since     time.Time
	Rows      []paidRow // the most expensive first
	All       paidRow
}

// paidRow is what was paid for of one team, of one kind, or of all.
type paidRow struct {
	Name   string
	Hours  hours
	Money  hours
	Priced bool
}

// part is one state of a paidRow.
type part struct {
	Words, Class string
	Hours, Money float64
	From, Width  float64 // of a bar that is 100 wide
}

func (r *paidRow) add(h hours, perHour float64) {
	r.Priced = r.Priced || perHour > 0
	for state := range h {
		r.Hours[state] += h[state]
		r.Money[state] += h[state] * perHour
	}
}

func (h hours) sum() (all float64) {
	for _, n := range h {
		all += n
	}
	return all
}

// AllHours returns the hours of all states.
func (r paidRow) AllHours() float64 { return r.Hours.sum() }

// AllMoney returns what all states cost.
func (r paidRow) AllMoney() float64 { return r.Money.sum() }

// Idle returns how much of the hours is idle, in percent.
func (r paidRow) Idle() float64 { return 100 * r.Hours[paidIdle] / max(r.Hours.sum(), 1e-9) }

// Parts returns the states in which there were agents.
func (r paidRow) Parts() (out []part) {
	from := 0.0
	for state, n := range r.Hours {
		if n > 0 {
			p := part{paid[state].Words, paid[state].Class, n, r.Money[state], from, 100 * n / r.Hours.sum()}
			from += p.Width
			out = append(out, p)
		}
	}
	return out
}

// costs returns what was paid for today, and in the last days if more is known than today; "" stands for all teams.
// Without COST_PER_HOUR there is nothing to show.
func (s *state) costs(c *Config, team string) (out []cost) {
	if s.since.IsZero() || !slices.ContainsFunc(c.costly(), func(name string) bool { return team == "" || team == name }) {
		return nil
	}
	today := s.Now.UTC().Truncate(24 * time.Hour)
	for _, x := range []cost{
		{ID: "cost-today", Title: "Today", Since: today},
		{ID: "cost-week", Title: "Last 7 days", Since: today.Add(-(daysKept - 1) * 24 * time.Hour)},
	} {
		if x.ID == "cost-week" && !s.since.Before(today) {
			continue
		}
		for name, of := range s.spent {
			if team != "" && team != name {
				continue
			}
			row := paidRow{Name: name}
			for i, h := range of.paidFor(x.Since, s.Now) {
				kind := scaler.Kinds()[i]
				perHour := c.Costs[scaler.PoolID{Team: name, Kind: kind}]
				row.add(h, perHour)
				x.All.add(h, perHour)
				if one := (paidRow{Name: string(kind)}); team != "" && h.sum() > 0 {
					one.add(h, perHour)
					x.Rows = append(x.Rows, one)
				}
			}
			if team == "" && row.Hours.sum() > 0 {
				x.Rows = append(x.Rows, row)
			}
		}
		slices.SortFunc(x.Rows, func(a, b paidRow) int {
			return cmp.Or(cmp.Compare(b.AllMoney(), a.AllMoney()), cmp.Compare(a.Name, b.Name))
		})
		if s.since.After(x.Since) {
			x.Since = s.since
		}
		out = append(out, x)
	}
	return out
}

// costly returns the teams for which COST_PER_HOUR is set.
func (c *Config) costly() (out []string) {
	for id := range c.Costs {
		out = append(out, id.Team)
	}
	return out
}
