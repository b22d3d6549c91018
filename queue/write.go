package queue

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"bellboard/scaler"
)

// Register registers a node of an agent of the pool.
func (c *Client) Register(ctx context.Context, name string, pool scaler.Pool, deadline time.Time) error {
	description := scaler.Describe(c.c.Instance, pool.PoolID, false)
	return c.register(ctx, "registering", name, description, &pool, deadline)
}

// Fence registers a node that keeps an agent out. It has no labels, so that it changes no item's "why".
func (c *Client) Fence(ctx context.Context, name string, id scaler.PoolID, deadline time.Time) error {
	return c.register(ctx, "fencing", name, scaler.Describe(c.c.Instance, id, true), &scaler.Pool{}, deadline)
}

// RegisterProbe registers a node of an inbound agent, as Register does. The description has to be one that no
// instance takes for its own.
func (c *Client) RegisterProbe(ctx context.Context, name, description string, labels []string) error {
	return c.register(ctx, "registering", name, description, &scaler.Pool{Labels: labels}, time.Time{})
}

// register posts the form of a new node. A node in mode EXCLUSIVE takes only items that ask for its labels.
func (c *Client) register(
	ctx context.Context, doing, name, description string, pool *scaler.Pool, deadline time.Time,
) error {
	const (
		dumb, always = "hudson.slaves.DumbSlave", "hudson.slaves.RetentionStrategy$Always"
		// Without this property a reload of configuration as code with a list of nodes deletes the node. The plugin
		// has the property since version 2080. Jenkins ignores in such a bag a class that Jenkins does not have.
		keepNode = "io-jenkins-plugins-casc-core-CascKeepNode"
	)
	mode := "EXCLUSIVE"
	if pool.Unlabelled {
		mode = "NORMAL"
	}
	form, err := json.Marshal(map[string]any{
		"name":              name,
		"nodeDescription":   description,
		"numExecutors":      strconv.Itoa(max(1, pool.Executors)),
		"remoteFS":          "/home/jenkins/agent", // of the official agent image
		"labelString":       labelString(pool.Labels),
		"mode":              mode,
		"type":              dumb,
		"retentionStrategy": map[string]string{"stapler-class": always, "$class": always},
		"nodeProperties":    map[string]any{"stapler-class-bag": "true", keepNode: struct{}{}},
		"launcher":          c.launcher(name, pool.PoolID),
	})
	if err != nil {
		return err
	}
	return c.write(ctx, doing, name, Question{
		endpoint: Register, Path: "/computer/doCreateItem", deadline: deadline,
		Form: url.Values{"name": {name}, "type": {dumb}, "json": {string(form)}},
	})
}

// SSH says how Jenkins calls an agent that does not call Jenkins. The plugin ssh-slaves makes the call.
type SSH struct {
	Domain        string // follows the agent's name in the name of the agent's host
	CredentialsID string // names the user and the key in Jenkins' credentials store
	// HostKey is the public key of every agent of the pool, such as "ssh-ed25519 AAAA...". Each agent has to
	// prove that it has the private key.
	HostKey string
}

// launcher returns the part of the form that says how agent and Jenkins connect.
func (c *Client) launcher(name string, id scaler.PoolID) map[string]any {
	const (
		inbound = "hudson.slaves.JNLPLauncher"
		ssh     = "hudson.plugins.sshslaves.SSHLauncher"
		verify  = "hudson.plugins.sshslaves.verifiers.ManuallyProvidedKeyVerificationStrategy"
	)
	s, ok := c.c.SSH[id]
	if !ok {
		return map[string]any{"stapler-class": inbound, "$class": inbound, "webSocket": true}
	}
	return map[string]any{
		"stapler-class": ssh, "$class": ssh,
		"host": name + "." + s.Domain, "port": "22", "credentialsId": s.CredentialsID,
		"jvmOptions": "", "javaPath": "", "prefixStartSlaveCmd": "", "suffixStartSlaveCmd": "",
		// Bellboard repeats Launch until the agent is connected, so that one launch does not have to retry.
		"launchTimeoutSeconds": "60", "maxNumRetries": "0", "retryWaitTime": "1",
		"sshHostKeyVerificationStrategy": map[string]any{"stapler-class": verify, "$class": verify, "key": s.HostKey},
	}
}

