package pool

import (
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
	// The pod's deletion waits for its last words, and is sent within a second of
	// the answers that it rests on.
	lastWordsTimeout = 400 * time.Millisecond
	lastLines        = 20
	lastBytes        = 8 << 10
)

// LastWords reads the last lines of the container at fault, the agent's where it
// is the pod that failed. What looks like a secret is left out: an agent prints
// none of its own, but what a build or a broken start prints nobody knows.
func (p *Client) LastWords(ctx context.Context, pod scaler.Pod) (string, error) {
	container := pod.Faulty
	if container == "" {
		container = agentContainer
	}
	ctx, cancel := context.WithTimeout(ctx, p.clock.Wall(lastWordsTimeout))
	defer cancel()
	var text []byte
	err := p.call(ctx, "get", "pods/log", func(ctx context.Context) error {
		log, err := p.client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{
			Container: container, TailLines: new(int64(lastLines)), LimitBytes: new(int64(lastBytes)),
		}).Stream(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = log.Close() }() // what was read is read
		text, err = io.ReadAll(io.LimitReader(log, lastBytes))
		return err
	})
	if apierrors.IsForbidden(err) && p.logsDenied.CompareAndSwap(false, true) {
		p.log.Warn("not allowed to read the logs of agents that failed", zap.Error(err))
	}
	if err != nil {
		return "", wrap("read the log of "+pod.Name, err)
	}
	return redact(strings.ToValidUTF8(strings.TrimSpace(string(text)), "?")), nil
}

var (
	// An inbound agent's secret is 64 hexadecimal digits; so is the digest of an
	// image, which says so.
	hexSecret = regexp.MustCompile(`(sha256:)?\b[0-9a-f]{64}\b`)
	// password=..., "token": "...", Authorization: Basic ...; an address with a password in it.
	namedSecret = regexp.MustCompile(`(?i)((?:password|passwd|secret|token|api[-_]?key|authorization)["']?\s*[=:]\s*)(?:(?:basic|bearer)\s+)?["']?[^\s"',;]+["']?`)
	urlSecret   = regexp.MustCompile(`(://[^/\s:@]+:)[^/\s@]+@`)
)

const hidden = "[hidden]"

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
