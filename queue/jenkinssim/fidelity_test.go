package jenkinssim

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	namedTest = regexp.MustCompile("`([a-z]+)\\.((?:Test|Fuzz|Benchmark)[A-Za-z0-9]+)`")
	testFunc  = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)[A-Za-z0-9]+)\(`)
)

// TestFidelity: every row of docs/fidelity.md names a test that exists, or says that
// Bellboard does not depend on the row.
func TestFidelity(t *testing.T) {
	const root = "../.."
	page, err := os.ReadFile(root + "/docs/fidelity.md")
	if err != nil {
		t.Fatal(err)
	}
	exists := map[string]bool{}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, f := range testFunc.FindAllStringSubmatch(string(source), -1) {
			exists[filepath.Base(filepath.Dir(path))+"."+f[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 4 || strings.HasPrefix(cells[1], "-") || strings.Contains(cells[2], "held by") {
			continue
		}
		rows++
		named := namedTest.FindAllStringSubmatch(cells[2], -1)
		if len(named) == 0 && !strings.Contains(cells[2], "not depended on") {
			t.Errorf("no test holds: %s", cells[1])
		}
		for _, n := range named {
			if !exists[n[1]+"."+n[2]] {
				t.Errorf("no such test: %s.%s", n[1], n[2])
			}
		}
	}
	if rows < 50 {
		t.Errorf("%d rows read", rows)
	}
}
