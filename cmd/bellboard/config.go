package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"bellboard/cmd/internal/config"
)

func configCommand(environ []string) *cobra.Command {
	var docs bool
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print every effective setting and its origin",
		Long: "Prints every effective setting and the variable that set it, or all mistakes in them.\n" +
			"Asks neither Jenkins nor Kubernetes, so Bellboard's user and token in Jenkins may be missing.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if docs {
				return config.Docs(cmd.OutOrStdout())
			}
			settings, err := load(environ, config.WithoutJenkins())
			if err != nil {
				return usageError{err}
			}
			for _, w := range settings.Warnings() {
				if _, err := fmt.Fprintln(cmd.ErrOrStderr(), "warning:", w); err != nil {
					return err
				}
			}
			for _, n := range settings.Notes() {
				if _, err := fmt.Fprintln(cmd.ErrOrStderr(), "note:", n); err != nil {
					return err
				}
			}
			return settings.WriteTable(cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&docs, "docs", false, "print all settings as Markdown tables")
	return cmd
}
