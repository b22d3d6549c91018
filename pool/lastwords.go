package pool

import (
	"cmp"
	"context"
	"io"
	"regexp"
	"strings"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"bellboard/scaler"
)

const (
	// lastWordsTimeout is short, since the deletion of the pod waits for its last log lines. The deletion is
	// sent within a second of the answers that the deletion rests on.
	lastWordsTimeout = 400 * time.Millisecond
	lastLines        = 20
	lastBytes        = 8 << 10
)

// LastWords returns the last log lines of the container at fault, or of the agent if the pod itself has
// failed. LastWords hides what looks like a secret. An agent prints no secret of its own, but a build or a
// broken start may print anything.
func (c *Client) LastWords(ctx context.Context, pod scaler.Pod) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.clock.Wall(lastWordsTimeout))
	defer cancel()
	text, err := call(ctx, c, "get", "pods/log", func(ctx context.Context) ([]byte, error) {
		log, err := c.client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{
			Container:  cmp.Or(pod.Faulty, agentContainer),
			TailLines:  new(int64(lastLines)),
			LimitBytes: new(int64(lastBytes)),
		}).Stream(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { _ = log.Close() }() // all that is needed has been read
		return io.ReadAll(io.LimitReader(log, lastBytes))
	})
	if apierrors.IsForbidden(err) && c.logsDenied.CompareAndSwap(false, true) {
		c.log.Warn("not allowed to read the logs of agents that failed", zap.Error(err))
	}
	if err != nil {
		return "", wrap("read the log of "+pod.Name, err)
	}
	return redact(strings.ToValidUTF8(strings.TrimSpace(string(text)), "?")), nil
}

var (
	// hexSecret finds an inbound agent's secret, which is 64 hexadecimal digits. An image's digest has 64
	// digits too, after "sha256:".
	hexSecret = regexp.MustCompile(`(sha256:)?\b[0-9a-f]{64}\b`)
	// namedSecret finds password=..., "token": "..." and Authorization: Basic ...
	namedSecret = regexp.MustCompile(`(?i)((?:password|passwd|secret|token|api[-_]?key|authorization)["']?\s*[=:]\s*)` +
		`(?:(?:basic|bearer)\s+)?["']?[^\s"',;]+["']?`)
	// urlSecret finds the password in an address.
	urlSecret = regexp.MustCompile(`(://[^/\s:@]+:)[^/\s@]+@`)
)

const hidden = "[hidden]"

// redact hides what looks like a secret.
func redact(s string) string {
	s = hexSecret.ReplaceAllStringFunc(s, func(m string) string {
		if strings.HasPrefix(m, "sha256:") {
			return m
		}
		return hidden
	})
	s = namedSecret.ReplaceAllString(s, "${1}"+hidden)
	return urlSecret.ReplaceAllString(s, "${1}"+hidden+"@")
}
