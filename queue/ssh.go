package queue

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"bellboard/scaler"
)

// SSH is how Jenkins calls an agent that does not call it. The plugin ssh-slaves does it.
type SSH struct {
	// Domain is what follows an agent's name in the name of its host.
	Domain string
	// CredentialsID names the user and the key in Jenkins' own store.
	CredentialsID string
	// HostKey is the public key that every agent of the pool has to prove it holds:
	// "ssh-ed25519 AAAA...".
	HostKey string
}

// launcher is the form of how the node's agent and Jenkins come together.
func (c *Client) launcher(name string, id scaler.PoolID) map[string]any {
	s, ok := c.c.SSH[id]
	if !ok {
		return inbound()
	}
	const ssh, verify = "hudson.plugins.sshslaves.SSHLauncher", "hudson.plugins.sshslaves.verifiers.ManuallyProvidedKeyVerificationStrategy"
	return map[string]any{
		"stapler-class": ssh, "$class": ssh,
		"host": name + "." + s.Domain, "port": "22", "credentialsId": s.CredentialsID,
		"jvmOptions": "", "javaPath": "", "prefixStartSlaveCmd": "", "suffixStartSlaveCmd": "",
		// Launch is asked for again until it succeeds, so one try does not wait.
		"launchTimeoutSeconds": "60", "maxNumRetries": "0", "retryWaitTime": "1",
		"sshHostKeyVerificationStrategy": map[string]any{"stapler-class": verify, "$class": verify, "key": s.HostKey},
	}
}

func inbound() map[string]any {
	const inbound = "hudson.slaves.JNLPLauncher"
	return map[string]any{"stapler-class": inbound, "$class": inbound, "webSocket": true}
}

// Launch implements control.Jenkins. It returns when Jenkins has begun to call. A
// node that is connected is left alone.
func (c *Client) Launch(ctx context.Context, name string) error {
	err := c.write(ctx, request{
		endpoint: Launch, path: "/computer/" + url.PathEscape(name) + "/launchSlaveAgent",
		// A redirect to the log, "log" with some servers; or a page that says that
		// the agent is connected.
		accept: func(a *answer) bool {
			return a.header.Get("X-Jenkins") != "" && (a.status == http.StatusOK || a.status == http.StatusFound && a.header.Get("Location") == "log")
		},
	}, time.Time{})
	if err != nil {
		return fmt.Errorf("launching the agent of node %s: %w", name, err)
	}
	return nil
}
