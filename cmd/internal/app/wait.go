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

// waitMoment is how long people wait without a word.
const waitMoment = 2 * time.Second

// Waits has say told what is waited for, unless the returned function is called soon.
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

// start waits until the pods are known.
func (d *Daemon) start(ctx context.Context, pods *pool.Client) error {
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

// accountFolder is where Kubernetes puts the account of a pod.
const accountFolder = "/var/run/secrets/kubernetes.io/serviceaccount/"

// WayToKube says who named the API server, and what to look at when that does not answer.
func WayToKube(cfg *rest.Config) string {
	if strings.HasPrefix(cfg.BearerTokenFile, accountFolder) {
		return "as the service account of this pod says; look at that account's Role, and at the NetworkPolicy on the way to the API server"
	}
	return "as the kubeconfig says; correct KUBECONFIG (or its current context), or open the way to that API server"
}

// awaited is Jenkins, of whose first look it is said that it takes long.
type awaited struct {
	control.Jenkins
	d      *Daemon
	looked atomic.Bool
}

// Observe is as the port's.
func (a *awaited) Observe(ctx context.Context) (scaler.JenkinsView, error) {
	if !a.looked.Swap(true) {
		s := a.d.parts.Settings
		defer Waits(a.d.parts.Clock, a.d.waiting, func() string {
			return "Jenkins at " + s.JenkinsURL + ", which has not answered yet (BELLBOARD_JENKINS_URL)"
		})()
	}
	return a.Jenkins.Observe(ctx)
}
