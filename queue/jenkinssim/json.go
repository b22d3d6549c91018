package jenkinssim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// bean is an object as Jenkins exports it: its class, or "", and its properties in order.
type bean struct {
	class string
	props []prop
}

// prop is one property of a bean. visibility is the depth down to which Jenkins shows the
// property without a tree. value is whatever write can write.
type prop struct {
	name       string
	visibility int
	value      any
}

// list is an array that makes its elements when it is written. Jenkins counts the elements
// of an inline list as on the level of the list's owner.
type list struct {
	n      int
	at     func(i int) any
	inline bool
}

// raw is JSON that is written as it is.
type raw string

// none is an empty array.
const none raw = "[]"

// writer writes JSON as Jenkins' stapler does: no blanks, UTF-8 unescaped, _class first.
type writer struct{ out []byte }

// write writes what the pruner wants of a value. A func is called only here, so that an
// unwanted value costs nothing.
func (w *writer) write(p *pruner, v any) {
	switch v := v.(type) {
	case func() any:
		w.write(p, v())
	case bean:
		w.bean(p, v)
	case list:
		w.out = append(w.out, '[')
		for i := p.lo; i < min(v.n, p.hi); i++ {
			w.comma()
			w.write(p, v.at(i))
		}
		w.out = append(w.out, ']')
	case nil:
		w.out = append(w.out, "null"...)
	case raw:
		w.out = append(w.out, v...)
	case string:
		w.str(v)
	case bool:
		w.out = strconv.AppendBool(w.out, v)
	case int:
		w.out = strconv.AppendInt(w.out, int64(v), 10)
	case int64:
		w.out = strconv.AppendInt(w.out, v, 10)
	case time.Time:
		w.out = strconv.AppendInt(w.out, v.UnixMilli(), 10)
	default:
		panic(fmt.Sprintf("jenkinssim: no JSON for a %T", v))
	}
}

func (w *writer) bean(p *pruner, b bean) {
	w.out = append(w.out, '{')
	if b.class != "" {
		w.key("_class")
		w.str(b.class)
	}
	for i := range b.props {
		prop := &b.props[i]
		inside := p.accept(prop.name, prop.visibility)
		if inside == nil {
			continue
		}
		if l, ok := prop.value.(list); ok && l.inline && p.kids == nil {
			inside = p
		}
		w.key(prop.name)
		w.write(inside, prop.value)
	}
	w.out = append(w.out, '}')
}

// comma separates a value from the one before it, if there is one.
func (w *writer) comma() {
	if last := w.out[len(w.out)-1]; last != '{' && last != '[' {
		w.out = append(w.out, ',')
	}
}

func (w *writer) key(name string) {
	w.comma()
	w.str(name)
	w.out = append(w.out, ':')
}

func (w *writer) str(s string) {
	if strings.IndexFunc(s, func(c rune) bool { return c < ' ' || c == '"' || c == '\\' }) < 0 {
		w.out = append(w.out, '"')
		w.out = append(w.out, s...)
		w.out = append(w.out, '"')
		return
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string can always be encoded
	w.out = append(w.out, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
}
