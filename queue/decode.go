package queue

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"bellboard/scaler"
)

// scanner reads JSON documents of known shape in one pass over the text,
// without a copy: the strings it returns are parts of the text unless they had
// escapes. A document that is cut short or malformed ends in an error, never in
// a shorter list. What is not asked for is skipped.
type scanner struct {
	in    string
	at    int
	depth int
	err   error
}

// maxNesting bounds what is skipped; Jenkins' answers are four levels deep.
const maxNesting = 100

// item is one queue item as the answer has it.
type item struct {
	id         int64
	since      int64
	class      string
	why        string
	blocked    bool
	pending    bool
	taskClass  string
	url        string
	expression string // task.labelExpression
	shown      bool   // it was there, if only as null
	parameter  string // the value of the first NodeLabel parameter that has one
	overridden bool   // a NodeLabel parameter whose value is not shown
}

// computer is one computer as the answer has it.
type computer struct {
	class, name, description string
	cause                    scaler.Cause
	labels                   []string
	executors, busy, oneOff  int
	all                      int    // executors that are listed
	unseen                   int    // busy executors whose build is not shown
	build, buildClass        string // the build of the last busy executor that shows one, and its class
	markedAt                 int64  // when it was taken offline: milliseconds since the epoch
	remote                   string
	offline, temporary, idle bool
	// Which of the keys that decide were there at all.
	sawRemote, sawTemporary, sawIdle bool
}

// rests: no executor and no one-off executor has work.
func (c *computer) rests() bool { return c.idle && c.busy == 0 && c.oneOff == 0 }

// items reads the answer to the queue's question, calling each for every item.
func (s *scanner) items(each func(*item)) (class string) {
	sawItems := false
	var it item // one for all: it is the caller's for the time of the call
	for more := s.open('{'); more; more = s.next('}') {
		switch s.key() {
		case "_class":
			class = s.text()
		case "items":
			sawItems = true
			for more := s.open('['); more; more = s.next(']') {
				it = s.item()
				if s.err == nil && (it.id == 0 || it.since == 0) {
					s.fail("an item without id or inQueueSince")
				}
				if s.err == nil {
					each(&it)
				}
			}
		default:
			s.skip()
		}
	}
	if s.err == nil && !sawItems {
		s.fail("no items")
	}
	return class
}

func (s *scanner) item() (it item) {
	for more := s.open('{'); more; more = s.next('}') {
		switch s.key() {
		case "_class":
			it.class = s.text()
		case "id":
			it.id = s.integer()
		case "inQueueSince":
			it.since = s.integer()
		case "why":
			it.why = s.text()
		case "blocked":
			it.blocked = s.boolean()
		case "pending":
			it.pending = s.boolean()
		case "task":
			s.task(&it)
		case "actions":
			for more := s.open('['); more; more = s.next(']') {
				s.action(&it)
			}
		default:
			s.skip()
		}
	}
	return it
}

func (s *scanner) task(it *item) {
	for more := s.open('{'); more; more = s.next('}') {
		switch s.key() {
		case "_class":
			it.taskClass = s.text()
		case "url":
			it.url = s.text()
		case "labelExpression":
			it.expression, it.shown = s.text(), true
		default:
			s.skip()
		}
	}
}

// action reads one action of an item; only parameters matter, and of them only
// those of the NodeLabel plugin, which override the project's label.
func (s *scanner) action(it *item) {
	for more := s.open('{'); more; more = s.next('}') {
		if s.key() != "parameters" {
			s.skip()
			continue
		}
		for more := s.open('['); more; more = s.next(']') {
			class, value, sawValue := "", "", false
			for more := s.open('{'); more; more = s.next('}') {
				switch s.key() {
				case "_class":
					class = s.text()
				case "value":
					value, sawValue = s.loose(), true
				default:
					s.skip()
				}
			}
			if strings.HasPrefix(class, "org.jvnet.jenkins.plugins.nodelabelparameter.") {
				if it.parameter == "" {
					it.parameter = value
				}
				it.overridden = it.overridden || !sawValue
			}
		}
	}
}

