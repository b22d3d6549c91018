package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"bellboard/cmd/internal/simulate"
	"bellboard/scaler/plain"
)

// simulateFlags is what a person asks of a simulation.
type simulateFlags struct {
	output, report      string
	generate, scenarios []string
	set, teams, labels  []string
	start               []time.Duration
	failing, slotPrice  float64
	value, split, last  float64
	tune, rivals, all   bool
	least, days         int
	seed                uint64
}

func simulateCommand() *cobra.Command {
	var s simulateFlags
	cmd := &cobra.Command{
		Use:   "simulate FILE... | simulate --generate SHAPE",
		Short: "Replay a history of builds: what would have been paid, how long would builds have waited",
		Long: "Replays a history of builds against Bellboard's own decision, and with --rivals against policies of other tools.\n" +
			"FILE is CSV with the columns " + simulate.Header + ", plain or packed by gzip. The last three\n" +
			"columns may be missing. The lines are sorted by submission; times are in seconds, also in parts of seconds.\n" +
			"Each label is a team of its own, unless --team joins labels. There is no limit of agents unless --set MAX_AGENTS=… sets one.\n" +
			"C(w) is the paid time of agents and cache slots, and w times the time that builds lost by waiting and by empty caches,\n" +
			"over the time that builds worked. Several histories are shown side by side. Calls neither Jenkins nor Kubernetes.",
		Example: "  bellboard simulate builds.csv.gz --rivals --report report.html\n" +
			"  bellboard simulate builds.csv --set MODE=persistent --set IDLE_TIMEOUT=2m --scenario cold\n" +
			"  bellboard simulate --generate fan-out --days 14 --tune --split 0.5",
		RunE: s.run,
	}
	f := cmd.Flags()
	f.StringVarP(&s.output, "output", "o", "table", "table or json")
	f.StringVar(&s.report, "report", "", "write a report with pictures to this HTML file")
	f.StringSliceVar(&s.scenarios, "scenario", []string{"warm", "cold"}, "warm (starts of 20 to 60 s), cold (also a first build on an empty cache is slower), slow (starts of 2 to 4 minutes)")
	f.Float64Var(&s.value, "wait-value", 10, "agent-seconds that one second less of waiting is worth")
	f.BoolVar(&s.tune, "tune", false, "search for settings of Bellboard with a lower cost")
	f.Float64Var(&s.split, "split", 0, "choose settings by this share of the history, and judge by the rest: 0.5; 0 chooses in hindsight")
	f.BoolVar(&s.rivals, "rivals", false, "replay the policies of other tools, at their defaults and tuned")
	f.BoolVar(&s.all, "all", false, "show all settings of the rivals that were tried")
	f.StringArrayVar(&s.set, "set", nil, "KEY=VALUE: a setting of Bellboard, such as IDLE_TIMEOUT=2m or EPHEMERAL_IDLE_TIMEOUT=30s")
	f.StringArrayVar(&s.teams, "team", nil, "NAME=LABEL,LABEL: the builds of these labels share their agents")
	f.StringArrayVar(&s.labels, "label", nil, "LABEL: replay the builds of this label only; may be repeated")
	f.DurationSliceVar(&s.start, "start", nil, "LEAST,MOST: how long an agent takes to start, in place of the scenario's time: 10s,30s")
	f.Float64Var(&s.failing, "failing", 0, "share of agents that never connect: 0.02")
	f.Float64Var(&s.slotPrice, "slot-price", 0.03, "what a cache slot costs, in agent-seconds for each second")
	f.IntVar(&s.least, "least", 0, "leave out labels with fewer builds")
	f.Float64Var(&s.last, "last", 0, "replay the last days only; 0 for all")
	f.Uint64Var(&s.seed, "seed", 1, "number that determines the start-ups and the dispatch, and a generated history")
	f.StringSliceVar(&s.generate, "generate", nil, "replay a generated history: diurnal, fan-out, cron, periodic, nearly-idle or all")
	f.IntVar(&s.days, "days", 14, "length of a generated history")
	return cmd
}

func (s *simulateFlags) run(cmd *cobra.Command, args []string) error {
	if err := s.check(args); err != nil {
		return usageError{err}
	}
	progress := newProgress(cmd.ErrOrStderr())
	var answers []*simulate.Answer
	for _, load := range s.histories(args) {
		h, err := load()
		if err != nil {
			return usageError{err}
		}
		q, err := s.question(h)
		if err != nil {
			return usageError{err}
		}
		q.Progress = progress.show
		a, err := ask(cmd.Context(), q)
		progress.clear()
		if bad := (*simulate.InputError)(nil); errors.As(err, &bad) {
			return usageError{err}
		}
		if err != nil {
			return err
		}
		answers = append(answers, a)
	}
	switch {
	case s.report != "":
		if err := writeReport(s.report, answers[0]); err != nil {
			return err
		}
	case s.output == "json":
	case len(answers) > 1:
		return sideBySide(cmd.OutOrStdout(), answers)
	}
	if s.output == "table" {
		return s.table(cmd.OutOrStdout(), answers[0])
	}
	out := json.NewEncoder(cmd.OutOrStdout())
	out.SetIndent("", "  ")
	if len(answers) == 1 {
		return out.Encode(answers[0])
	}
	return out.Encode(answers)
}

