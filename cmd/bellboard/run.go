package main

import (
	"fmt"
	"net"
	"os"

	"github.com/go-logr/zapr"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"bellboard/cmd/internal/app"
	"bellboard/cmd/internal/config"
	"bellboard/scaler/clock"
)

func runCommand(environ []string) *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Run the daemon: watch the queue, create and drain agents",
		Long: "Runs the daemon until SIGTERM or SIGINT; its agents and their builds go on without it.\n" +
			"Settings are environment variables: see bellboard config --docs.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := load(environ)
			if err != nil {
				return usageError{err}
			}
			log, err := newLog(settings.LogLevel)
			if err != nil {
				return err
			}
			defer func() { _ = log.Sync() }() // standard error cannot always be synced, which loses nothing
			kube, inCluster, err := kubeConfig()
			if err != nil {
				return err
			}
			lead := settings.Leads(inCluster)
			listener, err := (&net.ListenConfig{}).Listen(cmd.Context(), "tcp", settings.Listen)
			if err != nil {
				return fmt.Errorf("BELLBOARD_LISTEN=%q: %w", settings.Listen, err)
			}
			d, err := app.New(app.Parts{
				Settings: settings, Clock: clock.Real(), Log: log, Version: versionText(), Kube: kube, Listener: listener, Lead: lead,
			})
			if err != nil {
				return err
			}
			log.Info("bellboard begins", zap.String("version", versionText()), zap.String("jenkins", settings.JenkinsURL),
				zap.Int("teams", len(settings.Teams)), zap.Bool("dry run", settings.DryRun), zap.Bool("leader election", lead), zap.Stringer("listen", listener.Addr()))
			err = d.Run(cmd.Context())
			log.Info("bellboard ends; agents and builds go on")
			return err
		},
	}
}

// newLog writes JSON lines to standard error, client-go's included.
func newLog(level string) (*zap.Logger, error) {
	at, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, fmt.Errorf("BELLBOARD_LOG_LEVEL: %w", err)
	}
	cfg := zap.NewProductionConfig()
	cfg.Level = zap.NewAtomicLevelAt(at)
	cfg.Sampling = nil           // every decision is a line
	cfg.DisableStacktrace = true // what client-go calls an error is the cluster's state, such as a lost race for the Lease
	cfg.EncoderConfig.TimeKey = "time"
	cfg.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	log, err := cfg.Build()
	if err != nil {
		return nil, err
	}
	klog.SetLogger(zapr.NewLoggerWithOptions(log.Named("client-go"), zapr.ErrorKey("error")))
	return log, nil
}

// load reads the settings. Outside of a cluster Bellboard's own namespace is that of
// kubectl's context.
func load(environ []string, options ...config.Option) (*config.Config, error) {
	all := []config.Option{config.WithFiles(os.ReadFile)}
	if _, err := rest.InClusterConfig(); err != nil {
		if namespace, _, err := kubectlConfig().Namespace(); err == nil { // what is wrong with the file, kubeConfig says
			all = append(all, config.InNamespace(namespace))
		}
	}
	return config.Load(environ, append(all, options...)...)
}

func kubectlConfig() clientcmd.ClientConfig {
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), &clientcmd.ConfigOverrides{})
}

// kubeConfig is the pod's own account, or else what kubectl would use.
func kubeConfig() (c *rest.Config, inCluster bool, err error) {
	if c, err := rest.InClusterConfig(); err == nil {
		return c, true, nil
	}
	c, err = kubectlConfig().ClientConfig()
	if err != nil {
		return nil, false, fmt.Errorf("no way to Kubernetes: not in a cluster, and no usable kubeconfig (set KUBECONFIG): %w", err)
	}
	return c, false, nil
}
