package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"bellboard/cmd/internal/config"
	"bellboard/cmd/internal/doctor"
	"bellboard/cmd/internal/term"
	"bellboard/scaler/clock"
)

func doctorCommand(environ []string) *cobra.Command {
	var output string
	var probe bool
	var namespace string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check settings, Jenkins and Kubernetes, with a remedy for each finding",
		Long: "Reads the settings, Jenkins and the cluster, and changes nothing.\n" +
			"Outside of the cluster set --namespace to the namespace in which Bellboard runs.\n" +
			"With --probe doctor also registers two Jenkins nodes with a new label, checks the behaviour that Bellboard\n" +
			"needs with them, queues nothing, and removes the Jenkins nodes.\n" +
			"Exit code 0: no finding; 3: findings; 2: the settings are wrong; 1: doctor was interrupted, or could not print.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "table" && output != "json" {
				return usageError{fmt.Errorf("-o %s: write table or json", output)}
			}
			settings, err := load(environ, config.InNamespace(namespace))
			if err != nil {
				return err
			}
			kube, kubeErr := kubeConfig()
			report := doctor.Run(cmd.Context(), doctor.Parts{
				Settings: settings, Clock: clock.Real(), Kube: kube, KubeErr: kubeErr, Probe: probe, Waiting: waiting(cmd.ErrOrStderr()),
				// --namespace names the namespace of a daemon in the cluster, also outside of the cluster.
				Lead: settings.Leads(inCluster() || namespace != ""), NoOwnNamespace: !inCluster() && namespace == "",
			})
			if output == "json" {
				err = report.WriteJSON(cmd.OutOrStdout())
			} else {
				err = report.WriteTable(term.New(cmd.OutOrStdout(), environ))
			}
			switch {
			case err != nil:
				return err
			case cmd.Context().Err() != nil:
				return fmt.Errorf("interrupted: %w", cmd.Context().Err())
			case report.Count(doctor.Finding) > 0:
				return codeError(exitChanges)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	cmd.Flags().StringVar(&namespace, "namespace", "", "Bellboard's own namespace, with its Lease and its events; needed outside of the cluster")
	cmd.Flags().BoolVar(&probe, "probe", false, "register two Jenkins nodes, check the behaviour that Bellboard needs, and remove them")
	return cmd
}
