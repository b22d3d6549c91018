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

// TestTokenAlone checks that what editors and shells put around a token is no part of it. Characters that no
// token has are an error that names the file, and not its content.
func TestTokenAlone(t *testing.T) {
	const token = "11e9c5f3f2f1e6a7b8c9d0a1b2c3d4e5f6"
	for name, tt := range map[string]struct{ file, says string }{
		"plain":                        {token, ""},
		"a newline":                    {token + "\n", ""},
		"newlines of Windows":          {"\r\n" + token + "\r\n\r\n", ""},
		"a byte order mark":            {"\ufeff" + token + "\r\n", ""},
		"quotes":                       {`"` + token + `"` + "\n", ""},
		"single quotes":                {`'` + token + `'`, ""},
		"a byte order mark and quotes": {"\ufeff\"" + token + "\"\r\n", ""},
		"quotes alone":                 {`""`, "is empty"},
		"one quote":                    {`"` + token, "characters that no token has"},
		"UTF-16":                       {"\xff\xfe1\x001\x00", "characters that no token has"},
		"typographic quotes":           {"“" + token + "”", "characters that no token has"},
		"a blank of no width":          {token + "\u200b", "characters that no token has"},
		"an assignment":                {"TOKEN = " + token, "more than a token"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "token")
			if err := os.WriteFile(path, []byte(tt.file), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := NewTokenSource(path, clock.Real()).Token()
			switch {
			case tt.says == "" && (got != token || err != nil):
				t.Errorf("Token() = %q, %v, want the token alone", got, err)
			case tt.says != "" && (got != "" || err == nil || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), path)):
				t.Errorf("Token() = %q, %v, want an error that says %q and the file", got, err, tt.says)
			case err != nil && strings.Contains(err.Error(), token):
				t.Errorf("the token is in the error: %v", err)
			}
		})
	}
}
