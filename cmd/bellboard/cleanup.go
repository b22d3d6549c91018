package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"bellboard/cmd/internal/app"
	"bellboard/cmd/internal/config"
	"bellboard/scaler/clock"
)

func cleanupCommand(environ []string) *cobra.Command {
	var dryRun, yes bool
	cmd := &cobra.Command{
		Use:   "cleanup --dry-run | --yes",
		Short: "Drain and remove all that this instance owns, in Jenkins and in Kubernetes",
		Long: "Takes the Lease, so that a running Bellboard stops acting, lets running builds end, and removes every pod, Secret,\n" +
			"cache slot (volume claim) and node of this instance. In a cluster put it in the daemon's place:\n" +
			"  kubectl -n bellboard patch deployment bellboard --patch-file deploy/cleanup.yaml\n" +
			"Then uninstall Bellboard, which would otherwise begin anew.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dryRun == yes {
				return usageError{errors.New("cleanup: write --dry-run to see what would go, or --yes to remove it")}
			}
			settings, err := config.Load(environ, config.WithFiles(os.ReadFile))
			if err != nil {
				return usageError{err}
			}
			settings.DryRun = false
			kube, lead, err := kubeConfig()
			if err != nil {
				return err
			}
			if settings.LeaderElection != nil {
				lead = *settings.LeaderElection
			}
			d, err := app.New(app.Parts{
				Settings: settings, Clock: clock.Real(), Log: zap.NewNop(), Version: versionText(), Kube: kube, Lead: lead && yes,
			})
			if err != nil {
				return err
			}
			first, err := d.Owned(cmd.Context())
			if err != nil {
				return err
			}
			var failed error
			say := func(format string, args ...any) {
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), format, args...); err != nil {
					failed = err
				}
			}
			say("instance %s owns %d pods, %d nodes and %d cache slots; %d agents are at work\n", settings.Instance, first.Pods, first.Nodes, first.Slots, first.Busy)
			if dryRun {
				return failed
			}
			last := app.Left{Pods: -1}
			err = d.Cleanup(cmd.Context(), func(l app.Left) {
				grace := l.Grace != ""
				l.Grace = ""
				if l == last {
					return
				}
				last = l
				switch {
				case l.Hold != "":
					say("  waiting: %s\n", l.Hold)
				case grace:
					say("  %d pods, %d nodes and %d cache slots left, %d at work (nothing goes before BELLBOARD_JENKINS_RESTART_GRACE is over)\n", l.Pods, l.Nodes, l.Slots, l.Busy)
				default:
					say("  %d pods, %d nodes and %d cache slots left, %d at work\n", l.Pods, l.Nodes, l.Slots, l.Busy)
				}
			})
			if err != nil {
				return fmt.Errorf("not everything is gone (%d pods, %d nodes, %d cache slots left): %w", max(last.Pods, 0), last.Nodes, last.Slots, err)
			}
			say("removed %d pods, %d nodes and %d cache slots; nothing is left\n", first.Pods, first.Nodes, first.Slots)
			return failed
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "count what would go, and change nothing")
	cmd.Flags().BoolVar(&yes, "yes", false, "remove it")
	return cmd
}
