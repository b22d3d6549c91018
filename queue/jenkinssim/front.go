package jenkinssim

import (
	"bytes"
	_ "embed" // the template of the front page
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"
)

//go:embed front.html
var frontText string

var frontPage = template.Must(template.New("front").Parse(frontText))

// front answers the links of people, who have no account here: / says what this Jenkins is, and lists its
// queue and its nodes. The pages of nodes and of running builds are places on it.
func (v *visit) front() (a reply, is bool) {
	path := strings.Join(v.path, "/")
	switch {
	case !v.j.cfg.Front || v.r.Method != http.MethodGet || v.r.Header.Get("Authorization") != "":
		return reply{}, false
	case path == "":
	case strings.HasSuffix(path, "api/json"):
		return reply{}, false
	case v.path[0] == "computer" || v.path[0] == "job" || v.path[0] == "queue":
		return v.redirect("/#" + path), true
	default:
		return reply{}, false
	}
	type row struct{ ID, Name, Label, State, Why string }
	data := struct {
		Version, Clock string
		Restarts       int
		Queue, Nodes   []row
	}{Version: v.j.cfg.Version, Clock: v.j.clk.Now().UTC().Format(time.TimeOnly), Restarts: v.j.stats.Restarts}
	for _, it := range v.j.queued() {
		if !it.fly {
			waits := v.j.clk.Now().Sub(it.since).Round(time.Second).String()
			data.Queue = append(data.Queue, row{Name: it.build.taskName(), Label: it.expr.String(), State: waits, Why: v.j.why(it, english)})
		}
	}
	for _, n := range v.j.computers[1:] {
		r := row{ID: "computer/" + n.name, Name: n.name, Label: n.labelString, State: "online"}
		switch {
		case n.ch == nil:
			r.State = "offline"
		case n.mark != nil:
			r.State = "takes no new build"
		}
		if cause, is := v.j.cause(n); is {
			r.Why = v.j.words(cause)
		}
		data.Nodes = append(data.Nodes, r)
		for _, s := range n.slots {
			if b := s.build; b != nil {
				left := max(0, b.Job.Duration-v.j.clk.Now().Sub(b.Started)).Round(time.Second)
				data.Nodes = append(data.Nodes, row{ID: strings.TrimSuffix(b.path(), "/"), State: "builds", Why: fmt.Sprintf("%s #%d, %s left", b.Job.Name, b.Number, left)})
			}
		}
	}
	var text bytes.Buffer
	if err := frontPage.Execute(&text, data); err != nil {
		return v.problem(http.StatusInternalServerError, err.Error()), true
	}
	return reply{http.StatusOK, v.j.headers(contentHTML), text.Bytes()}, true
}
