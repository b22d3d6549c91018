package config

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"bellboard/scaler"
)

const schemaFile = "../../../deploy/chart/values.schema.json"

// TestChartSchema checks that the schema of the chart's values knows every setting, its type, its choices and
// its meaning. So Helm rejects a name that is no setting before it changes anything.
func TestChartSchema(t *testing.T) {
	g, limits, p := builtinGlobal(), builtinLimits(), builtinPod(scaler.Ephemeral)
	want := `    "daemon": {
      "type": "object",
      "additionalProperties": false,
      "properties": {` + properties(t, fieldsOf(&g), "") + `
      }
    },
    "team": {
      "type": "object",
      "additionalProperties": false,
      "properties": {` + properties(t, fieldsOf(&limits), "") + `
      },
      "patternProperties": {` + properties(t, fieldsOf(&p), "(EPHEMERAL_|PERSISTENT_)?") + `
      }
    },
`
	b, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "  \"definitions\": {\n", "    \"map\": "
	before, rest, opened := strings.Cut(string(b), begin)
	got, after, closed := strings.Cut(rest, end)
	if !opened || !closed || !json.Valid(b) {
		t.Fatalf("%s is no JSON, or has no definitions before %s", schemaFile, end)
	}
	if got == want {
		return
	}
	if !*update {
		t.Fatal("the chart's schema does not have the program's settings; rewrite it: make docs")
	}
	if err := os.WriteFile(schemaFile, []byte(before+begin+want+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// properties returns the schema of settings, one in a line. With a prefix the names are patterns.
func properties(t *testing.T, fields []*field, prefix string) string {
	t.Helper()
	var lines []string
	byChart := []string{"JENKINS_TOKEN_FILE", "JENKINS_CA_FILE", "LISTEN"} // other values, and the port of the Service
	for _, f := range fields {
		if slices.Contains(byChart, f.Name) {
			continue
		}
		name := f.Name
		if prefix != "" {
			name = "^" + prefix + name + "$"
		}
		schema := map[string]any{"description": f.Tag.Get("desc"), "type": []string{"string", "null"}}
		kind := f.Value.Type()
		if kind.Kind() == reflect.Pointer {
			kind = kind.Elem()
		}
		switch one := strings.Fields(f.Tag.Get("one")); {
		case len(one) > 0:
			delete(schema, "type")
			choices := []any{nil}
			for _, choice := range one {
				choices = append(choices, choice)
			}
			schema["enum"] = choices
		case kind.Kind() == reflect.Bool:
			delete(schema, "type")
			schema["enum"] = []any{true, false, "true", "false", nil}
		case kind == reflect.TypeFor[time.Duration]():
			schema["pattern"] = "^([0-9.]+(h|m|s|ms))+$"
		case kind.Kind() == reflect.Int:
			schema["type"], schema["pattern"] = []string{"integer", "string", "null"}, "^-?[0-9]+$"
		case kind.Kind() != reflect.String || f.Tag.Get("is") == "amount":
			schema["type"] = []string{"number", "string", "null"}
		case f.Tag.Get("is") == "URL":
			schema["pattern"] = "^https?://"
		}
		text, err := json.Marshal(schema)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("\n        %q: %s", name, text))
	}
	return strings.Join(lines, ",")
}
