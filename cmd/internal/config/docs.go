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

	line(&b, "| `BELLBOARD_…` | default | what it does |\n|---|---|---|\n")
	for _, f := range fieldsOf(&g) {
		line(&b, "| `%s` | %s | %s |\n", f.Name, shown(f), f.Tag.Get("desc"))
	}

	line(&b, "\nFor every team as `BELLBOARD_DEFAULT_…`, for one as `BELLBOARD_TEAM_<NAME>_…` (which wins; `web-shop` is `WEB_SHOP` there):\n\n")
	line(&b, "| | default | what it does to waiting and to cost |\n|---|---|---|\n")
	for _, f := range fieldsOf(&limits) {
		line(&b, "| `%s` | %s | %s |\n", f.Name, shown(f), f.Tag.Get("desc"))
	}

	line(&b, "\nThe same, and also for one kind of agent only, as `BELLBOARD_DEFAULT_PERSISTENT_…` or `BELLBOARD_TEAM_<NAME>_EPHEMERAL_…`. "+
		"What names a team wins over what does not, then what names a kind over what does not:\n\n")
	line(&b, "| | default | what it does to waiting and to cost |\n|---|---|---|\n")
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
	if s := f.Tag.Get("shown"); s != "" {
		return s
	}
	return "`" + printValue(f.Value) + "`"
}
