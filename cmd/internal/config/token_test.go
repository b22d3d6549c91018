package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bellboard/scaler/clock"
)

func TestTokenSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "token")
		write := func(s string) {
			t.Helper()
			if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s := NewTokenSource(path, clock.Real())
		want := func(when, token string) {
			t.Helper()
			if got, err := s.Token(); err != nil || got != token {
				t.Errorf("%s: Token() = %q, %v, want %q", when, got, err, token)
			}
		}
		wantError := func(when string, words ...string) {
			t.Helper()
			got, err := s.Token()
			if err == nil || got != "" {
				t.Fatalf("%s: Token() = %q, %v, want an error and no token", when, got, err)
			}
			for _, w := range append(words, path) {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%s: error %q does not say %q", when, err, w)
				}
			}
		}
		wantError("no file", "does not exist", "BELLBOARD_JENKINS_TOKEN_FILE")
		write("one\n")
		want("after a failure the file is read at once", "one")
		write("two")
		time.Sleep(14 * time.Second)
		want("within 15 s the old one is good", "one")
		time.Sleep(time.Second)
		want("after 15 s", "two")
		write("three\r\n")
		s.Expire()
		want("after a refusal", "three")
		write("\n")
		s.Expire()
		wantError("empty", "is empty")
		write("four\nfive\n")
		wantError("two lines", "more than a token")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		wantError("a token that was taken away is not used on", "does not exist")
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		wantError("a directory", "cannot be read")
	})
}
