package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"bellboard/cmd/internal/app"
	"bellboard/cmd/internal/config"
	"bellboard/scaler/clock"
	"bellboard/scaler/plain"
)

func cleanupCommand(environ []string) *cobra.Command {
	var dryRun, yes bool
	var namespace string
	cmd := &cobra.Command{
		Use:   "cleanup --dry-run | --yes",
		Short: "Drain and remove all that this instance owns, in Jenkins and in Kubernetes",
		Long: "Waits for the Lease until no Bellboard of this instance runs any more, and says which one holds it. Then it lets running\n" +
			"builds end, and removes every pod, Secret, cache slot (volume claim) and node of this instance. In the cluster, put it in\n" +
			"the place of the daemon, which ends that one:\n" +
			"  kubectl -n bellboard patch deployment bellboard --patch-file deploy/cleanup.yaml\n" +
			"The Lease is in Bellboard's own namespace, which outside of the cluster only --namespace tells. With\n" +
			"BELLBOARD_LEADER_ELECTION=false there is no Lease to wait for: end every Bellboard first.\n" +
			"Exit code 0: nothing is left, and nobody begins anew; 1: something is, or somebody does, and what to do.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dryRun == yes {
				return usageError{errors.New("cleanup: write --dry-run to see what would go, or --yes to remove it")}
			}
			settings, err := load(withoutTemplates(environ), config.InNamespace(namespace))
			if err != nil {
				return usageError{err}
			}
			settings.DryRun = false
			kube, inCluster, err := kubeConfig()
			if err != nil {
				return err
			}
			lead := settings.Leads(true) // wherever it runs: the Bellboard that must end first is in the cluster
			if lead && !inCluster && namespace == "" {
				return usageError{errors.New("cleanup: outside of the cluster nobody tells which namespace is Bellboard's own, where its Lease is: write it, as in --namespace bellboard; " + noLease)}
			}
			d, err := app.New(app.Parts{
				Settings: settings, Clock: clock.Real(), Log: zap.NewNop(), Version: versionText(), Kube: kube, Lead: lead && yes, Waiting: waiting(cmd.ErrOrStderr()),
			})
			if err != nil {
				return err
			}
			first, err := d.Owned(cmd.Context())
			if err != nil {
				return err
			}
			var failed error
			say := func(line string) {
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), plain.Line(line)); err != nil {
					failed = err
				}
			}
			say(fmt.Sprintf("instance %s owns %s; %d agents are at work", settings.Instance, things(&first), first.Busy))
			if first.Remedy != "" {
				say("it waits for you: " + first.Remedy)
			}
			if dryRun {
				return failed
			}
			if namespace != "" && lead {
				switch _, there, err := d.Holder(cmd.Context()); {
				case err != nil:
					return err
				case !there:
					return usageError{fmt.Errorf("cleanup --yes: there is no Lease %s/bellboard-%s, so a leader elsewhere would go on; write the namespace of Bellboard itself; %s", namespace, settings.Instance, noLease)}
				}
			}
			seen, line, remedy := first, "", first.Remedy
			err = d.Cleanup(cmd.Context(), func(l app.Left) {
				before := line
				switch {
				case l.Hold != "" && !l.News:
					return
				case l.Hold != "":
					line = "  waiting: " + l.Hold
				default:
					seen, line = l, fmt.Sprintf("  %s left, %d at work", things(&l), l.Busy)
					if l.Grace {
						line += " (nothing goes before BELLBOARD_JENKINS_RESTART_GRACE is over)"
					}
					if l.Remedy != "" && l.Remedy != remedy {
						say("  it waits for you: " + l.Remedy)
					}
					remedy = l.Remedy
				}
				if line != before {
					say(line)
				}
			})
			if errors.Is(err, app.ErrBegunAnew) {
				return fmt.Errorf("all was removed, but %w; end that one, and clean up again", err)
			}
			if err != nil {
				return fmt.Errorf("cleanup ended early (%s left when last seen): %w", things(&seen), err)
			}
			say("nothing is left")
			return failed
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "count what cleanup would remove, and change nothing")
	cmd.Flags().BoolVar(&yes, "yes", false, "remove everything that this instance owns")
	cmd.Flags().StringVar(&namespace, "namespace", "", "Bellboard's own namespace, with its Lease; needed outside of the cluster")
	return cmd
}

// noLease is what to do where there is no Lease to wait for.
const noLease = "when no Bellboard runs that has one, set BELLBOARD_LEADER_ELECTION=false"

func things(l *app.Left) string {
	return fmt.Sprintf("%d pods, %d nodes and %d cache slots", l.Pods, l.Nodes, l.Slots)
}

// withoutTemplates leaves out the settings that name pod templates: they may be
// mounted for the daemon alone, and a cleanup makes no pods.
func withoutTemplates(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		return strings.HasPrefix(name, "BELLBOARD_") && strings.HasSuffix(name, "_POD_TEMPLATE_FILE")
	})
}
