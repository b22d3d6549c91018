package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"bellboard/cmd/internal/app"
	"bellboard/cmd/internal/config"
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
			"The leader's /api/v1/status says why the daemon does what it does.\n" +
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
			return printPlan(cmd.OutOrStdout(), t, output)
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
func printPlan(w io.Writer, t scaler.Tick, output string) error {
	text := ""
	switch {
	case output == "json":
		all, err := json.MarshalIndent(t, "", "  ")
		if err != nil {
			return err
		}
		text = string(plain.JSON(all)) + "\n"
	case t.Hold == "":
		text = planTable(t.Plan) + fresh
	}
	if _, err := io.WriteString(w, text); err != nil {
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
	"Why the daemon does what it does: /api/v1/status of the leader.\n"

func planTable(p scaler.Plan) string {
	var out, windows, starts, other strings.Builder
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	row := func(format string, cells ...any) {
		_, _ = fmt.Fprintf(table, format+"\n", cells...) // a strings.Builder returns no error
	}
	row("TEAM\tWAITING\tOLDEST\tFREE\tCOMING\tBUSY\tWANT\tCHANGE\tBECAUSE")
	for i := range p.Decisions {
		d := &p.Decisions[i]
		row("%s\t%d\t%s\t%d\t%s\t%d\t%d\t%s\t%s", d.Team, d.Waiting, d.Waited(), d.Free, d.OnTheWay(), d.Busy, d.Want, d.Change(), plain.Line(d.Text))
		for j := range d.Scheduled {
			section(&windows, "Set by windows of SCHEDULE now:", "  %-24s %s\n", d.Team, plain.Line(d.Scheduled[j].Words()))
		}
		for _, u := range d.Usual {
			section(&starts, "Agents usually start in:", "  %-24s %s\n", d.Team+" "+string(u.Kind), u.Words())
		}
	}
	unserved := func(change string, all []scaler.Unserved) {
		for _, u := range all {
			row("-\t%d\t-\t-\t-\t-\t-\t%s\t%s", u.Count, change, plain.Line(u.Text+" (jobs: "+strings.Join(u.Jobs, ", ")+")"))
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
		section(&other, "Other changes:", "  %-12s %-24s %s\n", a.Verb, plain.Line(name), plain.Line(a.Text))
	}
	_ = table.Flush() // as in row
	return out.String() + windows.String() + starts.String() + other.String()
}

// section writes one line under a title, which comes before the first line only.
func section(b *strings.Builder, title, format string, args ...any) {
	if b.Len() == 0 {
		b.WriteString("\n" + title + "\n")
	}
	fmt.Fprintf(b, format, args...)
}
