package queue

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"bellboard/scaler"
)

// SSH says how Jenkins calls an agent that does not call Jenkins. The plugin ssh-slaves makes the call.
type SSH struct {
	// Domain follows the agent's name in the name of the agent's host.
	Domain string
	// CredentialsID names the user and the key in Jenkins' credentials store.
	CredentialsID string
	// HostKey is the public key of every agent of the pool, such as "ssh-ed25519 AAAA...". Each agent has to
	// prove that it has the private key.
	HostKey string
}

// launcher returns the part of the node's form that says how agent and Jenkins connect.
func (c *Client) launcher(name string, id scaler.PoolID) map[string]any {
	s, ok := c.c.SSH[id]
	if !ok {
		return inboundLauncher()
	}
	const ssh, verify = "hudson.plugins.sshslaves.SSHLauncher", "hudson.plugins.sshslaves.verifiers.ManuallyProvidedKeyVerificationStrategy"
	return map[string]any{
		"stapler-class": ssh, "$class": ssh,
		"host": name + "." + s.Domain, "port": "22", "credentialsId": s.CredentialsID,
		"jvmOptions": "", "javaPath": "", "prefixStartSlaveCmd": "", "suffixStartSlaveCmd": "",
		// The plan repeats the launch until the launch succeeds, so that one launch does not have to retry.
		"launchTimeoutSeconds": "60", "maxNumRetries": "0", "retryWaitTime": "1",
		"sshHostKeyVerificationStrategy": map[string]any{"stapler-class": verify, "$class": verify, "key": s.HostKey},
	}
}

func inboundLauncher() map[string]any {
	const inbound = "hudson.slaves.JNLPLauncher"
	return map[string]any{"stapler-class": inbound, "$class": inbound, "webSocket": true}
}

// Launch implements control.Jenkins. Launch returns when Jenkins has begun to call the agent. If the agent is
// connected, Launch changes nothing.
func (c *Client) Launch(ctx context.Context, name string) error {
	err := c.write(ctx, request{
		endpoint: Launch, path: "/computer/" + url.PathEscape(name) + "/launchSlaveAgent",
		// Jenkins redirects to the log, with some servers to "log". If the agent is connected, Jenkins
		// answers with a page that says so.
		accept: func(a *answer) bool {
			return a.header.Get("X-Jenkins") != "" && (a.status == http.StatusOK || a.status == http.StatusFound && a.header.Get("Location") == "log")
		},
	}, time.Time{})
	if err != nil {
		return fmt.Errorf("launching the agent of node %s: %w", name, err)
	}
	return nil
}
