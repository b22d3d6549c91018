package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
		Long: "Takes the Lease, so that a running Bellboard stops acting. Lets running builds end. Then removes every pod, Secret,\n" +
			"cache slot (volume claim) and Jenkins node of this instance.\n" +
			"The Lease is in Bellboard's own namespace; outside of the cluster set --namespace.\n" +
			"With BELLBOARD_LEADER_ELECTION=false cleanup takes no Lease: end every Bellboard first.\n" +
			"A Bellboard that still runs afterwards makes agents again. To put cleanup in its place:\n" +
			"  kubectl -n bellboard patch deployment bellboard --patch-file deploy/cleanup.yaml\n" +
			"Exit code 0: nothing is left, and no Bellboard makes agents again; 1: otherwise, with what to do.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dryRun == yes {
				return usageError{errors.New("cleanup: write --dry-run to see what would go, or --yes to remove it")}
			}
			if yes && besideDaemon("/proc/1/cmdline", os.Getpid()) {
				return usageError{errors.New("cleanup --yes: in this container a Bellboard runs, which ends when it loses the Lease, and the container with it; see bellboard cleanup --help")}
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
			lead := settings.Leads(true) // wherever it runs: what it has to stop is in the cluster
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
			say := func(format string, args ...any) {
				line := strings.TrimSuffix(fmt.Sprintf(format, args...), "\n")
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), plain.Line(line)); err != nil {
					failed = err
				}
			}
			say("instance %s owns %d pods, %d nodes and %d cache slots; %d agents are at work\n", settings.Instance, first.Pods, first.Nodes, first.Slots, first.Busy)
			if what := first.Remedy(); what != "" {
				say("it waits for you: %s\n", what)
			}
			if dryRun {
				return failed
			}
			if lead {
				switch name, there, err := d.Lease(cmd.Context()); {
				case err != nil:
					return err
				case !there && namespace != "":
					return usageError{fmt.Errorf("cleanup --yes --namespace %s: no Lease %s is there, so who leads would not stop; write the namespace of Bellboard itself; %s", namespace, name, noLease)}
				case !there:
					say("no Lease %s is there: nobody has led\n", name)
				}
			}
			end := "kubectl -n " + settings.OwnNamespace + " patch deployment bellboard --patch-file deploy/cleanup.yaml"
			last, seen := app.Left{Pods: -1, Held: first.Held, Intruders: first.Intruders}, first
			err = d.Cleanup(cmd.Context(), func(l app.Left) {
				grace := l.Grace != ""
				l.Grace = ""
				if l == last || l.Hold != "" && !l.News {
					return
				}
				if l.From != last.From {
					say("  took the Lease from %s; if that, or another, still runs when this ends, it begins anew; better: %s\n", l.From, end)
				}
				if what := l.Remedy(); what != "" && what != last.Remedy() {
					say("  it waits for you: %s\n", what)
				}
				if last = l; l.Hold == "" {
					seen = l
				}
				switch {
				case l.Hold != "":
					say("  waiting: %s\n", l.Hold)
				case grace:
					say("  %d pods, %d nodes and %d cache slots left, %d at work (nothing goes before BELLBOARD_JENKINS_RESTART_GRACE is over)\n", l.Pods, l.Nodes, l.Slots, l.Busy)
				default:
					say("  %d pods, %d nodes and %d cache slots left, %d at work\n", l.Pods, l.Nodes, l.Slots, l.Busy)
				}
			})
			if errors.Is(err, app.ErrBegunAnew) {
				return fmt.Errorf("all was removed, but %w; clean up in its place: %s", err, end)
			}
			if err != nil {
				return fmt.Errorf("cleanup ended early (%d pods, %d nodes, %d cache slots left when last seen): %w", seen.Pods, seen.Nodes, seen.Slots, err)
			}
			say("removed %d pods, %d nodes and %d cache slots; nothing is left\n", first.Pods, first.Nodes, first.Slots)
			return failed
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "count what cleanup would remove, and change nothing")
	cmd.Flags().BoolVar(&yes, "yes", false, "remove everything that this instance owns")
	cmd.Flags().StringVar(&namespace, "namespace", "", "Bellboard's own namespace, with its Lease; needed outside of the cluster")
	return cmd
}

// noLease is what to do where there is no Lease to take.
const noLease = "when no Bellboard runs that has one, set BELLBOARD_LEADER_ELECTION=false"

// besideDaemon reports whether the first process of this container is another
// Bellboard, by the file with that one's command: kubectl exec was used.
func besideDaemon(cmdline string, pid int) bool {
	b, err := os.ReadFile(cmdline) //nolint:gosec // the caller's, and fixed
	args := strings.Split(string(b), "\x00")
	return err == nil && pid != 1 && filepath.Base(args[0]) == "bellboard" && slices.Contains(args, "run")
}

// withoutTemplates leaves out the settings that name pod templates: they may be
// mounted for the daemon alone, and a cleanup makes no pods.
func withoutTemplates(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		return strings.HasPrefix(name, "BELLBOARD_") && strings.HasSuffix(name, "_POD_TEMPLATE_FILE")
	})
}
