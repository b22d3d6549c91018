package app

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"k8s.io/client-go/rest"

	"bellboard/pool"
	"bellboard/scaler"
	"bellboard/scaler/clock"
	"bellboard/scaler/control"
)

// waitMoment is the time for which people wait without a message.
const waitMoment = 2 * time.Second

// Waits calls say with the server that does not answer, unless the returned function is called soon.
func Waits(c clock.Clock, say func(string), what func() string) (over func() bool) {
	return c.AfterFunc(waitMoment, func() { say(what()) })
}

func (d *Daemon) waiting(what string) {
	if d.parts.Waiting != nil {
		d.parts.Waiting(what)
		return
	}
	d.parts.Log.Info("waiting", zap.String("for", what))
}

// start fills the cache of pods, and names the API server if it does not answer.
func (d *Daemon) start(ctx context.Context, pods *pool.Pool) error {
	defer Waits(d.parts.Clock, d.waiting, func() string {
		words := "the API server " + d.parts.Kube.Host + ", which has not answered yet"
		if err := pods.Why(); err != nil {
			words += fmt.Sprintf(": %v", err)
		}
		return words
	})()
	if err := pods.Start(ctx); err != nil {
		return fmt.Errorf("kubernetes: %w; the API server is %s, %s", err, d.parts.Kube.Host, WayToKube(d.parts.Kube))
	}
	return nil
}

// accountFolder is where Kubernetes puts the credentials of a pod's service account.
const accountFolder = "/var/run/secrets/kubernetes.io/serviceaccount/"

// WayToKube returns what named the API server, and what to check if the API server does not answer.
func WayToKube(cfg *rest.Config) string {
	if strings.HasPrefix(cfg.BearerTokenFile, accountFolder) {
		return "as the service account of this pod says; check that account's Role, and the NetworkPolicy between this pod and the API server"
	}
	return "as the kubeconfig says; correct KUBECONFIG (or its current context), or open the network to that API server"
}

// awaited names Jenkins if its first answer takes long.
type awaited struct {
	control.Jenkins
	d      *Daemon
	looked atomic.Bool
}

// Observe implements control.Jenkins.
func (a *awaited) Observe(ctx context.Context) (scaler.JenkinsView, error) {
	if !a.looked.Swap(true) {
		s := a.d.parts.Settings
		defer Waits(a.d.parts.Clock, a.d.waiting, func() string {
			return "Jenkins at " + s.JenkinsURL + ", which has not answered yet (BELLBOARD_JENKINS_URL)"
		})()
	}
	return a.Jenkins.Observe(ctx)
}
