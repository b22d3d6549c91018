package jenkinssim

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// caused is Jenkins' answer to why a node is offline.
type caused struct {
	TemporarilyOffline bool
	OfflineCause       *struct {
		Class       string `json:"_class"`
		Timestamp   int64
		Description string
	}
	OfflineCauseReason string
}

func (h *house) cause(name string) (c caused) {
	h.Helper()
	a := h.get("/computer/" + name + "/api/json?tree=temporarilyOffline,offlineCause[timestamp,description],offlineCauseReason")
	h.must(a)
	if err := json.Unmarshal([]byte(a.body), &c); err != nil {
		h.Fatal(err)
	}
	return c
}

// TestOfflineCause: the texts are those that a real Jenkins 2.568.2 returned, and those in
// the source of other versions.
func TestOfflineCause(t *testing.T) {
	const head = "Disconnected by bellboard"
	for _, tt := range []struct{ version, text, description, reason string }{
		{"2.568.2", "it's", head + " : it's", "it&#039;s"},
		{"2.568.2", `a<b>&"c" ‘größe’ {x} \ $1 *_`, head + ` : a<b>&"c" ‘größe’ {x} \ $1 *_`, `a&lt;b&gt;&amp;&quot;c&quot; ‘größe’ {x} \ $1 *_`},
		{"2.568.2", "two\nlines", head + " : two\nlines", "two<br>lines"},
		{"2.568.2", "x : y", head + " : x : y", "y"},
		{"2.568.2", "bellboard(bellboard): team web's pause ‘x’", head + " : bellboard(bellboard): team web's pause ‘x’", "bellboard(bellboard): team web&#039;s pause ‘x’"},
		{"2.568.2", " ", head, ""},
		{"2.568.2", "x : Disconnected by y", head + " : x : Disconnected by y", ""},
		{"2.568.2", "a   b", head + " : a   b", "a&nbsp;&nbsp; b"},
		{"2.555", "it's", head + " : it&#039;s", "it&amp;#039;s"},
		{"2.550", "it's", head + " : it's", "it&#039;s"},
		{"2.482", "it's : <y>", head + " : it's : <y>", "<y>"},
		{"2.479.3", "it's : <y>", head + " : it's : <y>", "<y>"},
	} {
		t.Run(tt.version+" "+tt.text, func(t *testing.T) {
			inBubble(t, Config{Version: tt.version}, func(h *house) {
				h.create("n", "", "linux")
				h.mark("n", tt.text)
				c := h.cause("n")
				if !c.TemporarilyOffline || c.OfflineCause.Class != causeUser || c.OfflineCause.Timestamp != time.Now().UnixMilli() {
					t.Errorf("%+v", c)
				}
				h.want("description", c.OfflineCause.Description, tt.description)
				h.want("reason", c.OfflineCauseReason, tt.reason)
			})
		})
	}
}

// TestCausesBefore482 is Computer.java and Node.java of 2.479.3: a lost connection takes the
// place of the mark's cause until the agent is back. After a start of Jenkins a mark shows
// only when the agent has connected.
func TestCausesBefore482(t *testing.T) {
	for _, tt := range []struct {
		version            string
		cut, marked, start string
	}{
		{"2.479.3", "true ChannelTermination Connection was broken", "true UserCause again", "false  "},
		{"2.482", "true UserCause mine", "true UserCause again", "true UserCause again"},
	} {
		t.Run(tt.version, func(t *testing.T) {
			inBubble(t, Config{Version: tt.version}, func(h *house) {
				is := func(what, want string) {
					t.Helper()
					c, class := h.cause("n"), ""
					if c.OfflineCause != nil {
						class = c.OfflineCause.Class[strings.LastIndexByte(c.OfflineCause.Class, '$')+1:]
					}
					marked := "false "
					if c.TemporarilyOffline {
						marked = "true "
					}
					h.want(what, marked+class+" "+c.OfflineCauseReason, want)
				}
				h.create("n", "", "linux")
				ch := h.connect("n", "n")
				h.mark("n", "mine")
				is("marked", "true UserCause mine")
				ch.Close("chaos")
				is("cut off", tt.cut)
				ch = h.connect("n", "n")
				is("back", "true UserCause mine")
				ch.Close("chaos")
				h.mark("n", "again")
				is("marked while away", tt.marked)
				h.connect("n", "n")
				h.Restart(Restart{})
				time.Sleep(time.Second)
				is("after a start", tt.start)
				h.connect("n", "n")
				is("connected after a start", "true UserCause again")
				h.toggle("n", "")
				is("lifted", "false  ")
			})
		})
	}
}
