package queue

import (
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bellboard/scaler"
)

// TestRegisterSSH: the node of a pool that Jenkins calls has the launcher for it. The fence of such a node is
// inbound, so that Jenkins does not call the pod that the fence keeps out.
func TestRegisterSSH(t *testing.T) {
	var got []map[string]any
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		var node struct{ Launcher map[string]any }
		if err := json.Unmarshal([]byte(form(t, r).Get("json")), &node); err != nil {
			t.Error(err)
		}
		got = append(got, node.Launcher)
		done(w, "/jenkins/computer/")
	})
	c.c.SSH = map[scaler.PoolID]SSH{webPool.PoolID: {Domain: "bellboard-agents.ci.svc", CredentialsID: "jenkins-agent-ssh", HostKey: "ssh-ed25519 AAAAC3"}}
	if err := errors.Join(
		c.Register(t.Context(), "web-e-1", webPool, time.Time{}),
		c.Fence(t.Context(), "web-e-1", webPool.PoolID, time.Now().Add(time.Minute)),
		c.Register(t.Context(), "data-e-1", scaler.Pool{PoolID: scaler.PoolID{Team: "data", Kind: scaler.Ephemeral}}, time.Time{}),
	); err != nil {
		t.Fatal(err)
	}
	const ssh, verify = "hudson.plugins.sshslaves.SSHLauncher", "hudson.plugins.sshslaves.verifiers.ManuallyProvidedKeyVerificationStrategy"
	plain := map[string]any{"stapler-class": "hudson.slaves.JNLPLauncher", "$class": "hudson.slaves.JNLPLauncher", "webSocket": true}
	want := []map[string]any{{
		"stapler-class": ssh, "$class": ssh, "host": "web-e-1.bellboard-agents.ci.svc", "port": "22", "credentialsId": "jenkins-agent-ssh",
		"jvmOptions": "", "javaPath": "", "prefixStartSlaveCmd": "", "suffixStartSlaveCmd": "",
		"launchTimeoutSeconds": "60", "maxNumRetries": "0", "retryWaitTime": "1",
		"sshHostKeyVerificationStrategy": map[string]any{"stapler-class": verify, "$class": verify, "key": "ssh-ed25519 AAAAC3"},
	}, plain, plain}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("launchers (-want +got):\n%s", diff)
	}
}

func TestLaunch(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer func(http.ResponseWriter)
		want   error // nil: Launch succeeds
		fails  bool
	}{
		{"begun", func(w http.ResponseWriter) { done(w, "/jenkins/computer/web-e-1/log") }, nil, false},
		{"begun, in few words", func(w http.ResponseWriter) { w.Header().Set("X-Jenkins", "2.568.1"); done(w, "log") }, nil, false},
		{"connected already", func(w http.ResponseWriter) { w.Header().Set("X-Jenkins", "2.568.1") }, nil, false},
		{"no such node", func(w http.ResponseWriter) {
			w.Header().Set("X-Jenkins", "2.568.1")
			w.WriteHeader(http.StatusNotFound)
		}, scaler.ErrGone, true},
		{"a login page in front of it", func(w http.ResponseWriter) { done(w, "https://login.example.com/") }, nil, true},
		{"a page that is not Jenkins'", func(http.ResponseWriter) {}, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodPost || r.URL.Path != "/jenkins/computer/web-e-1/launchSlaveAgent" {
					t.Errorf("%s %s", r.Method, r.URL)
				}
				tt.answer(w)
			})
			err := c.Launch(t.Context(), "web-e-1")
			if (err != nil) != tt.fails || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("Launch: %v", err)
			}
		})
	}
}
