package simulate

import (
	"cmp"
	"fmt"
	"html"
	"html/template"
	"math"
	"slices"
	"strings"
)

// emphasis is the style of a policy's name, by its group. The names of other groups have none.
var emphasis = map[string]string{
	GroupOwn:   ` style="fill:var(--own);font-weight:600"`,
	GroupBest:  ` style="fill:var(--best);font-weight:600"`,
	GroupTuned: ` style="fill:var(--tuned);font-weight:600"`,
}

// picture is an SVG under construction.
type picture struct {
	strings.Builder
	width, height float64
}

func newPicture(width, height float64, label string) *picture {
	p := &picture{width: width, height: height}
	p.add(`<svg viewBox="0 0 %g %g" role="img" aria-label="%s">`, width, height, html.EscapeString(label))
	return p
}

func (p *picture) add(format string, args ...any) { fmt.Fprintf(&p.Builder, format, args...) }

func (p *picture) text(x, y float64, anchor, class, text string) {
	p.add(`<text x="%.1f" y="%.1f" text-anchor="%s" class="%s">%s</text>`, x, y, anchor, class, html.EscapeString(text))
}

func (p *picture) line(x1, y1, x2, y2 float64) {
	p.add(`<line class="axis" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, x1, y1, x2, y2)
}

func (p *picture) done() template.HTML {
	p.add("</svg>")
	return template.HTML(p.String()) //nolint:gosec // all texts in it are escaped
}

// ticks returns round numbers from zero to most, about n of them.
func ticks(most float64, n int) []float64 {
	if most <= 0 {
		return []float64{0}
	}
	step := math.Pow(10, math.Floor(math.Log10(most/float64(n))))
	for _, m := range []float64{1, 2, 5, 10} {
		if most/(step*m) <= float64(n) {
			step *= m
			break
		}
	}
	var out []float64
	for i := 0; float64(i)*step <= most*1.0001; i++ {
		out = append(out, float64(i)*step)
	}
	return out
}

// delay returns the seconds that a build lost on average.
func (m *Measures) delay() float64 { return m.WaitMean + m.Cold }

// box is a label's place in a picture.
type box struct{ x, y, w, h float64 }

func (b box) hits(o box) bool {
	return b.x < o.x+o.w && o.x < b.x+b.w && b.y < o.y+o.h && o.y < b.y+b.h
}

// scatter draws the policies by the time that builds lost and by what is paid.
func scatter(rows []Row, value, work float64) template.HTML {
	const left, right, top, bottom = 56.0, 1010.0, 20.0, 470.0
	mostX, mostY := 0.0, 0.0
	best := math.Inf(1)
	for i := range rows {
		best = min(best, rows[i].cost(value))
	}
	var shown, hidden []*Row
	for i := range rows {
		r := &rows[i]
		if r.cost(value) > 3*best && r.Group != GroupOwn {
			hidden = append(hidden, r)
			continue
		}
		shown = append(shown, r)
		mostX, mostY = max(mostX, r.delay()), max(mostY, r.Paid)
	}
	mostX, mostY = mostX*1.05, math.Max(mostY*1.04, 1.3)
	x := func(v float64) float64 { return left + (right-left)*v/mostX }
	y := func(v float64) float64 { return bottom - (bottom-top)*math.Log(v/0.97)/math.Log(mostY/0.97) }
	p := newPicture(1040, 536, "policies by lost time and paid time")
	for _, t := range ticks(mostX, 8) {
		p.line(x(t), top, x(t), bottom)
		p.text(x(t), bottom+16, "middle", "soft", fmt.Sprintf("%.4g", t))
	}
	last := bottom + 15
	for _, t := range []float64{1, 1.05, 1.1, 1.2, 1.3, 1.5, 1.75, 2, 2.5, 3, 4, 5, 6, 8, 10, 15, 20, 50} {
		if t < mostY && last-y(t) >= 15 {
			last = y(t)
			p.line(left, last, right, last)
			p.text(left-8, last+4, "end", "soft", fmt.Sprintf("%.4g", t))
		}
	}
	p.text((left+right)/2, bottom+38, "middle", "", "seconds that a build lost on average, by waiting and by empty caches")
	p.text(left, top-7, "start", "", "paid, over work")
	p.isoCost(rows[0].cost(value), value/work, mostX, mostY, x, y)
	slices.Reverse(shown) // the first row comes last: on top, and first to get its name
	slices.SortStableFunc(shown, func(a, b *Row) int { return cmp.Compare(rank(a.Group), rank(b.Group)) })
	taken := make([]box, 0, 2*len(shown))
	for _, s := range slices.Backward(shown) { // the most important points keep their place
		taken = append(taken, box{x(s.delay()) - 5, y(s.Paid) - 5, 10, 10})
	}
	if len(shown) > 30 { // small points do not keep labels away
		taken = taken[:0]
		for _, r := range shown {
			if r.Group != GroupGrid {
				taken = append(taken, box{x(r.delay()) - 5, y(r.Paid) - 5, 10, 10})
			}
		}
	}
	for _, r := range shown {
		cx, cy := x(r.delay()), y(r.Paid)
		color, radius := "var(--rival)", 4.5
		switch r.Group {
		case GroupOwn:
			color, radius = "var(--own)", 7
		case GroupTuned:
			color, radius = "var(--tuned)", 6
		case GroupBest:
			color, radius = "var(--best)", 6
		case GroupGrid:
			color, radius = "var(--grid)", 3
		}
		p.add(`<circle cx="%.1f" cy="%.1f" r="%g" fill="%s"><title>%s: paid %.3f, lost %.1f s, C(%g) %.3f</title></circle>`,
			cx, cy, radius, color, html.EscapeString(r.Policy), r.Paid, r.delay(), value, r.cost(value))
	}
	for _, s := range slices.Backward(shown) {
		if r := s; r.Group != GroupGrid {
			taken = p.label(r, x(r.delay()), y(r.Paid), right, taken)
		}
	}
	if len(hidden) > 0 {
		names := make([]string, 0, len(hidden))
		for _, r := range hidden {
			if r.Group != GroupGrid {
				names = append(names, r.Policy)
			}
		}
		text := fmt.Sprintf("%d policies that cost more than three times the best one are not shown", len(hidden))
		if len(names) > 0 && len(names) < 8 {
			text += ": " + strings.Join(names, ", ")
		}
		p.text(left, bottom+60, "start", "soft", text)
	}
	return p.done()
}

// rank orders the groups of rows: what is drawn last is on top.
func rank(group string) int {
	return slices.Index([]string{GroupGrid, GroupRival, GroupBest, GroupTuned, GroupOwn}, group)
}

// isoCost draws the line of all points with one cost.
func (p *picture) isoCost(cost, slope, mostX, mostY float64, x, y func(float64) float64) {
	p.add(`<polyline fill="none" stroke="var(--own)" stroke-width="1.4" stroke-dasharray="5 5" points="`)
	for i := range 101 {
		d := mostX * float64(i) / 100
		if paid := cost - slope*d; paid >= 0.975 && paid <= mostY {
			p.add("%.1f,%.1f ", x(d), y(paid))
		}
	}
	p.add(`"/>`)
}

// label writes a policy's name beside its point, where no other label is.
func (p *picture) label(r *Row, cx, cy, right float64, taken []box) []box {
	name := strings.TrimPrefix(r.Policy, "bellboard ") // the color says whose it is
	if len(name) > 46 {
		name = name[:45] + "…"
	}
	width := 7.1 * float64(len(name)) // as wide as a name in bold
	for _, d := range []struct{ x, y float64 }{{10, 4}, {10, -9}, {10, 17}, {-10 - width, 4}, {-10 - width, -9}, {-10 - width, 17}, {10, -22}, {10, 30}, {-10 - width, -22}, {-10 - width, 30}, {14, 43}, {14, -35}} {
		b := box{cx + d.x, cy + d.y - 10, width, 13}
		if b.x < 58 || b.x+b.w > right+28 || b.y < 8 || b.y > 462 || slices.ContainsFunc(taken, b.hits) {
			continue
		}
		style := emphasis[r.Group]
		p.add(`<text x="%.1f" y="%.1f" class="soft"%s>%s</text>`, b.x, cy+d.y, style, html.EscapeString(name))
		return append(taken, b)
	}
	return taken
}

// part is one part of a bar.
type part struct {
	name, color string
	size        float64
}

// parts returns what C(w) of a row is made of.
func (m *Measures) parts(value, work float64) []part {
	return []part{
		{"work", "--work", 1},
		{"work on empty caches", "--cold", max(0, m.Busy-1)},
		{"starting", "--starting", m.Starting},
		{"free", "--idle", m.Idle},
		{"leaving", "--leaving", m.Leaving},
		{"slots", "--slots", m.Stored},
		{"builds that wait", "--waiting", value * m.WaitMean / work},
		{"builds on empty caches", "--missed", value * m.Cold / work},
	}
}

// bars draws what each policy pays for, the cheapest first.
func bars(rows []Row, value, work float64) template.HTML {
	list := make([]*Row, 0, len(rows))
	for i := range rows {
		if rows[i].Group != GroupGrid {
			list = append(list, &rows[i])
		}
	}
	slices.SortStableFunc(list, func(a, b *Row) int { return cmp.Compare(a.cost(value), b.cost(value)) })
	const left, right, step = 270.0, 950.0, 23.0
	most := 0.0
	for _, r := range list {
		most = max(most, min(r.cost(value), 3*list[0].cost(value)))
	}
	height := 58 + step*float64(len(list))
	p := newPicture(1040, height, "what each policy pays for")
	at := 4.0
	for _, one := range list[0].parts(value, work) {
		p.add(`<rect x="%.1f" y="4" width="11" height="11" rx="2" fill="var(%s)"/>`, at, one.color)
		p.text(at+16, 14, "start", "soft", one.name)
		at += 32 + 6.1*float64(len(one.name))
	}
	x := func(v float64) float64 { return left + (right-left)*min(v, most)/most }
	for _, t := range ticks(most, 8) {
		p.line(x(t), 26, x(t), height-24)
		p.text(x(t), height-8, "middle", "soft", fmt.Sprintf("%.4g", t))
	}
	for i, r := range list {
		y, sum := 30+step*float64(i), 0.0
		style := emphasis[r.Group]
		name := strings.Replace(r.Policy, "bellboard tuned", "tuned", 1)
		if len([]rune(name)) > 30 {
			name = string([]rune(name)[:29]) + "…"
		}
		p.add(`<text x="%.1f" y="%.1f" text-anchor="end"%s><title>%s</title>%s</text>`, left-10, y+12, style, html.EscapeString(r.Policy), html.EscapeString(name))
		for _, one := range r.parts(value, work) {
			if w := x(sum+one.size) - x(sum); w > 0.05 {
				p.add(`<rect x="%.2f" y="%.1f" width="%.2f" height="16" fill="var(%s)"><title>%s: %.3f</title></rect>`, x(sum), y, w, one.color, one.name, one.size)
			}
			sum += one.size
		}
		text := fmt.Sprintf("%.3f", r.cost(value))
		if r.cost(value) > most {
			text = "→ " + text
		}
		p.text(x(sum)+6, y+12, "start", "soft", text)
	}
	return p.done()
}

// timeline draws agents by what they do, and the builds that wait below them.
func timeline(t *Timeline) template.HTML {
	const left, right, top, bottom = 46.0, 1030.0, 28.0, 300.0
	n := len(t.Waiting)
	order := []struct {
		state state
		name  string
		color string
	}{{busy, "at work", "--work"}, {free, "free", "--idle"}, {starting, "starting", "--starting"}, {leaving, "leaving", "--leaving"}}
	most, waits := 1.0, 1.0
	for i := range n {
		sum := 0.0
		for _, o := range order {
			sum += t.By[o.state][i]
		}
		most, waits = max(most, sum), max(waits, t.Waiting[i])
	}
	zero := top + (bottom-top)*most/(most+waits)
	x := func(i float64) float64 { return left + (right-left)*i/float64(n) }
	up := func(v float64) float64 { return zero - (bottom-top)*v/(most+waits) }
	p := newPicture(1040, 336, "agents and waiting builds over time")
	for _, v := range ticks(most, 5) {
		p.line(left, up(v), right, up(v))
		p.text(left-6, up(v)+4, "end", "soft", fmt.Sprintf("%.4g", v))
	}
	if waits > most/8 {
		v := ticks(waits, 3)
		p.line(left, up(-v[len(v)-1]), right, up(-v[len(v)-1]))
		p.text(left-6, up(-v[len(v)-1])+4, "end", "soft", fmt.Sprintf("%.4g", v[len(v)-1]))
	}
	at := left
	base := make([]float64, n)
	area := func(name, color string, values []float64, sign float64) {
		p.add(`<path fill="var(%s)" d="`, color)
		for i := range n {
			p.add("%s%.1f %.1fH%.1f", map[bool]string{true: "M", false: "V"}[i == 0], x(float64(i)), up(base[i]+sign*values[i]), x(float64(i+1)))
			if i+1 < n {
				p.add("V%.1f", up(base[i+1]+sign*values[i+1]))
			}
		}
		for i := n - 1; i >= 0; i-- {
			p.add("V%.1fH%.1f", up(base[i]), x(float64(i)))
		}
		p.add(`Z"><title>%s</title></path><rect x="%.1f" y="6" width="11" height="11" rx="2" fill="var(%s)"/>`, name, at, color)
		p.text(at+16, 16, "start", "soft", name)
		at += 40 + 6.2*float64(len(name))
		for i := range n {
			base[i] += sign * values[i]
		}
	}
	for _, o := range order {
		area(o.name, o.color, t.By[o.state], 1)
	}
	clear(base)
	area("builds that wait", "--waiting", t.Waiting, -1)
	p.add(`<line x1="%g" y1="%.1f" x2="%g" y2="%.1f" stroke="var(--ink)" stroke-width="1"/>`, left, zero, right, zero)
	p.times(t, n, x, bottom)
	return p.done()
}

// times writes dates or hours below a timeline.
func (p *picture) times(t *Timeline, n int, x func(float64) float64, bottom float64) {
	span := float64(t.Step) * float64(n)
	unit, format := 3*3_600_000.0, "15:04"
	for _, u := range []float64{86_400_000, 2 * 86_400_000, 7 * 86_400_000, 28 * 86_400_000, 91 * 86_400_000, 365 * 86_400_000} {
		if span/unit <= 12 {
			break
		}
		unit, format = u, "2 Jan"
		if span/unit <= 12 {
			break
		}
	}
	for v := (math.Floor(float64(t.From)/unit) + 1) * unit; v < float64(t.From)+span; v += unit {
		px := x((v - float64(t.From)) / float64(t.Step))
		p.line(px, bottom, px, bottom+5)
		p.text(px, bottom+20, "middle", "soft", at(int64(v)).Format(format))
	}
}

// effect draws C(w) for each value of one setting.
func effect(e Effect) template.HTML {
	const left, right, top, bottom = 30.0, 350.0, 18.0, 150.0
	most := 0.0
	for _, v := range e.Points {
		most = max(most, v.Cost)
	}
	p := newPicture(360, 190, e.Key)
	y := func(v float64) float64 { return bottom - (bottom-top)*v/most }
	step := (right - left) / float64(len(e.Points))
	p.line(left, bottom, right, bottom)
	for i, v := range e.Points {
		x := left + step*float64(i)
		color := "--idle"
		if v.Value == e.Now {
			color = "--own"
		}
		p.add(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="var(%s)"><title>paid %.3f</title></rect>`, x+step*0.15, y(v.Paid), step*0.7, bottom-y(v.Paid), color, v.Paid)
		p.add(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="var(--waiting)"><title>lost %.1f s a build</title></rect>`, x+step*0.15, y(v.Cost), step*0.7, y(v.Paid)-y(v.Cost), v.Delay)
		p.text(x+step/2, y(v.Cost)-5, "middle", "soft", fmt.Sprintf("%.2f", v.Cost))
		p.text(x+step/2, bottom+16, "middle", "", v.Value)
		p.text(x+step/2, bottom+32, "middle", "soft", fmt.Sprintf("%.0f s", v.Delay))
	}
	return p.done()
}
