package app

import (
	"context"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"k8s.io/client-go/rest"

	"bellboard/cmd/internal/config"
	"bellboard/scaler/clock"
)

// What is dangerous and allowed is said at every start.
func TestRunWarns(t *testing.T) {
	settings, err := config.Load([]string{
		"BELLBOARD_JENKINS_URL=http://127.0.0.1:1", "BELLBOARD_JENKINS_USER=bellboard", "BELLBOARD_JENKINS_TOKEN_FILE=/run/token", "BELLBOARD_DRY_RUN=true",
		"BELLBOARD_TEAMS=web", "BELLBOARD_TEAM_WEB_LABELS=linux", "BELLBOARD_TEAM_WEB_MODE=ephemeral",
		"BELLBOARD_TEAM_WEB_DOCKER=host", "BELLBOARD_TEAM_WEB_ALLOW_HOST_DOCKER=true",
	})
	if err != nil {
		t.Fatal(err)
	}
	log, lines := observer.New(zap.WarnLevel)
	d, err := New(Parts{Settings: settings, Clock: clock.Real(), Log: zap.New(log), Kube: &rest.Config{Host: "http://127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if lines.FilterMessageSnippet("is root of their machine").Len() != 1 {
		var all []string
		for _, l := range lines.All() {
			all = append(all, l.Message)
		}
		t.Errorf("it says: %s", strings.Join(all, "; "))
	}
}
