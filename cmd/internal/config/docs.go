package config

import (
	"bytes"
	"io"

	"bellboard/scaler"
)

// Docs writes the tables of all settings in Markdown, as the README has them.
func Docs(w io.Writer) error {
	var b bytes.Buffer
	g, limits, e, p := builtinGlobal(), builtinLimits(), builtinPod(scaler.Ephemeral), builtinPod(scaler.Persistent)

	line(&b, "| `BELLBOARD_…` | default | meaning |\n|---|---|---|\n")
	for _, f := range fieldsOf(&g) {
		line(&b, "| `%s` | %s | %s |\n", f.Name, shown(f), f.Tag.Get("desc"))
	}

	line(&b, "\nSet these for every team as `BELLBOARD_DEFAULT_…`, or for one team as `BELLBOARD_TEAM_<NAME>_…`, which wins.\nThe team `web-shop` is `WEB_SHOP` there.\n\n")
	line(&b, "| | default | meaning, and effect on waiting and cost |\n|---|---|---|\n")
	for _, f := range fieldsOf(&limits) {
		line(&b, "| `%s` | %s | %s |\n", f.Name, shown(f), f.Tag.Get("desc"))
	}

	line(&b, "\nSet these in the same two ways, or for one kind of agent only, as `BELLBOARD_DEFAULT_PERSISTENT_…` or\n"+
		"`BELLBOARD_TEAM_<NAME>_EPHEMERAL_…`. A variable that names a team wins over one that does not.\n"+
		"Among those, a variable that names a kind wins.\n\n")
	line(&b, "| | default | meaning, and effect on waiting and cost |\n|---|---|---|\n")
	ephemeral, persistent := fieldsOf(&e), fieldsOf(&p)
	for i, f := range ephemeral {
		value := shown(f)
		other := shown(persistent[i])
		if follows := f.Tag.Get("persistent"); follows != "" {
			other = follows
		}
		if other != value {
			value = "ephemeral " + value + ", persistent " + other
		}
		line(&b, "| `%s` | %s | %s |\n", f.Name, value, f.Tag.Get("desc"))
	}
	_, err := w.Write(b.Bytes())
	return err
}

// shown is the default of a setting as the tables have it.
func shown(f field) string {
	if f.Tag.Get("need")+f.Tag.Get("login") != "" {
		return "required"
	}
	if s := f.Tag.Get("shown"); s != "" {
		return s
	}
	return "`" + printValue(f.Value) + "`"
}
