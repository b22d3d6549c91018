package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"bellboard/cmd/internal/simulate"
)

func simulateCommand() *cobra.Command {
	var (
		scenarios []string
		set       []string
		least     int
		modes     []string
		poll      time.Duration
		values    []float64
	)
	cmd := &cobra.Command{
		Use:   "simulate FILE",
		Short: "Replay a history of builds: what would have been paid, and how long would builds have waited",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := os.Open(args[0])
			if err != nil {
				return usageError{err}
			}
			defer func() { _ = file.Close() }()
			h, err := simulate.Read(file, args[0])
			if err != nil {
				return usageError{err}
			}
			debug.SetGCPercent(800) // a decision leaves much behind, and little of it is kept
			out := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', tabwriter.AlignRight)
			defer func() { _ = out.Flush() }()
			_, _ = fmt.Fprintf(out, "scenario\tpolicy\tmean\tp50\tp95\tp99\tcold\tpaid\tstart\tbusy\tidle\tleave\tslots\tlaunches\tlooks\ttook\t")
			for _, v := range values {
				_, _ = fmt.Fprintf(out, "C(%g)\t", v)
			}
			_, _ = fmt.Fprintln(out)
			for _, name := range scenarios {
				s, err := simulate.ScenarioOf(name)
				if err != nil {
					return usageError{err}
				}
				for _, mode := range modes {
					p, err := simulate.Bellboard(mode, poll, append([]string{"MODE=" + mode}, set...)...)
					if err != nil {
						return usageError{err}
					}
					r, err := simulate.Replay(h, s, p, simulate.Least(least))
					if err != nil {
						return err
					}
					m := r.Measures(values...)
					_, _ = fmt.Fprintf(out, "%s\t%s\t%.1f\t%.0f\t%.0f\t%.0f\t%.1f\t%.3f\t%.3f\t%.3f\t%.3f\t%.3f\t%.3f\t%d\t%d\t%.1fs\t", name, m.Policy, m.WaitMean, m.WaitP50, m.WaitP95, m.WaitP99, m.Cold, m.Paid, m.Starting, m.Busy, m.Idle, m.Leaving, m.Stored, m.Launches, m.Looks, m.Took)
					for _, c := range m.Cost {
						_, _ = fmt.Fprintf(out, "%.3f\t", c.Cost)
					}
					_, _ = fmt.Fprintln(out)
				}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&scenarios, "scenario", []string{"warm", "cold"}, "warm, cold, slow")
	f.StringArrayVar(&set, "set", nil, "KEY=VALUE: a setting, such as IDLE_TIMEOUT=2m")
	f.StringSliceVar(&modes, "mode", []string{"ephemeral", "persistent", "auto"}, "the modes of Bellboard to replay")
	f.IntVar(&least, "least", 0, "leave out labels with fewer builds")
	f.DurationVar(&poll, "poll", 5*time.Second, "time between two polls")
	f.Float64SliceVar(&values, "wait-value", []float64{1, 10, 30}, "agent-seconds that a second of waiting is worth")
	return cmd
}
