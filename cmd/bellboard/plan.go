package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"bellboard/cmd/internal/app"
	"bellboard/cmd/internal/config"
	"bellboard/cmd/internal/term"
	"bellboard/metrics/web"
	"bellboard/pool"
	"bellboard/scaler"
	"bellboard/scaler/plain"
)

func planCommand(environ []string) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what a Bellboard that starts now would do, and change nothing",
		Long: "Makes one read-only tick against Jenkins and the cluster and prints it. Use it to try settings.\n" +
			"Unlike the daemon, plan remembers nothing: no pause after failures, no cooldown, no idle time of an agent.\n" +
			"bellboard status and bellboard why say why the running daemon does what it does.\n" +
			"Exit code 0: nothing would change; 3: something would change; 1: Jenkins or Kubernetes could not be read.\n" +
			"With -o yaml plan reads neither of them. It prints the whole pod (and volume claim) of an agent of each team and kind,\n" +
			"needed now or not. To let the cluster check them: bellboard plan -o yaml | kubectl create --dry-run=server -f -",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output == "yaml" {
				settings, err := load(environ, config.WithoutJenkins())
				if err != nil {
					return err
				}
				return planYAML(cmd.OutOrStdout(), settings.PoolSpecs())
			}
			if output != "table" && output != "json" {
				return usageError{fmt.Errorf("-o %s: write table, json or yaml", output)}
			}
			settings, err := load(environ)
			if err != nil {
				return err
			}
			settings.DryRun = true
			d, err := daemon(app.Parts{Settings: settings, Waiting: waiting(cmd.ErrOrStderr())})
			if err != nil {
				return err
			}
			t, err := d.Plan(cmd.Context())
			if err != nil {
				return err
			}
			return printPlan(term.New(cmd.OutOrStdout(), environ), t, output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table; json; or yaml: only the pods and volume claims")
	return cmd
}

// planYAML prints the objects of an agent of each spec, for kubectl.
func planYAML(w io.Writer, specs []pool.Spec) error {
	for i := range specs {
		for _, o := range pool.Objects(specs[i], scaler.AgentName(specs[i].PoolID, "planned")) {
			text, err := yaml.Marshal(o)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(w, "---\n# team %s, %s\n%s", specs[i].Team, specs[i].Kind, text); err != nil {
				return err
			}
		}
	}
	return nil
}

// printPlan prints one tick. Its error is exit code 3 if something would change.
func printPlan(s *term.Screen, t scaler.Tick, output string) error {
	text := ""
	switch {
	case output == "json":
		all, err := web.JSON(t)
		if err != nil {
			return err
		}
		text = string(all)
	case t.Hold == "":
		text = planTable(s, t.Plan) + fresh
	}
	if _, err := io.WriteString(s, text); err != nil {
		return err
	}
	switch {
	case t.Hold != "":
		return errors.New("holding, since nothing can be decided: " + string(t.HoldBy) + ": " + t.Hold)
	case len(t.Plan.Actions) > 0:
		return codeError(exitChanges)
	}
	return nil
}

// fresh says what a tick of a new process cannot know.
const fresh = "\nThis plan remembers nothing: no pause after failures, no cooldown, no agent idle long enough to go.\n" +
	"Why the running daemon does what it does: bellboard status, and bellboard why JOB.\n"

func planTable(screen *term.Screen, p scaler.Plan) string {
	var windows, starts, other strings.Builder
	table := term.Table{Head: []string{"TEAM", "WAITING", "OLDEST", "FREE", "COMING", "BUSY", "WANT", "CHANGE", "BECAUSE"}, Short: 8}
	// line writes one line under a title, which comes before the first line only.
	line := func(b *strings.Builder, title, name, text string) {
		if b.Len() == 0 {
			b.WriteString("\n" + title + "\n")
		}
		b.WriteString(screen.Text(fmt.Sprintf("  %-24s ", plain.Line(name)), text))
	}
	for i := range p.Decisions {
		d := &p.Decisions[i]
		table.Add(d.Team, strconv.Itoa(d.Waiting), d.Waited(), strconv.Itoa(d.Free), d.OnTheWay(), strconv.Itoa(d.Busy), strconv.Itoa(d.Want), d.Change(), d.Text)
		for j := range d.Scheduled {
			line(&windows, "Set by windows of SCHEDULE now:", d.Team, d.Scheduled[j].Words())
		}
		for _, u := range d.Usual {
			line(&starts, "Agents usually start in:", d.Team+" "+string(u.Kind), u.Words())
		}
	}
	unserved := func(change string, all []scaler.Unserved) {
		for _, u := range all {
			table.Add("-", strconv.Itoa(u.Count), "-", "-", "-", "-", "-", change, u.Text+" (jobs: "+strings.Join(u.Jobs, ", ")+")")
		}
	}
	unserved("unserved", p.Unserved)
	unserved("unresolved", p.Unresolved)
	for i := range p.Actions {
		a := &p.Actions[i]
		if a.Verb == scaler.Create {
			continue // the table has it
		}
		name := cmp.Or(a.Agent, a.Pool.Team+" "+string(a.Pool.Kind))
		if a.Slot != nil {
			name = a.Slot.Name
		}
		line(&other, "Other changes:", fmt.Sprintf("%-12s %s", a.Verb, name), a.Text)
	}
	return table.In(screen) + windows.String() + starts.String() + other.String()
}
