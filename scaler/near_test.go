package scaler

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"bellboard/scaler/label"
)

// TestNearest: which team comes nearest to an expression, and what it lacks.
func TestNearest(t *testing.T) {
	team := func(name string, kinds []Kind, labels ...string) *ask {
		out := &Team{Name: name, Labels: labels}
		for _, k := range kinds {
			out.Pools = append(out.Pools, Pool{PoolID: PoolID{name, k}, Labels: append([]string{string(k)}, labels...)})
		}
		return &ask{t: out}
	}
	teams := []*ask{
		team("web", []Kind{Ephemeral}, "linux"), team("data", Kinds(), "docker", "linux"), team("mobile", []Kind{Persistent}, "android-14"),
	}
	for expr, want := range map[string]*Near{
		"windows":                             nil,
		"windows && gpu":                      nil,
		"linux && gpu":                        {Team: "web", Lacks: []string{"gpu"}},
		"gpu || linux && arm":                 {Team: "web", Lacks: []string{"arm"}},
		"docker && gpu && cuda":               {Team: "data", Lacks: []string{"cuda", "gpu"}},
		"android-14 && ephemeral":             {Team: "mobile", Kind: Ephemeral},
		"android-14 && ephemeral && gpu":      {Team: "mobile", Lacks: []string{"gpu"}, Kind: Ephemeral},
		"linux && docker && gpu && !gpu":      nil,
		"linux && !linux":                     nil,
		"linux && ephemeral && persistent":    nil,
		"linx":                                {Team: "web", Lacks: []string{"linx"}, Meant: "linux"},
		"dokcer && linux":                     {Team: "web", Lacks: []string{"dokcer"}},
		"DOCKER":                              {Team: "data", Lacks: []string{"DOCKER"}, Meant: "docker"},
		"androd-15":                           {Team: "mobile", Lacks: []string{"androd-15"}, Meant: "android-14"},
		"gcc":                                 nil,
		"linux && a && b && c && d && e && f": nil, // too many to try
	} {
		if diff := cmp.Diff(want, nearest(label.Parse(expr), teams)); diff != "" {
			t.Errorf("nearest(%s): %s", expr, diff)
		}
	}
}
