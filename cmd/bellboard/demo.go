package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

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
		listen string
		file   string
		output string
	)
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the real daemon with a simulated Jenkins, a simulated cluster and builds",
		Long: "Runs everything in this process on loopback ports. Needs no set-up and leaves nothing behind.\n" +
			"Writes a kubeconfig and a file of variables, with which the other commands and kubectl work on the demo.\n" +
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
			if _, err := os.Stat(file); file != "" && err == nil {
				return usageError{fmt.Errorf("--env-file %s: the file exists; name another one, or remove it", file)}
			}
			d := &demo{out: cmd.OutOrStdout(), words: cmd.OutOrStdout(), speed: speed, chaos: chaos}
			if output == "json" {
				d.words = cmd.ErrOrStderr()
			}
			return d.run(cmd.Context(), wall, house.Config{Seed: seed, Hook: hook, Listen: listen}, file, output)
		},
	}
	f := cmd.Flags()
	f.DurationVar(&wall, "for", time.Hour, "how long new builds come, in wall time")
	f.Float64Var(&speed, "speed", 20, "simulated seconds per second (1 to 50)")
	f.Int64Var(&seed, "seed", 7, "number that determines the builds: the same seed gives the same builds")
	f.BoolVar(&chaos, "chaos", false, "restart Jenkins and Bellboard, silence agents, delete pods, and make agents fail in every known way")
	f.BoolVar(&hook, "hook", false, "install the one-build hook in the simulated Jenkins")
	f.StringVar(&listen, "listen", "", "address of the page, such as :8080 (default: a free port of 127.0.0.1)")
	f.StringVar(&file, "env-file", "", "new file for the variables of other commands (default: a temporary file); the demo removes it at its end")
	f.StringVarP(&output, "output", "o", "text", "text; or json: a summary as the last line of standard output")
	return cmd
}

const (
	emptiesEvery = 2 * time.Second
	leftShown    = 8
)

// demo prints what happens in one house.
type demo struct {
	out, words io.Writer
	speed      float64
	chaos      bool

	mu    sync.Mutex
	began time.Time
	shown time.Time // when a line last said what is left, by the wall's clock
	left  house.Remains
}

func (d *demo) run(ctx context.Context, wall time.Duration, cfg house.Config, file, output string) error {
	c := clock.Fast(d.speed)
	d.began = c.Now()
	cfg.Clock, cfg.Chaos, cfg.Network, cfg.Record = c, d.chaos, true, d.tick
	cfg.Say = func(what string) { d.line(c.Now(), "chaos", "!", what) }
	cfg.Empties = func(r house.Remains) { d.empties(c.Now(), r) }
	h, err := house.New(ctx, cfg)
	if err != nil {
		return err
	}
	defer h.Close()
	file, remove, err := lesson(h, file)
	defer remove()
	if err != nil {
		return err
	}
	perHour := 0.0
	for _, l := range house.DefaultLoads() {
		perHour += l.PerHour
	}
	hook := ""
	if !cfg.Hook {
		hook = ", and that the hook is missing (--hook installs it)"
	}
	d.print("bellboard demo   seed %d, %g times real time\n", cfg.Seed, d.speed)
	d.print("  jenkins  %s   three teams, about %.0f builds an hour (simulated)\n", h.JenkinsURL, perHour)
	d.print("  cluster  %s   its API server (simulated)\n", h.ClusterURL)
	d.print("  page     %s   status at /api/v1/status, metrics at /metrics\n\n", h.PageURL)
	d.print("  In another terminal:\n    . %s\n", file)
	d.print("    bellboard status      how builds fare, team by team\n")
	d.print("    bellboard why web     why builds of a team wait\n")
	d.print("    bellboard plan        what a Bellboard that starts now would do\n")
	d.print("    bellboard doctor      finds that the demo's clock is fast%s\n", hook)
	d.print("    kubectl get pods      also -w; kubectl get events -A; kubectl delete pod NAME\n\n")
	d.print("  ctrl-c: no new builds come, and Bellboard removes all agents. A second ctrl-c ends at once.\n\n")
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
	d.print("    killed: builds that Bellboard ended. lost: builds that something else ended, such as --chaos, or kubectl delete pod --force.\n")
	d.print("    left behind: Jenkins nodes, pods, Secrets and volume claims that should be gone by now.\n")
	if now.Err() != nil {
		s.Left = nil // the person knows
	}
	for _, l := range s.Left[:min(len(s.Left), leftShown)] {
		d.print("    left: %s\n", plain.Line(l))
	}
	if more := len(s.Left) - leftShown; more > 0 {
		d.print("    left: %d more\n", more)
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
	case now.Err() != nil:
		return errors.New("the second ctrl-c ended the demo before everything was removed")
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

// empties says what is left after the day: when that begins, and then every few seconds if it has changed.
func (d *demo) empties(at time.Time, r house.Remains) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r == d.left || time.Since(d.shown) < emptiesEvery {
		return
	}
	what := "still empties"
	if d.shown.IsZero() {
		what = "no new builds"
	}
	d.shown, d.left = time.Now(), r
	d.line(at, "all", what, fmt.Sprintf("builds: %d wait, %d run; left: %d pods, %d Jenkins nodes, %d volume claims", r.Waiting, r.Running, r.Pods, r.Nodes, r.Slots))
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

// lesson writes what the other commands and kubectl need to work on the house: a kubeconfig, a token, and the
// file with the variables, whose name lesson returns.
func lesson(h *house.House, file string) (env string, remove func(), err error) {
	dir, err := os.MkdirTemp("", "bellboard-demo-")
	if err != nil {
		return "", func() {}, err
	}
	file = cmp.Or(file, filepath.Join(dir, "env"))
	remove = func() { _ = errors.Join(os.Remove(file), os.RemoveAll(dir)) } // a person may have removed them
	kube, token := filepath.Join(dir, "kubeconfig"), filepath.Join(dir, "token")
	cfg := api.NewConfig()
	cfg.Clusters["demo"] = &api.Cluster{Server: h.ClusterURL}
	cfg.Contexts["demo"] = &api.Context{Cluster: "demo", Namespace: "ci"}
	cfg.CurrentContext = "demo"
	var text strings.Builder
	const tokenFile = "BELLBOARD_JENKINS_TOKEN_FILE="
	all := slices.DeleteFunc(h.Environ(), func(v string) bool { return strings.HasPrefix(v, tokenFile) })
	all = append(all, tokenFile+token, "BELLBOARD_URL="+h.PageURL, "KUBECONFIG="+kube)
	if self, err := os.Executable(); err == nil && filepath.Base(self) == "bellboard" {
		if _, err := exec.LookPath("bellboard"); err != nil { // such as after go run
			text.WriteString("export PATH=\"$PATH\":" + quoted(filepath.Dir(self)) + "\n")
		}
	}
	for _, v := range all {
		name, value, _ := strings.Cut(v, "=")
		text.WriteString("export " + name + "=" + quoted(value) + "\n")
	}
	return file, remove, errors.Join(
		clientcmd.WriteToFile(*cfg, kube),
		os.WriteFile(token, []byte(house.Token+"\n"), 0o600),
		os.WriteFile(file+".part", []byte(text.String()), 0o600),
		os.Rename(file+".part", file), // a script may wait for the file
	)
}

// quoted returns a text as a shell reads it.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
