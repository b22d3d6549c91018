// Command bellboard gives Jenkins exactly as many agents as its queue needs, on
// Kubernetes. It is the daemon (run), its dry run (plan), a whole house to try
// it in (demo), and the settings as it understands them (config).
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"bellboard/cmd/internal/config"
	"bellboard/scaler/plain"
)

// Exit codes: 0 done, 1 failed, 2 wrong settings or usage, 3 plan or doctor found something to do.
const (
	exitFailed  = 1
	exitUsage   = 2
	exitChanges = 3
)

// version is stamped by the linker; without it the build information tells.
var version = ""

func main() { os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr)) }

// client-go's own words are for the daemon's log (run); elsewhere they would
// stand among what a person reads.
func init() { klog.SetLogger(logr.Discard()) }

// usageError is a mistake of the caller.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

// codeError ends the program with a code of its own, and no words.
type codeError int

func (c codeError) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

func run(args, environ []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use:           "bellboard",
		Short:         "Give Jenkins exactly as many agents as its queue needs",
		Long:          "Gives Jenkins exactly as many agents as its queue needs, on Kubernetes.\nSettings are environment variables: bellboard config --docs lists them.\nExit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 plan or doctor found something to do.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       versionText(),
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(runCommand(environ), planCommand(environ), demoCommand(), configCommand(environ), cleanupCommand(environ), doctorCommand(environ), versionCommand())
	understood := false // what fails before a command begins is a mistake of the caller
	root.PersistentPreRun = func(*cobra.Command, []string) { understood = true }
	err := root.ExecuteContext(ctx)
	var code codeError
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &usage) || !understood:
		_, _ = fmt.Fprintln(stderr, "bellboard:", words(err))
		return exitUsage
	default:
		_, _ = fmt.Fprintln(stderr, "bellboard:", words(err))
		return exitFailed
	}
}

// words are an error's, in one line, but for a list of mistakes, which has one for each.
func words(err error) string {
	if m := (config.Mistakes{}); errors.As(err, &m) {
		return plain.Block(err.Error())
	}
	return plain.Line(err.Error())
}

// waiting tells people what a command waits for.
func waiting(w io.Writer) func(string) {
	return func(what string) { _, _ = fmt.Fprintln(w, "bellboard: waiting for", plain.Line(what)) }
}

func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "bellboard", versionText())
			return err
		},
	}
}
