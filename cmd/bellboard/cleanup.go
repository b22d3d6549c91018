package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"bellboard/cmd/internal/app"
	"bellboard/cmd/internal/config"
	"bellboard/scaler/plain"
)

func cleanupCommand(environ []string) *cobra.Command {
	var dryRun, yes bool
	var namespace string
	cmd := &cobra.Command{
		Use:   "cleanup --dry-run | --yes",
		Short: "Drain and remove all that this instance owns, in Jenkins and in Kubernetes",
		Long: "First cleanup waits until no Bellboard of this instance holds the Lease any more, and names the one that does. Then running\n" +
			"builds end, and cleanup removes every pod, Secret, cache slot (volume claim) and Jenkins node of this instance, and what\n" +
			"was learnt. With the chart, helm uninstall does all that, and deletes the rest:\n" +
			"  helm uninstall bellboard --namespace bellboard --timeout 12h\n" +
			"Without Helm, put the cleanup in the place of the daemon. Kubernetes ends the daemon then:\n" +
			"  kubectl -n bellboard patch deployment bellboard --patch-file deploy/cleanup.yaml\n" +
			"The Lease is in Bellboard's own namespace. Outside of the cluster, name that namespace with --namespace. With\n" +
			"BELLBOARD_LEADER_ELECTION=false there is no Lease to wait for: end every Bellboard first.\n" +
			"Exit code 0: nothing is left, and no Bellboard makes agents again; 1: something is left, or a Bellboard leads again.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dryRun == yes {
				return usageError{errors.New("cleanup: write --dry-run to see what would go, or --yes to remove it")}
			}
			settings, err := load(withoutTemplates(environ), config.InNamespace(namespace))
			if err != nil {
				return err
			}
			settings.DryRun = false
			lead := settings.Leads(true) // also outside of the cluster: the Bellboard that must end first is in the cluster
			if lead && !inCluster() && namespace == "" {
				return usageError{errors.New("cleanup: Bellboard's own namespace, with its Lease, is not known outside of the cluster; write it, as in --namespace bellboard; " + noLease)}
			}
			d, err := daemon(app.Parts{Settings: settings, Lead: lead && yes, Waiting: waiting(cmd.ErrOrStderr())})
			if err != nil {
				return err
			}
			left, err := d.Owned(cmd.Context())
			if err != nil {
				return err
			}
			say := func(format string, args ...any) { cmd.Println(plain.Line(fmt.Sprintf(format, args...))) }
			say("instance %s owns %s; %d agents are at work", settings.Instance, things(&left), left.Busy)
			if left.Remedy != "" {
				say("a person has to act: %s", left.Remedy)
			}
			if dryRun {
				return nil
			}
			if namespace != "" && lead {
				switch _, err := d.Holder(cmd.Context()); {
				case apierrors.IsNotFound(err):
					return usageError{fmt.Errorf("cleanup --yes: there is no Lease %s/bellboard-%s, so a leader in another namespace would go on; write Bellboard's own namespace; %s", namespace, settings.Instance, noLease)}
				case err != nil:
					return err
				}
			}
			said := ""
			err = d.Cleanup(cmd.Context(), func(l app.Left) {
				if l.Hold != "" {
					if l.News {
						said = ""
						say("  waiting: %s", l.Hold)
					}
					return
				}
				if l.Remedy != "" && l.Remedy != left.Remedy {
					say("  a person has to act: %s", l.Remedy)
				}
				left = l
				line := fmt.Sprintf("  %s left, %d at work", things(&l), l.Busy)
				if l.Grace {
					line += " (nothing goes before BELLBOARD_JENKINS_RESTART_GRACE is over)"
				}
				if line != said {
					said = line
					say("%s", line)
				}
			})
			switch {
			case errors.Is(err, app.ErrBegunAnew):
				return fmt.Errorf("cleanup removed everything, but %w; end that replica, and run the cleanup again", err)
			case err != nil:
				return fmt.Errorf("cleanup ended early (%s left at last): %w", things(&left), err)
			}
			say("nothing is left")
			return nil
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "count what cleanup would remove, and change nothing")
	cmd.Flags().BoolVar(&yes, "yes", false, "remove everything that this instance owns")
	cmd.Flags().StringVar(&namespace, "namespace", "", "Bellboard's own namespace, with its Lease; needed outside of the cluster")
	return cmd
}

// noLease says what to do if there is no Lease to wait for.
const noLease = "if no Bellboard with a Lease runs, set BELLBOARD_LEADER_ELECTION=false"

func things(l *app.Left) string {
	return fmt.Sprintf("%d pods, %d nodes and %d cache slots", l.Pods, l.Nodes, l.Slots)
}

// withoutTemplates leaves out the settings that name pod templates: a cleanup makes no pods, and only the
// daemon may have the files.
func withoutTemplates(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		return strings.HasPrefix(name, "BELLBOARD_") && strings.HasSuffix(name, "_POD_TEMPLATE_FILE")
	})
}