// computers reads the answer to the computers' question.
func (s *scanner) computers(each func(*computer)) (class string) {
	saw := false
	var c computer
	for more := s.open('{'); more; more = s.next('}') {
		switch s.key() {
		case "_class":
			class = s.text()
		case "computer":
			saw = true
			for more := s.open('['); more; more = s.next(']') {
				c = s.computer()
				if s.err == nil && (c.name == "" || !c.sawTemporary || !c.sawIdle) {
					s.fail("a computer without name, idle or temporarilyOffline")
				}
				if s.err == nil {
					each(&c)
				}
			}
		default:
			s.skip()
		}
	}
	if s.err == nil && !saw {
		s.fail("no computers")
	}
	return class
}

func (s *scanner) computer() (c computer) {
	for more := s.open('{'); more; more = s.next('}') {
		switch s.key() {
		case "_class":
			c.class = s.text()
		case "displayName":
			c.name = s.text()
		case "description":
			c.description = s.text()
		case "absoluteRemotePath":
			c.remote, c.sawRemote = s.text(), true
		case "offline":
			c.offline = s.boolean()
		case "temporarilyOffline":
			c.temporary, c.sawTemporary = s.boolean(), true
		case "offlineCause":
			for more := s.open('{'); more; more = s.next('}') {
				switch s.key() {
				case "_class":
					c.cause.Class = s.text()
				case "timestamp":
					c.markedAt = s.integer()
				case "description":
					c.cause.Description = s.loose() // a plugin's class may have anything there
				default:
					s.skip()
				}
			}
		case "offlineCauseReason":
			c.cause.Reason = s.text()
		case "idle":
			c.idle, c.sawIdle = s.boolean(), true
		case "numExecutors":
			c.executors = int(s.integer())
		case "executors":
			s.workers(&c)
		case "oneOffExecutors":
			var oneOffs computer
			s.workers(&oneOffs)
			c.oneOff = oneOffs.all
		case "assignedLabels":
			for more := s.open('['); more; more = s.next(']') {
				for more := s.open('{'); more; more = s.next('}') {
					if s.key() == "name" {
						c.labels = append(c.labels, s.text())
					} else {
						s.skip()
					}
				}
			}
		default:
			s.skip()
		}
	}
	return c
}

// workers counts executors, those that do not say they are idle, and of these
// those that show no build: null, which Jenkins says of what may not be seen.
func (s *scanner) workers(c *computer) {
	for more := s.open('['); more; more = s.next(']') {
		c.all++
		idle, null := false, false
		for more := s.open('{'); more; more = s.next('}') {
			switch s.key() {
			case "idle":
				idle = s.boolean()
			case "currentExecutable":
				null = s.peek() == 'n'
				s.build(c)
			default:
				s.skip()
			}
		}
		if !idle {
			c.busy++
			if null {
				c.unseen++
			}
		}
	}
}

// build reads what an executor runs.
func (s *scanner) build(c *computer) {
	for more := s.open('{'); more; more = s.next('}') {
		switch s.key() {
		case "_class":
			c.buildClass = s.text()
		case "url":
			c.build = s.text()
		default:
			s.skip()
		}
	}
}

// mortal reports whether a build of that class ends with Jenkins. All others may resume.
func mortal(class string) bool {
	return class == "hudson.model.FreeStyleBuild" || class == "hudson.matrix.MatrixRun" || class == "hudson.maven.MavenModuleSetBuild"
}

// end is the error of the document, or of what follows it.
func (s *scanner) end() error {
	if s.blank(); s.err == nil && s.at < len(s.in) {
		s.fail("text after the end")
	}
	return s.err
}

func (s *scanner) fail(what string) {
	if s.err == nil {
		s.err = fmt.Errorf("%w: JSON broken at byte %d of %d: %s", ErrNotJenkins, s.at, len(s.in), what)
		s.at = len(s.in) // every loop ends here
	}
}