// ask answers a question. A decision leaves much behind, and keeps little of it: a million builds need a third
// of the memory that the collector may let grow.
func ask(ctx context.Context, q simulate.Question) (*simulate.Answer, error) {
	if len(q.History.Builds) < 2_000_000 {
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		defer debug.SetMemoryLimit(debug.SetMemoryLimit(700 << 20))
	}
	return simulate.Ask(ctx, q)
}

// check returns the first mistake in the flags.
func (s *simulateFlags) check(args []string) error {
	if slices.Contains(s.generate, "all") {
		s.generate = nil
		for _, shape := range simulate.Shapes() {
			s.generate = append(s.generate, string(shape))
		}
	}
	switch n := len(args) + len(s.generate); {
	case n == 0:
		return errors.New("simulate: write the file with the history, or --generate and a shape")
	case n > 1 && s.report != "":
		return fmt.Errorf("--report %s: a report is about one history, and %d are given", s.report, n)
	case s.output != "table" && s.output != "json":
		return fmt.Errorf("-o %s: write table or json", s.output)
	case s.split < 0 || s.split >= 1:
		return fmt.Errorf("--split %g: write a share from 0 to 1, such as 0.5", s.split)
	case s.value < 0 || s.value > 10_000:
		return fmt.Errorf("--wait-value %g: write a number from 0 to 10000", s.value)
	case len(s.start) != 0 && (len(s.start) != 2 || s.start[0] < 0 || s.start[0] > s.start[1] || s.start[1] > time.Hour):
		return fmt.Errorf("--start %v: write the least and the most time, at most 1h, such as 10s,30s", s.start)
	case s.failing < 0 || s.failing > 0.9:
		return fmt.Errorf("--failing %g: write a share from 0 to 0.9", s.failing)
	case s.slotPrice < 0 || s.slotPrice > 100:
		return fmt.Errorf("--slot-price %g: write a number from 0 to 100", s.slotPrice)
	case s.last < 0:
		return fmt.Errorf("--last %g: write a number of days, or 0 for all", s.last)
	}
	_, _, err := simulate.Settings(s.set...)
	return err
}

// question returns what the flags ask of a history.
func (s *simulateFlags) question(h *simulate.History) (q simulate.Question, err error) {
	q = simulate.Question{
		History: h, Set: s.set, Values: []float64{1, 10, 30}, Value: s.value,
		Rivals: s.rivals, Tune: s.tune, Split: s.split, Least: s.least,
	}
	for _, name := range s.scenarios {
		one, err := simulate.ScenarioOf(name)
		if err != nil {
			return q, fmt.Errorf("--scenario: %w", err)
		}
		one.Seed, one.Failing, one.SlotPrice = s.seed, s.failing, s.slotPrice
		if len(s.start) == 2 {
			one.StartLeast, one.StartMost = s.start[0], s.start[1]
		}
		q.Scenarios = append(q.Scenarios, one)
	}
	if len(h.Labels) == 1 {
		q.Least = 0 // something has to be replayed
	}
	if s.report != "" {
		q.Steps = 720
	}
	return q, nil
}

// histories returns functions that read or generate the histories.
func (s *simulateFlags) histories(args []string) []func() (*simulate.History, error) {
	var out []func() (*simulate.History, error)
	for _, name := range args {
		out = append(out, func() (*simulate.History, error) {
			file, err := os.Open(name) //nolint:gosec // the person names the file
			if err != nil {
				return nil, err
			}
			defer func() { _ = file.Close() }()
			h, err := simulate.Read(file, name)
			if err != nil {
				return nil, err
			}
			return s.part(h)
		})
	}
	for _, shape := range s.generate {
		out = append(out, func() (*simulate.History, error) {
			h, err := simulate.Generate(simulate.Shape(shape), s.days, s.seed)
			if err != nil {
				return nil, fmt.Errorf("--generate: %w", err)
			}
			return s.part(h)
		})
	}
	return out
}

// part joins labels, and leaves out what the flags do not ask for.
func (s *simulateFlags) part(h *simulate.History) (*simulate.History, error) {
	if err := h.Join(s.teams); err != nil {
		return nil, fmt.Errorf("--team: %w", err)
	}
	if err := h.Only(s.labels); err != nil {
		return nil, fmt.Errorf("--label: %w", err)
	}
	if s.last > 0 {
		h = h.Last(s.last)
	}
	return h, nil
}

// shown returns C(w) of a row of a scenario, for the w with that index. The best rival is the best for that w.
func shown(a *simulate.Answer, scenario, row, at int) float64 {
	rows := a.Scenarios[scenario].Rows
	out := rows[row].Cost[at].Cost
	if rows[row].Group != simulate.GroupBest || a.Split > 0 {
		return out
	}
	for i := range rows {
		if g := rows[i].Group; g == simulate.GroupRival || g == simulate.GroupGrid {
			out = min(out, rows[i].Cost[at].Cost)
		}
	}
	return out
}

