// Command bellboard gives Jenkins exactly as many agents as its queue needs, on Kubernetes.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"k8s.io/klog/v2"

	"bellboard/cmd/internal/app"
	"bellboard/cmd/internal/config"
	"bellboard/scaler/clock"
	"bellboard/scaler/plain"
)

// Exit codes: 0 done, 1 failed, 2 wrong settings or usage, 3 plan or doctor found something to do, or history lacks jobs.
const (
	exitFailed  = 1
	exitUsage   = 2
	exitChanges = 3
)

// version and commit are set by the linker. If one is not set, buildInfo takes it from the build information.
var version, commit string

func main() { os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr)) }

// Only run logs the messages of client-go. Other commands print for people, and drop those messages.
func init() { klog.SetLogger(logr.Discard()) }

// usageError is a mistake in the command line.
type usageError struct{ error }

// codeError ends the program with this exit code, without a message.
type codeError int

func (c codeError) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

func run(args, environ []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use:           "bellboard",
		Short:         "Give Jenkins exactly as many agents as its queue needs",
		Long:          "Gives Jenkins exactly as many agents as its queue needs, on Kubernetes.\nSettings are environment variables: bellboard config --docs lists them.\nExit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 plan or doctor found something to do, or history lacks jobs.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       versionText(),
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddCommand(runCommand(environ), statusCommand(environ), whyCommand(environ), planCommand(environ), demoCommand(), configCommand(environ),
		cleanupCommand(environ), doctorCommand(environ), simulateCommand(), historyCommand(environ), migrateCommand(environ), versionCommand())
	understood := false // an error before a command begins is a mistake in the command line
	root.PersistentPreRun = func(*cobra.Command, []string) { understood = true }
	err := root.ExecuteContext(ctx)
	var code codeError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	}
	_, _ = fmt.Fprintln(stderr, "bellboard:", words(err))
	if errors.As(err, new(usageError)) || errors.As(err, new(config.Mistakes)) || !understood {
		return exitUsage
	}
	return exitFailed
}

// words returns the text of an error in one line. A list of mistakes has one line for each mistake.
func words(err error) string {
	if errors.As(err, new(config.Mistakes)) {
		return plain.Block(err.Error())
	}
	return plain.Line(err.Error())
}

// waiting returns a function that tells people what a command waits for.
func waiting(w io.Writer) func(string) {
	return func(what string) { _, _ = fmt.Fprintln(w, "bellboard: waiting for", plain.Line(what)) }
}

// daemon makes a daemon with the parts that are the same for every command.
func daemon(p app.Parts) (*app.Daemon, error) {
	kube, err := kubeConfig()
	if err != nil {
		return nil, err
	}
	p.Clock, p.Log, p.Version, p.Kube = clock.Real(), cmp.Or(p.Log, zap.NewNop()), versionText(), kube
	return app.New(p)
}