func (s *scanner) blank() {
	for s.at < len(s.in) && (s.in[s.at] == ' ' || s.in[s.at] == '\n' || s.in[s.at] == '\r' || s.in[s.at] == '\t') {
		s.at++
	}
}

// peek is the next byte that is not blank, 0 at the end.
func (s *scanner) peek() byte {
	s.blank()
	if s.at == len(s.in) {
		return 0
	}
	return s.in[s.at]
}

// open begins an object or array and reports whether it has a first member. A
// null is as empty as {} or [].
func (s *scanner) open(c byte) bool {
	if s.peek() == 'n' {
		s.word("null")
		return false
	}
	if s.peek() != c {
		s.fail("want " + string(rune(c)))
		return false
	}
	s.at++
	if s.depth++; s.depth > maxNesting {
		s.fail("nested too deeply")
		return false
	}
	if s.peek() == c+2 { // in ASCII each closing bracket is its opening one + 2
		s.at++
		s.depth--
		return false
	}
	return s.err == nil
}

// next passes a comma, or the end of the object or array.
func (s *scanner) next(closing byte) bool {
	switch s.peek() {
	case ',':
		s.at++
		return s.err == nil
	case closing:
		s.at++
		s.depth--
		return false
	}
	s.fail("want , or " + string(rune(closing)))
	return false
}

func (s *scanner) key() string {
	k := s.text()
	if s.peek() != ':' {
		s.fail("want :")
		return ""
	}
	s.at++
	return k
}

// text reads a string, or null as an empty one.
func (s *scanner) text() string {
	switch s.peek() {
	case '"':
	case 'n':
		s.word("null")
		return ""
	default:
		s.fail("want a string")
		return ""
	}
	rest := s.in[s.at+1:]
	end := strings.IndexByte(rest, '"')
	if end < 0 {
		s.fail("string without end")
		return ""
	}
	if strings.IndexByte(rest[:end], '\\') < 0 {
		s.at += end + 2
		return rest[:end]
	}
	for i := s.at + 1; i < len(s.in); i++ {
		switch s.in[i] {
		case '\\':
			i++
		case '"':
			var out string
			if err := json.Unmarshal([]byte(s.in[s.at:i+1]), &out); err != nil {
				s.fail("bad string")
				return ""
			}
			s.at = i + 1
			return out
		}
	}
	s.fail("string without end")
	return ""
}

// loose reads a string, and skips any other value as an empty one.
func (s *scanner) loose() string {
	if s.peek() == '"' {
		return s.text()
	}
	s.skip()
	return ""
}

func (s *scanner) boolean() bool {
	if s.peek() == 't' {
		s.word("true")
		return true
	}
	s.word("false")
	return false
}

func (s *scanner) integer() int64 {
	n, err := strconv.ParseInt(s.number(), 10, 64)
	if err != nil {
		s.fail("want a whole number")
	}
	return n
}

// number passes the characters that a number may have.
func (s *scanner) number() string {
	s.blank()
	from := s.at
	for s.at < len(s.in) && strings.IndexByte("+-.0123456789eE", s.in[s.at]) >= 0 {
		s.at++
	}
	return s.in[from:s.at]
}

func (s *scanner) word(w string) {
	if !strings.HasPrefix(s.in[s.at:], w) {
		s.fail("want " + w)
		return
	}
	s.at += len(w)
}

// skip passes any value.
func (s *scanner) skip() {
	switch s.peek() {
	case '{':
		for more := s.open('{'); more; more = s.next('}') {
			s.key()
			s.skip()
		}
	case '[':
		for more := s.open('['); more; more = s.next(']') {
			s.skip()
		}
	case '"':
		s.text()
	case 't', 'f':
		s.boolean()
	case 'n':
		s.word("null")
	default:
		if s.number() == "" {
			s.fail("want a value")
		}
	}
}
