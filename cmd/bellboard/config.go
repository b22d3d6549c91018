package main

import (
	"cmp"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"bellboard/cmd/internal/config"
	"bellboard/cmd/internal/term"
	"bellboard/metrics/web"
)

func configCommand(environ []string) *cobra.Command {
	var docs, changed bool
	var team, output string
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print every effective setting and its origin",
		Long: "Prints every effective setting and the variable that set it, or all mistakes in them.\n" +
			"Reads neither Jenkins nor Kubernetes, so Bellboard's user and token in Jenkins may be missing.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if docs {
				return config.Docs(cmd.OutOrStdout())
			}
			if output != "table" && output != "json" {
				return usageError{fmt.Errorf("-o %s: write table or json", output)}
			}
			settings, err := load(environ, config.WithoutJenkins())
			if err != nil {
				return err
			}
			var names []string
			for i := range settings.Teams {
				names = append(names, settings.Teams[i].Name)
			}
			if team != "" && !slices.Contains(names, team) {
				return usageError{fmt.Errorf("--team %s: no such team; there are %s", team, strings.Join(names, ", "))}
			}
			shown := slices.DeleteFunc(settings.Effective(), func(s config.Setting) bool {
				return team != "" && s.Team != team || changed && !s.Changed()
			})
			if output == "json" {
				return printJSON(cmd, struct {
					Settings []config.Setting `json:"settings"`
					Warnings []string         `json:"warnings"`
					Notes    []string         `json:"notes"`
				}{shown, append([]string{}, settings.Warnings()...), append([]string{}, settings.Notes()...)})
			}
			errs := term.New(cmd.ErrOrStderr(), environ)
			for _, w := range settings.Warnings() {
				cmd.PrintErr(errs.Text("warning: ", w))
			}
			for _, n := range settings.Notes() {
				cmd.PrintErr(errs.Text("note: ", n))
			}
			screen := term.New(cmd.OutOrStdout(), environ)
			if err := settings.WriteTable(screen, shown); err != nil {
				return err
			}
			return settings.WriteWindows(screen, team, time.Now())
		},
	}
	f := cmd.Flags()
	f.BoolVar(&docs, "docs", false, "print all settings as Markdown tables")
	f.StringVar(&team, "team", "", "only the settings of that team")
	f.BoolVar(&changed, "changed", false, "only settings that have another value than the built-in one")
	f.StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

// printJSON prints v for programs.
func printJSON(cmd *cobra.Command, v any) error {
	b, err := web.JSON(v)
	if err != nil {
		return err
	}
	_, err = cmd.OutOrStdout().Write(b)
	return err
}

// build is what is known of the binary.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`   // "": it was not built in a checkout
	Time     string `json:"time,omitempty"`     // of the commit
	Modified bool   `json:"modified,omitempty"` // the checkout differed from the commit
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func buildInfo() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	set := map[string]string{}
	for _, s := range info.Settings {
		set[s.Key] = s.Value
	}
	return build{
		Version: cmp.Or(version, info.Main.Version, "unknown"), Commit: cmp.Or(commit, set["vcs.revision"]), Time: set["vcs.time"],
		Modified: set["vcs.modified"] == "true", Go: info.GoVersion, Platform: set["GOOS"] + "/" + set["GOARCH"],
	}
}

func versionText() string { return buildInfo().Version }

func versionCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch output {
			case "text":
				cmd.Println("bellboard", versionText())
				return nil
			case "json":
				return printJSON(cmd, buildInfo())
			}
			return usageError{fmt.Errorf("-o %s: write text or json", output)}
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text; or json: with the commit, the version of Go and the platform")
	return cmd
}
