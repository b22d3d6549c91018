package config

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"bellboard/scaler/clock"
)

// tokenAge is how long a token is used before its file is read again.
const tokenAge = 15 * time.Second

// TokenSource is a secret in a file. The file is read again every 15 seconds,
// not watched: Kubernetes swaps a mounted Secret by a rename that file
// notifications lose. A token that cannot be read is an error, never an old one.
type TokenSource struct {
	path  string
	clock clock.Clock

	mu    sync.Mutex
	token string
	read  time.Time // zero: due
}

// NewTokenSource makes the source of the token in that file. It reads nothing yet.
func NewTokenSource(path string, c clock.Clock) *TokenSource {
	return &TokenSource{path: path, clock: c}
}

// Token returns the token, without what editors and shells put round one.
func (s *TokenSource) Token() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	if !s.read.IsZero() && now.Sub(s.read) < tokenAge {
		return s.token, nil
	}
	token, err := readToken(s.path)
	if err != nil {
		s.token, s.read = "", time.Time{}
		return "", err
	}
	s.token, s.read = token, now
	return token, nil
}

// Expire makes the next Token read the file, as after an answer that refused the token.
func (s *TokenSource) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read = time.Time{}
}

func readToken(path string) (string, error) {
	b, err := os.ReadFile(path) //nolint:gosec // the path is the user's own setting
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("the token's file %s does not exist: mount the Secret there, or correct BELLBOARD_JENKINS_TOKEN_FILE: %w", path, err)
	}
	if err != nil {
		return "", fmt.Errorf("the token's file %s cannot be read: let Bellboard's user read it: %w", path, err)
	}
	token := bare(string(b))
	if token == "" {
		return "", fmt.Errorf("the token's file %s is empty: put the API token of BELLBOARD_JENKINS_USER into it", path)
	}
	if strings.ContainsAny(token, " \t\r\n") {
		return "", fmt.Errorf("the token's file %s holds more than a token: leave one line without blanks in it", path)
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\'' }) {
		return "", fmt.Errorf("the token's file %s holds characters that no token has: write it anew as plain text (ASCII or UTF-8), without quotes", path)
	}
	return token, nil
}

// bare takes off what is no part of a token: the byte order mark that some editors
// write, blanks and newlines around it, and the quotes of a shell or of YAML.
func bare(s string) string {
	s = strings.TrimSpace(strings.TrimPrefix(s, "\ufeff"))
	if n := len(s); n >= 2 && (s[0] == '"' || s[0] == '\'') && s[n-1] == s[0] {
		s = strings.TrimSpace(s[1 : n-1])
	}
	return s
}
