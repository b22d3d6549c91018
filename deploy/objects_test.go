package deploy

import (
	"strings"
	"testing"

	"bellboard/deploy/manifest"
)

// TestObjects checks manifest.Objects here, for a test binary of its own costs more than the test.
func TestObjects(t *testing.T) {
	const good = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: ci\n"
	for _, tt := range []struct{ name, text, want string }{
		{"two", good + "---\n" + good, ""},
		{"an unknown field", good + "---\n" + good + "spec: {finalisers: []}\n", `unknown field "spec.finalisers"`},
		{"a doubled field", good + "  name: ci2\n", `key "name" already set`},
		{"an unknown kind", "apiVersion: v1\nkind: Name\n", `no kind "Name"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := manifest.Objects([]byte(tt.text))
			switch {
			case tt.want == "" && (err != nil || len(got) != 2):
				t.Errorf("Objects = %d objects, %v; want 2", len(got), err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("Objects = %v, want an error with %s", err, tt.want)
			}
		})
	}
}
