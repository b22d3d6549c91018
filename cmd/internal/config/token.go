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

// tokenAge is the time for which a token is used before its file is read again.
const tokenAge = 15 * time.Second

// TokenSource is Jenkins' API token in a file. TokenSource reads the file again every 15 s. It does not watch
// the file: Kubernetes replaces a mounted Secret by a rename, which file notifications miss. If the token
// cannot be read, that is an error: TokenSource never returns an old token then.
type TokenSource struct {
	path  string
	clock clock.Clock

	mu    sync.Mutex
	token string
	read  time.Time // zero: the next Token reads the file
}

// NewTokenSource returns the source of the token in that file. It does not read the file yet.
func NewTokenSource(path string, c clock.Clock) *TokenSource {
	return &TokenSource{path: path, clock: c}
}

// Token returns the token, without what editors and shells put around it.
func (s *TokenSource) Token() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.clock.Now(); now.Sub(s.read) >= tokenAge {
		token, err := readToken(s.path)
		if err != nil {
			s.read = time.Time{}
			return "", err
		}
		s.token, s.read = token, now
	}
	return s.token, nil
}

// Expire makes the next Token read the file, for use after Jenkins did not accept the token.
func (s *TokenSource) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read = time.Time{}
}

func readToken(path string) (string, error) {
	b, err := os.ReadFile(path) //nolint:gosec // the path is the user's own setting
	switch token := bare(string(b)); {
	case errors.Is(err, os.ErrNotExist):
		return "", fmt.Errorf("the token's file %s does not exist: mount the Secret there, or correct BELLBOARD_JENKINS_TOKEN_FILE: %w", path, err)
	case err != nil:
		return "", fmt.Errorf("the token's file %s cannot be read: let Bellboard's user read it: %w", path, err)
	case token == "":
		return "", fmt.Errorf("the token's file %s is empty: put the API token of BELLBOARD_JENKINS_USER into it", path)
	case strings.ContainsAny(token, " \t\r\n"):
		return "", fmt.Errorf("the token's file %s holds more than a token: leave one line without blanks in it", path)
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\'' }):
		return "", fmt.Errorf("the token's file %s holds characters that no token has: write it again as plain text (ASCII or UTF-8), without quotes", path)
	default:
		return token, nil
	}
}

// bare removes what is no part of a token: the byte order mark of some editors, blanks and newlines, and the
// quotes of a shell or of YAML.
func bare(s string) string {
	s = strings.TrimSpace(strings.TrimPrefix(s, "\ufeff"))
	for _, quote := range []string{`"`, "'"} {
		if inner, ok := strings.CutPrefix(s, quote); ok && strings.HasSuffix(inner, quote) {
			return strings.TrimSpace(strings.TrimSuffix(inner, quote))
		}
	}
	return s
}
