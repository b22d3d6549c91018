package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"bellboard/cmd/internal/house"
	"bellboard/scaler"
	"bellboard/scaler/clock"
	"bellboard/scaler/plain"
)

func demoCommand() *cobra.Command {
	var (
		wall   time.Duration
		speed  float64
		seed   int64
		chaos  bool
		hook   bool
		output string
	)
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the real daemon with a simulated Jenkins, a simulated cluster and builds",
		Long: "Runs everything in this process on loopback ports. Needs no set-up and leaves nothing behind.\n" +
			"After --for, or at the first ctrl-c, no new builds come, and Bellboard removes all agents. The second ctrl-c ends at once.\n" +
			"Exit code 0: no build was killed and nothing was left behind; 1 otherwise.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case output != "text" && output != "json":
				return usageError{fmt.Errorf("-o %s: write text or json", output)}
			case wall <= 0:
				return usageError{fmt.Errorf("--for %s: write how long the day is, such as 60s", wall)}
			case speed < 1 || speed > 50:
				return usageError{fmt.Errorf("--speed %g: write a number from 1 to 50", speed)}
			}
			d := &demo{out: cmd.OutOrStdout(), words: cmd.OutOrStdout(), speed: speed, chaos: chaos}
			if output == "json" {
				d.words = cmd.ErrOrStderr()
			}
			return d.run(cmd.Context(), wall, seed, hook, output)
		},
	}
	f := cmd.Flags()
	f.DurationVar(&wall, "for", time.Hour, "how long new builds come, in wall time")
	f.Float64Var(&speed, "speed", 20, "simulated seconds per second (1 to 50)")
	f.Int64Var(&seed, "seed", 7, "number that determines the builds: the same seed gives the same builds")
	f.BoolVar(&chaos, "chaos", false, "restart Jenkins and Bellboard, silence agents, delete pods, and make agents fail in every known way")
	f.BoolVar(&hook, "hook", false, "install the one-build hook in the simulated Jenkins")
	f.StringVarP(&output, "output", "o", "text", "text; or json: a summary as the last line of standard output")
	return cmd
}

// demo prints what happens in one house.
type demo struct {
	out, words io.Writer
	speed      float64
	chaos      bool

	mu    sync.Mutex
	began time.Time
}

func (d *demo) run(ctx context.Context, wall time.Duration, seed int64, hook bool, output string) error {
	c := clock.Fast(d.speed)
	d.began = c.Now()
	h, err := house.New(ctx, house.Config{
		Clock: c, Seed: seed, Chaos: d.chaos, Hook: hook, Network: true,
		Record: d.tick,
		Say:    func(what string) { d.line(c.Now(), "chaos", "!", what) },
	})
	if err != nil {
		return err
	}
	defer h.Close()
	perHour := 0.0
	for _, l := range house.DefaultLoads() {
		perHour += l.PerHour
	}
	d.print("bellboard demo   seed %d, %g times real time\n", seed, d.speed)
	d.print("  jenkins  %s   three teams, about %.0f builds an hour (simulated)\n", h.JenkinsURL, perHour)
	d.print("  cluster  %s   kubectl --server %s -n ci get pods (simulated)\n", h.ClusterURL, h.ClusterURL)
	d.print("  page     %s   status at /api/v1/status, metrics at /metrics\n\n", h.PageURL)
	d.print("  %-6s  %-7s %-28s %s\n", "time", "team", "what", "why")

	now, quit := context.WithCancel(context.WithoutCancel(ctx))
	defer quit()
	context.AfterFunc(ctx, func() { // the second ctrl-c ends the demo at once
		second, stop := signal.NotifyContext(now, os.Interrupt, syscall.SIGTERM)
		defer stop()
		<-second.Done()
		quit()
	})
	s, err := h.Run(ctx, now, time.Duration(float64(wall)*d.speed))
	d.mu.Lock()
	defer d.mu.Unlock()
	took := c.Now().Sub(d.began)
	d.print("  %s (%s simulated): %d builds, median wait %.1f s, worst %.0f s · %d agents made, peak %d\n",
		time.Duration(float64(took)/d.speed).Round(time.Second), took.Round(time.Minute), s.BuildsFinished, s.WaitP50, s.WaitMax,
		s.AgentsCreated[string(scaler.Ephemeral)]+s.AgentsCreated[string(scaler.Persistent)], s.AgentsPeak)
	d.print("  killed %d · lost %d · left behind %d\n", s.BuildsKilled, s.BuildsLost, s.OrphansLeft)
	for _, l := range s.Left {
		d.print("    left: %s\n", plain.Line(l))
	}
	if d.chaos {
		var all []string
		for _, f := range scaler.Failures() {
			all = append(all, fmt.Sprintf("%s %d/%d", f, s.Failed[f], s.Thrown[f]))
		}
		d.print("  agents failed / failures thrown: %s\n", strings.Join(all, " · "))
	}
	if output == "json" {
		line, jerr := json.Marshal(s)
		if jerr != nil {
			return jerr
		}
		if _, err := fmt.Fprintln(d.out, string(line)); err != nil {
			return err
		}
	}
	switch {
	case err != nil:
		return fmt.Errorf("the day did not end: %w", err)
	case s.BuildsKilled > 0 || s.OrphansLeft > 0:
		return fmt.Errorf("%d builds killed, %d left behind", s.BuildsKilled, s.OrphansLeft)
	}
	return nil
}

// print prints for a person. An error of the terminal does not end the demo.
func (d *demo) print(format string, args ...any) {
	_, _ = io.WriteString(d.words, plain.Block(fmt.Sprintf(format, args...)))
}

// line prints one line of the table.
func (d *demo) line(at time.Time, team, what, why string) {
	since := at.Sub(d.began).Round(time.Second)
	d.print("  %02d:%02d   %-7s %-28s %s\n", int(since.Minutes()), int(since.Seconds())%60, team, what, plain.Line(why))
}

// tick prints the beginning and the end of a hold, each decision that changes something, and each team that is
// newly blocked.
func (d *demo) tick(t scaler.Tick) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range t.News {
		switch n := &t.News[i]; n.Kind {
		case scaler.NewsHold:
			d.line(t.At, "all", "hold", firstWords(t.Hold))
		case scaler.NewsReadable:
			d.line(t.At, "all", "hold is over", fmt.Sprintf("Bellboard left %d agents alone", len(t.Plan.Agents)))
		case scaler.NewsScaled, scaler.NewsBlocked:
			d.line(t.At, n.Decision.Team, n.Decision.Change(), n.Decision.Text)
		case scaler.NewsWindow:
			d.line(t.At, n.Decision.Team, "window", n.Text)
		case scaler.NewsRescue:
			a := &n.Outcome.Action
			d.line(t.At, a.Pool.Team, string(a.Verb), a.Agent+": "+a.Text)
		case scaler.NewsStillHeld, scaler.NewsRejected, scaler.NewsFailed, scaler.NewsLost: // the page and the log have them
		}
	}
}

// firstWords cuts a text to the width of a terminal.
func firstWords(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 90 {
		return string(r[:89]) + "…"
	}
	return s
}