// labelString returns the labels in the form of the label field of a node in Jenkins.
func labelString(labels []string) string {
	out := make([]string, len(labels))
	for i, l := range labels {
		if strings.ContainsAny(l, " \t\r\n\"'") {
			l = `"` + escaper.Replace(l) + `"`
		}
		out[i] = l
	}
	return strings.Join(out, " ")
}

// Secret reads the secret of an inbound agent. The secret is a function of the node's name.
func (c *Client) Secret(ctx context.Context, name string) (secret string, err error) {
	defer func() { err = failed("reading the secret of", name, err) }()
	a, err := c.ask(ctx, Question{endpoint: Secret, Path: nodePath(name) + "/jenkins-agent.jnlp"})
	if err == nil && a.Status != http.StatusOK {
		err = a.outcome()
	}
	if err != nil {
		return "", err
	}
	var doc struct {
		XMLName   xml.Name `xml:"jnlp"`
		Arguments []string `xml:"application-desc>argument"`
	}
	// These errors quote nothing of the body, because the body may contain the secret.
	if err := xml.Unmarshal([]byte(a.Body), &doc); err != nil {
		return "", fmt.Errorf("%w: %w", ErrNotJenkins, err)
	}
	if len(doc.Arguments) < 2 || doc.Arguments[0] == "" || doc.Arguments[1] != name {
		return "", fmt.Errorf("%w: the launch file has no secret of that node", ErrNotJenkins)
	}
	return doc.Arguments[0], nil
}

// Mark takes the node temporarily offline with that text, or replaces the text of its mark.
func (c *Client) Mark(ctx context.Context, name, text string, deadline time.Time) error {
	return c.write(ctx, "marking", name, Question{
		endpoint: Mark, Path: nodePath(name) + "/changeOfflineCause", deadline: deadline,
		Form: url.Values{"offlineMessage": {text}},
	})
}

// DeleteNode deletes the node. The next answer may lack it then.
func (c *Client) DeleteNode(ctx context.Context, name string, deadline time.Time) error {
	err := c.write(ctx, "deleting", name, Question{
		endpoint: Delete, Path: nodePath(name) + "/doDelete", deadline: deadline,
	})
	if err == nil || errors.Is(err, scaler.ErrGone) {
		c.memory.mu.Lock()
		delete(c.memory.own, name)
		c.memory.mu.Unlock()
	}
	return err
}

// Launch returns when Jenkins has begun to call the agent. If the agent is connected, Launch changes nothing.
func (c *Client) Launch(ctx context.Context, name string) error {
	return c.write(ctx, "launching the agent of", name, Question{
		endpoint: Launch, Path: nodePath(name) + "/launchSlaveAgent",
	})
}

// ClearMark clears a mark of Bellboard's or of the hook's. The request toggles, with Bellboard's own mark
// text: if somebody else has just lifted the mark, the request sets a mark with that text. The second read
// finds such a mark, and the next tick clears it.
func (c *Client) ClearMark(ctx context.Context, name, text string) error {
	if scaler.ReadMark(c.c.Instance, true, scaler.Cause{Reason: text}, "") != scaler.Ours {
		text = scaler.MarkText(c.c.Instance, scaler.Reason(text))
	}
	// A read before the wait for a turn would be too old.
	return failed("clearing the mark of", name, c.inTurn(ctx, time.Time{}, func() (a Answer, err error) {
		_, by, err := c.node(ctx, Clear, name)
		if err != nil || by != scaler.Ours && by != scaler.Hook {
			return a, err
		}
		a, err = c.post(ctx, Question{
			endpoint: Clear, Path: nodePath(name) + "/toggleOffline", Form: url.Values{"offlineMessage": {text}},
		})
		if err != nil {
			return a, err
		}
		if _, by, err = c.node(ctx, Clear, name); err != nil {
			err = fmt.Errorf("reading the mark back: %w", err)
		} else if by != scaler.NotMarked {
			err = fmt.Errorf("%w: the node is still marked, by %s", scaler.ErrChanged, by)
		}
		return a, err
	}))
}