// sideBySide prints C(w) of several histories as Markdown, a table for each w.
func sideBySide(w io.Writer, answers []*simulate.Answer) error {
	first := answers[0].Scenarios[0].Rows
	for at, c := range first[0].Cost {
		var text strings.Builder
		fmt.Fprintf(&text, "| C(%g) |", c.WaitValue)
		columns := 0
		for _, a := range answers {
			name := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(a.History.Name), ".gz"), ".csv")
			name, _, _ = strings.Cut(strings.TrimPrefix(name, "generated "), ",")
			for i := range a.Scenarios {
				fmt.Fprintf(&text, " %s %s |", name, a.Scenarios[i].Scenario)
				columns++
			}
		}
		text.WriteString("\n|---|" + strings.Repeat("--:|", columns) + "\n")
		for i := range first {
			if first[i].Group == simulate.GroupGrid {
				continue
			}
			name := first[i].Policy
			if g := first[i].Group; g == simulate.GroupBest || g == simulate.GroupTuned {
				name = g + " on that history"
			}
			text.WriteString("| " + plain.Line(name) + " |")
			for _, a := range answers {
				for k := range a.Scenarios {
					fmt.Fprintf(&text, " %.3f |", shown(a, k, i, at))
				}
			}
			text.WriteString("\n")
		}
		if _, err := io.WriteString(w, text.String()+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// writeReport writes the HTML report.
func writeReport(name string, a *simulate.Answer) error {
	f, err := os.Create(name) //nolint:gosec // the person names the file
	if err != nil {
		return err
	}
	return errors.Join(a.WriteReport(f), f.Close())
}

// table prints the answer for a person.
func (s *simulateFlags) table(w io.Writer, a *simulate.Answer) error {
	h := &a.History
	text := fmt.Sprintf("%s: %d builds in %.1f days, %d labels, %.0f hours of work, at most %d at once", h.Name, h.Builds, h.Days, h.Labels, h.Work, h.Peak)
	if h.Left > 0 {
		text += fmt.Sprintf(" (%d builds of rare labels left out)", h.Left)
	}
	if h.WaitP95 > 0 {
		text += fmt.Sprintf("\nreally waited: half at most %.0f s, 19 of 20 at most %.0f s", h.WaitP50, h.WaitP95)
	}
	if a.Split > 0 {
		text += fmt.Sprintf("\nchosen by the first %.0f %% of the history, judged by the rest", 100*a.Split)
	}
	if _, err := fmt.Fprintln(w, plain.Block(text)); err != nil {
		return err
	}
	for i := range a.Scenarios {
		if err := s.scenarioTable(w, &a.Scenarios[i]); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "\nWaits and cold are seconds for each build. Paid, its parts and C(w) are over work. C(w) = paid + w × (waits + cold).\n")
	return err
}

func (s *simulateFlags) scenarioTable(w io.Writer, f *simulate.Findings) error {
	if _, err := fmt.Fprintf(w, "\n%s   no wait at all costs at least %.3f, waits up to a minute at least %.3f\n", f.Scenario, f.Bounds.Clairvoyant, f.Bounds.Least); err != nil {
		return err
	}
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	head := []string{"mean wait", "p50", "p95", "p99", "cold", "paid", "starting", "idle", "leaving", "slots", "agents made"}
	for _, c := range f.Rows[0].Cost {
		head = append(head, fmt.Sprintf("C(%g)", c.WaitValue))
	}
	_, _ = fmt.Fprintf(out, "%s\t  policy\n", strings.Join(head, "\t"))
	for i := range f.Rows {
		m := &f.Rows[i]
		if m.Group == simulate.GroupGrid && !s.all {
			continue
		}
		_, _ = fmt.Fprintf(out, "%.1f\t%.0f\t%.0f\t%.0f\t%.1f\t%.3f\t%.3f\t%.3f\t%.3f\t%.3f\t%d\t", m.WaitMean, m.WaitP50, m.WaitP95, m.WaitP99, m.Cold, m.Paid, m.Starting, m.Idle, m.Leaving, m.Stored, m.Launches)
		for _, c := range m.Cost {
			_, _ = fmt.Fprintf(out, "%.3f\t", c.Cost)
		}
		_, _ = fmt.Fprintf(out, "  %s\n", plain.Line(m.Policy))
	}
	return out.Flush()
}

// progress shows on a terminal how far a simulation is.
type progress struct {
	w     io.Writer
	tty   bool
	shown bool
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w}
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		p.tty = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

func (p *progress) show(done, all int, what string) {
	if !p.tty {
		return
	}
	const width = 24
	bar := strings.Repeat("█", width*done/all) + strings.Repeat("░", width-width*done/all)
	_, _ = fmt.Fprintf(p.w, "\r\x1b[K%s %d of %d  %s", bar, done, all, firstWords(plain.Line(what)))
	p.shown = true
}

func (p *progress) clear() {
	if p.shown {
		_, _ = fmt.Fprint(p.w, "\r\x1b[K")
	}
}
