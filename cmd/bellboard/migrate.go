package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"bellboard/cmd/internal/migrate"
	"bellboard/cmd/internal/term"
)

func migrateCommand(environ []string) *cobra.Command {
	var clouds []string
	var output, out string
	cmd := &cobra.Command{
		Use:   "migrate FILE...",
		Short: "Make settings of the Kubernetes plugin's clouds",
		Long: "Reads Jenkins' agents from configuration as code (YAML) or from Jenkins' config.xml: clouds of the Kubernetes plugin and of\n" +
			"the Docker plugin, and static agents. Prints settings and pod templates that do the same, which bellboard config accepts.\n" +
			"Then says what to do about each field that Bellboard has no counterpart for (docs/migrate.md).\n" +
			"The file - is the standard input. Calls neither Jenkins nor Kubernetes, and changes nothing.\n" +
			"Exit code 0: done; 1: the file says nothing that becomes a team; 2: wrong usage.",
		Example: "  bellboard migrate jenkins.yaml\n" +
			"  bellboard migrate --out new /var/jenkins_home/config.xml && . new/bellboard.env && bellboard config --changed\n" +
			"  kubectl -n jenkins get configmaps -l jenkins-jenkins-config=true -o yaml | bellboard migrate -o values -",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "env" && output != "values" {
				return usageError{fmt.Errorf("-o %s: write env or values", output)}
			}
			var files []migrate.File
			for _, name := range args {
				f, err := readFile(name, cmd.InOrStdin())
				if err != nil {
					return usageError{err}
				}
				files = append(files, f)
			}
			r, err := migrate.Migrate(files, clouds)
			if err != nil {
				return err
			}
			screen := term.New(cmd.OutOrStdout(), environ)
			if out != "" {
				if err := writeMigration(r, out); err != nil {
					return fmt.Errorf("--out: %w", err)
				}
				return r.WriteReport(screen)
			}
			return r.Write(screen, output == "values")
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&clouds, "cloud", nil, "only this cloud; may be given several times (default: all clouds, and static agents)")
	f.StringVarP(&output, "output", "o", "env", "env: variables for a shell; or values: for Bellboard's chart")
	f.StringVar(&out, "out", "", "directory for bellboard.env, values.yaml and the pod templates; only the report is printed then")
	return cmd
}

func readFile(name string, stdin io.Reader) (migrate.File, error) {
	if name == "-" {
		text, err := io.ReadAll(stdin)
		return migrate.File{Name: "the standard input", Text: text}, err
	}
	text, err := os.ReadFile(name) //nolint:gosec // the person names the file
	return migrate.File{Name: name, Text: text}, err
}

// writeMigration writes the settings and the pod templates as new files of a directory.
func writeMigration(r *migrate.Result, dir string) error {
	files := r.Templates()
	for _, name := range []string{"bellboard.env", "values.yaml"} {
		if _, taken := files[name]; taken {
			return fmt.Errorf("a pod template would be %s; rename it in Jenkins' file", name)
		}
	}
	files["bellboard.env"], files["values.yaml"] = r.Env(dir), r.Values()
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is there already; name another directory, or remove the file", filepath.Join(dir, name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(files[name]), 0o600); err != nil {
			return err
		}
	}
	return nil
}
