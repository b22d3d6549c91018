// Package docs tests the prose: the width of lines, the length of pages, links, and the list of files.
package docs

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// pages returns the prose of the repository by path from its root, without the
// changelog.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, pattern := range []string{"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs/*.md", "docs/adr/*.md"} {
		names, err := filepath.Glob(filepath.Join("..", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			found[filepath.ToSlash(strings.TrimPrefix(name, ".."+string(filepath.Separator)))] = string(text)
		}
	}
	if len(found) < 25 {
		t.Fatalf("%d pages found", len(found))
	}
	return found
}

// prose returns the lines of a page outside of code blocks, by number.
func prose(text string) map[int]string {
	lines, code := map[int]string{}, false
	for i, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			code = !code
			continue
		}
		if !code {
			lines[i+1] = line
		}
	}
	return lines
}

// TestLines: prose has at most 110 columns, and commands and examples have 120. Tables, pictures and the
// output of programs may be wider.
func TestLines(t *testing.T) {
	for name, text := range pages(t) {
		outside := prose(text)
		for n, line := range strings.Split(text, "\n") {
			_, out := outside[n+1]
			start := strings.TrimSpace(line)
			most := 110
			switch {
			case !out && !command.MatchString(start):
				continue
			case !out:
				most = 120
			case strings.HasPrefix(start, "|"), strings.HasPrefix(start, "!"):
				continue
			}
			if width := utf8.RuneCountInString(line); width > most {
				t.Errorf("%s:%d has %d columns, more than %d", name, n+1, width, most)
			}
		}
	}
}

// command matches the first word of a command in a code block.
var command = regexp.MustCompile(`^(bellboard|curl|docker|go|helm|kubectl|make|skopeo)( |$)`)

// longer has the pages that may have more than 1,500 words. People look one section up, and do not read these
// pages from the top.
var longer = map[string]string{
	"docs/fidelity.md":    "a row for each fact and its test",
	"docs/files.md":       "a line for each file of the program, held by TestFiles",
	"docs/performance.md": "the tables that make bench, speed, replay and e2e-node print",
	"docs/runbooks.md":    "a section for each alert, to which the alert leads; each has its own limit",
}

// TestLengths: a page of docs has at most 1,500 words, tables and examples too. So has a section of the pages
// that are for looking up.
func TestLengths(t *testing.T) {
	for name, text := range pages(t) {
		if path.Dir(name) != "docs" && name != "SECURITY.md" {
			continue // decisions, and what is outside of docs, are as long as they have to be
		}
		words := len(strings.Fields(text))
		if longer[name] == "" {
			if words > 1500 {
				t.Errorf("%s has %d words, more than 1500: split it by what a reader needs", name, words)
			}
			continue
		}
		if words <= 1500 {
			t.Errorf("%s has %d words, and needs no exception", name, words)
		}
		for section := range strings.SplitSeq(text, "\n## ") {
			if words := len(strings.Fields(section)); words > 1000 {
				title, _, _ := strings.Cut(section, "\n")
				t.Errorf("%s: the section %q has %d words, more than 1000", name, title, words)
			}
		}
	}
	for name := range longer {
		if _, err := os.Stat(filepath.Join("..", filepath.FromSlash(name))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	noise   = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors returns the anchors of a page's headings, as GitHub makes them.
func anchors(text string) []string {
	var all []string
	for _, h := range heading.FindAllStringSubmatch(text, -1) {
		all = append(all, strings.ReplaceAll(noise.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-"))
	}
	return all
}

// TestLinks: every link between pages leads to a file that exists, and to one of its
// headings.
func TestLinks(t *testing.T) {
	all := pages(t)
	for name, text := range all {
		for n, line := range prose(text) {
			for _, m := range link.FindAllStringSubmatch(line, -1) {
				if strings.Contains(m[1], "://") {
					continue
				}
				file, anchor, _ := strings.Cut(m[1], "#")
				target := name
				if file != "" {
					target = path.Join(path.Dir(name), file)
				}
				if _, err := os.Stat(filepath.Join("..", filepath.FromSlash(target))); err != nil {
					t.Errorf("%s:%d leads to %s: %v", name, n, m[1], err)
				} else if anchor != "" && !slices.Contains(anchors(all[target]), anchor) {
					t.Errorf("%s:%d: %s has no heading #%s", name, n, target, anchor)
				}
			}
		}
	}
}

// listed has the folders of which docs/files.md names every file.
var listed = []string{
	"scaler", "scaler/label", "scaler/plain", "scaler/clock", "scaler/control", "queue", "pool",
	"metrics", "metrics/web", "cmd/bellboard", "cmd/internal/app", "cmd/internal/config",
}

var (
	group = regexp.MustCompile("^## (?:`([^`]+)`)?")
	named = regexp.MustCompile("`([^`]+)`")
)

// TestFiles: docs/files.md names every file of the program, and no other.
func TestFiles(t *testing.T) {
	list, has, of := pages(t)["docs/files.md"], map[string]bool{}, ""
	for line := range strings.Lines(list) {
		if m := group.FindStringSubmatch(line); m != nil {
			of = strings.TrimSuffix(m[1], "/")
			if strings.Contains(line, ", `") {
				of = "" // a group of several folders gives whole paths
			}
		}
		cell, _, row := strings.Cut(strings.TrimPrefix(line, "| "), " |")
		if !row || !strings.HasPrefix(line, "| ") {
			continue
		}
		folder := of
		for _, m := range named.FindAllStringSubmatch(cell, -1) {
			file := path.Join(folder, m[1])
			if of == "" && strings.Contains(m[1], "/") {
				file, folder = m[1], path.Dir(m[1])
			}
			has[file] = true
			if there, _ := filepath.Glob(filepath.Join("..", file)); len(there) == 0 {
				t.Errorf("docs/files.md names %s, which does not exist", file)
			}
		}
	}
	for _, folder := range listed {
		files, err := filepath.Glob(filepath.Join("..", folder, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", folder, len(files), err)
		}
		for _, file := range files {
			file = path.Join(folder, filepath.Base(file))
			if !strings.HasSuffix(file, "_test.go") && !has[file] {
				t.Errorf("docs/files.md has no line for %s", file)
			}
		}
	}
}
