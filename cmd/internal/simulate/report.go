package simulate

import (
	"cmp"
	_ "embed" // the page's template and style
	"fmt"
	"html/template"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

//go:embed report.html
var reportHTML string

var reportPage = template.Must(template.New("report").Funcs(template.FuncMap{
	"number": number, "percent": func(x float64) string { return fmt.Sprintf("%.0f %%", 100*x) },
	"day": func(t time.Time) string { return t.Format("2 January 2006") },
}).Parse(reportHTML))

// number returns a number with as many digits as a reader needs.
func number(x float64) string {
	switch {
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

// page is what the report shows.
type page struct {
	*Answer
	Scenarios []pageScenario
	Families  []Family
	Name      string
}

type pageScenario struct {
	*Findings
	Title, Text, Verdict string
	Scatter, Bars        template.HTML
	Line, Zoom           template.HTML
	Day                  string
	Effects              []pageEffect
	Values               []float64
	Table                []Row
}

type pageEffect struct {
	Key, Text string
	Picture   template.HTML
}

// WriteReport writes the answer as one HTML page with pictures, which needs nothing else.
func (a *Answer) WriteReport(w io.Writer) error {
	p := page{Answer: a, Families: Families(), Name: filepath.Base(a.History.Name)}
	for i := range a.Scenarios {
		p.Scenarios = append(p.Scenarios, a.pageScenario(&a.Scenarios[i]))
	}
	return reportPage.Execute(w, p)
}

// title returns a text with a capital at its beginning.
func title(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// scenarioTexts say what a scenario assumes.
var scenarioTexts = map[string]string{
	"warm": "An agent starts in 20 to 60 s. Caches do not matter, so there are no cache slots.",
	"cold": "An agent starts in 20 to 60 s. The first build on an empty cache takes 35 % longer, at most 5 minutes. " +
		"A persistent agent keeps its cache in a slot, which adds 10 s to its start and costs 0.03 agent-seconds a second.",
	"slow": "An agent needs a new machine, and starts in 2 to 4 minutes. Caches do not matter, so there are no cache slots.",
}

func (a *Answer) pageScenario(f *Findings) pageScenario {
	out := pageScenario{Findings: f, Title: title(f.Scenario), Text: scenarioTexts[f.Scenario]}
	work := a.History.Work * 3600 / float64(a.History.Builds) // seconds of a build
	out.Verdict = f.verdict(a.Value)
	out.Scatter = scatter(f.Rows, a.Value, work)
	out.Bars = bars(f.Rows, a.Value, work)
	if f.Line != nil {
		out.Line, out.Zoom = timeline(f.Line), timeline(f.Zoom)
		out.Day = at(f.Zoom.From).Format("Monday, 2 January 2006")
	}
	for _, e := range f.Effects {
		out.Effects = append(out.Effects, pageEffect{e.Key, knobTexts[e.Key], effect(e)})
	}
	for _, c := range f.Rows[0].Cost {
		out.Values = append(out.Values, c.WaitValue)
	}
	out.Table = slices.Clone(f.Rows)
	slices.SortStableFunc(out.Table, func(x, y Row) int { return cmp.Compare(x.cost(a.Value), y.cost(a.Value)) })
	return out
}

// verdict says in words how the first row compares.
func (f *Findings) verdict(value float64) string {
	own := &f.Rows[0]
	lost := fmt.Sprintf("waits %s s", number(own.WaitMean))
	if own.Cold > 0 {
		lost += fmt.Sprintf(" and loses %s s to empty caches", number(own.Cold))
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s pays %s times the work. A build %s on average. C(%g) is %.3f.", title(own.Policy), number(own.Paid), lost, value, own.cost(value))
	for i := range f.Rows {
		r := &f.Rows[i]
		if r.Group != GroupBest && r.Group != GroupTuned {
			continue
		}
		other := "the " + r.Policy
		if r.Group == GroupTuned {
			other = strings.Replace(r.Policy, "bellboard tuned:", "Bellboard with", 1)
		}
		switch d := own.cost(value)/r.cost(value) - 1; {
		case d > 0.0005:
			fmt.Fprintf(&text, " That is %.1f %% more than %s (%.3f).", 100*d, other, r.cost(value))
		case d < -0.0005:
			fmt.Fprintf(&text, " That is %.1f %% less than %s (%.3f).", -100*d, other, r.cost(value))
		default:
			fmt.Fprintf(&text, " %s costs the same.", title(other))
		}
	}
	return text.String()
}
