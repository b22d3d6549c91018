package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/go-logr/zapr"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"bellboard/cmd/internal/app"
	"bellboard/cmd/internal/config"
	"bellboard/cmd/internal/term"
	"bellboard/scaler/plain"
)

func runCommand(environ []string) *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Run the daemon: watch the queue, create and drain agents",
		Long: "Runs the daemon until SIGTERM or SIGINT. Agents and their builds go on without the daemon.\n" +
			"Settings are environment variables: see bellboard config --docs.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := load(environ)
			if err != nil {
				return err
			}
			log := newLog(cmd.ErrOrStderr(), settings.LogLevel, cmp.Or(settings.LogFormat, term.New(cmd.ErrOrStderr(), environ).LogFormat()))
			lead := settings.Leads(inCluster())
			listener, err := (&net.ListenConfig{}).Listen(cmd.Context(), "tcp", settings.Listen)
			if err != nil {
				return fmt.Errorf("BELLBOARD_LISTEN=%q: %w", settings.Listen, err)
			}
			d, err := daemon(app.Parts{Settings: settings, Log: log, Listener: listener, Lead: lead})
			if err != nil {
				return err
			}
			log.Info("Bellboard starts", zap.String("version", versionText()), zap.String("jenkins", settings.JenkinsURL),
				zap.Int("teams", len(settings.Teams)), zap.Bool("dry_run", settings.DryRun), zap.Bool("leader_election", lead), zap.Stringer("listen", listener.Addr()))
			err = d.Run(cmd.Context())
			log.Info("Bellboard ends; agents and builds go on")
			return err
		},
	}
}

// newLog returns a log of lines in JSON, or of lines for people. The log has client-go's messages, too.
func newLog(w io.Writer, level, format string) *zap.Logger {
	at, _ := zapcore.ParseLevel(level) // the settings have checked it
	cfg := zap.NewProductionEncoderConfig()
	cfg.TimeKey, cfg.EncodeTime, cfg.EncodeDuration = "time", zapcore.ISO8601TimeEncoder, zapcore.StringDurationEncoder
	encoder, options := zapcore.NewJSONEncoder(cfg), []zap.Option{zap.AddCaller()}
	if format == "console" {
		cfg.EncodeTime = zapcore.TimeEncoderOfLayout(time.TimeOnly)
		encoder, options = zapcore.NewConsoleEncoder(cfg), nil
	}
	// No message has a stack: client-go's errors are states of the cluster, such as a Lease that another
	// replica took first.
	log := zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(plainLog{w, format})), at), options...)
	klog.SetLogger(zapr.NewLoggerWithOptions(log.Named("client-go"), zapr.ErrorKey("error")))
	return log
}

// load reads the settings. Outside of a cluster Bellboard's own namespace is that of kubectl's context.
func load(environ []string, options ...config.Option) (*config.Config, error) {
	all := []config.Option{config.WithFiles(os.ReadFile)}
	if !inCluster() {
		namespace, _, _ := kubectlConfig().Namespace() // kubeConfig reports mistakes in the file
		all = append(all, config.InNamespace(namespace))
	}
	return config.Load(environ, append(all, options...)...)
}

func kubectlConfig() clientcmd.ClientConfig {
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), &clientcmd.ConfigOverrides{})
}

// plainLog writes lines of a log without characters that control a terminal.
type plainLog struct {
	io.Writer

	format string
}

func (p plainLog) Write(line []byte) (int, error) {
	safe := plain.JSON(line)
	if p.format == "console" {
		safe = []byte(plain.Page(string(line)))
	}
	_, err := p.Writer.Write(safe)
	return len(line), err
}

// inCluster reports whether Kubernetes gives this process a service account.
func inCluster() bool {
	_, err := rest.InClusterConfig()
	return err == nil
}

// kubeConfig returns the configuration of the pod's service account, or else the one that kubectl uses.
func kubeConfig() (*rest.Config, error) {
	c, own := rest.InClusterConfig()
	if own == nil {
		return c, nil
	}
	c, err := kubectlConfig().ClientConfig()
	switch {
	case err == nil:
		return c, nil
	case !clientcmd.IsEmptyConfig(err): // the text of an empty configuration names a variable that Bellboard does not read
		return nil, fmt.Errorf("cannot reach Kubernetes: the kubeconfig cannot be used; correct KUBECONFIG: %w", err)
	case !errors.Is(own, rest.ErrNotInCluster):
		return nil, fmt.Errorf("cannot reach Kubernetes: this pod has no service account; mount one (automountServiceAccountToken: true), or set KUBECONFIG: %w", own)
	}
	where := "there is no ~/.kube/config"
	if name := os.Getenv(clientcmd.RecommendedConfigPathEnvVar); name != "" {
		where = fmt.Sprintf("KUBECONFIG=%q has none", name)
	}
	return nil, fmt.Errorf("cannot reach Kubernetes: Bellboard does not run in a cluster, so it needs a kubeconfig, and %s; set KUBECONFIG to a kubeconfig", where)
}