// StillIdle reports whether the node is idle and carries the same mark as in seen, or none as in seen.
func (c *Client) StillIdle(ctx context.Context, seen scaler.Node) (bool, error) {
	n, by, err := c.node(ctx, Node, seen.Name)
	switch {
	case errors.Is(err, scaler.ErrGone):
		return false, nil
	case err != nil:
		return false, failed("reading", seen.Name, err)
	}
	return n.idle() && by == seen.OfflineBy && (seen.MarkedAt.IsZero() || n.Cause.At == seen.MarkedAt.UnixMilli()), nil
}

// node reads one node and the owner of its mark. Without a node of that name the error is scaler.ErrGone.
func (c *Client) node(ctx context.Context, e string, name string) (n computer, by scaler.OfflineBy, err error) {
	a, err := c.small(ctx, e, nodePath(name), nodeTree, &n)
	switch {
	case a.Status == http.StatusNotFound:
		return n, "", a.outcome()
	case err != nil:
		return n, "", err
	case n.Class == "" || n.Name != name || !n.complete():
		return n, "", fmt.Errorf("%w: the answer is about node %q (class %q)", ErrNotJenkins, n.Name, n.Class)
	}
	return n, c.memory.markedBy(c.c.Instance, &n), nil
}

func nodePath(name string) string { return "/computer/" + url.PathEscape(name) }

// failed says in an error which node it concerns. It returns nil for nil.
func failed(doing, name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s node %s: %w", doing, name, err)
}

// write sends one POST about a node when its turn comes, and never after the deadline.
func (c *Client) write(ctx context.Context, doing, name string, q Question) error {
	return failed(doing, name, c.inTurn(ctx, q.deadline, func() (Answer, error) { return c.post(ctx, q) }))
}

// inTurn calls send when the turn of a write comes. It gives up when ctx ends or the deadline passes.
func (c *Client) inTurn(ctx context.Context, deadline time.Time, send func() (Answer, error)) error {
	if err := c.writes.acquire(ctx, deadline); err != nil {
		return err
	}
	a, err := send()
	c.writes.release(a.Asked, a.Answered, err == nil)
	return err
}

// post sends one POST and judges the answer. After a write that was done Jenkins redirects to one of its
// pages. A redirect to another page leads to a login page in front of Jenkins.
func (c *Client) post(ctx context.Context, q Question) (Answer, error) {
	q.Method = http.MethodPost
	a, err := c.ask(ctx, q)
	if err == nil && !a.done(q.endpoint) {
		err = a.outcome()
	}
	return a, err
}

// done reports whether a write was done. Jenkins may be served below any prefix. A redirect may be relative:
// to "..", or to "log" after a launch. If the agent is connected, Jenkins answers a launch with a page.
func (a *Answer) done(endpoint string) bool {
	location := a.Header.Get("Location")
	if endpoint == Launch && a.Header.Get("X-Jenkins") != "" && (a.Status == http.StatusOK || location == "log") {
		return true
	}
	to, err := url.Parse(location)
	return err == nil && a.Status == http.StatusFound &&
		(strings.Contains(to.Path+"/", "/computer/") || slices.Contains([]string{"..", ".", "./"}, to.Path))
}

// outcome returns the error for an answer about a node that is gone, or to a write that was not done. A 404
// without Jenkins' header says nothing about the node.
func (a *Answer) outcome() error {
	reason := a.Header.Get("X-Error")
	switch {
	case a.Status == http.StatusNotFound && a.Header.Get("X-Jenkins") != "":
		return scaler.ErrGone
	case a.Status == http.StatusBadRequest && strings.Contains(reason, "already exists"):
		return fmt.Errorf("%w: %s", scaler.ErrExists, reason)
	case a.Status == http.StatusForbidden:
		return fmt.Errorf("%w: %w", scaler.ErrRejected, a.Refusal())
	case a.Status == http.StatusBadRequest && reason == "":
		return fmt.Errorf("%w (status 400)%s", scaler.ErrRejected, a.excerpt())
	default:
		return a.Refusal()
	}
}
