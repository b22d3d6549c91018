package jenkinssim

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// writer writes JSON as Jenkins' stapler does: no blanks, UTF-8 unescaped,
// _class first.
type writer struct {
	out  []byte
	more bool // a comma is due
}

func (w *writer) comma() {
	if w.more {
		w.out = append(w.out, ',')
	}
	w.more = true
}

func (w *writer) open(class string) {
	w.out = append(w.out, '{')
	w.more = false
	if class != "" {
		w.key("_class")
		w.str(class)
	}
}

func (w *writer) close() {
	w.out = append(w.out, '}')
	w.more = true
}

func (w *writer) key(name string) {
	w.comma()
	w.out = append(w.out, '"')
	w.out = append(w.out, name...)
	w.out = append(w.out, '"', ':')
}

// prop writes the key of a property if it is wanted and returns what is wanted
// inside, nil if nothing is.
func (w *writer) prop(p *pruner, name string, visibility int) *pruner {
	k := p.accept(name, visibility)
	if k != nil {
		w.key(name)
	}
	return k
}

func (w *writer) propStr(p *pruner, name string, visibility int, v string) {
	if w.prop(p, name, visibility) != nil {
		w.str(v)
	}
}

func (w *writer) propBool(p *pruner, name string, visibility int, v bool) {
	if w.prop(p, name, visibility) != nil {
		w.bool(v)
	}
}

func (w *writer) propInt(p *pruner, name string, visibility int, v int64) {
	if w.prop(p, name, visibility) != nil {
		w.int(v)
	}
}

func (w *writer) propTime(p *pruner, name string, visibility int, v time.Time) {
	w.propInt(p, name, visibility, v.UnixMilli())
}

func (w *writer) propNull(p *pruner, name string, visibility int) {
	if w.prop(p, name, visibility) != nil {
		w.null()
	}
}

// propEmpty writes an empty array.
func (w *writer) propEmpty(p *pruner, name string) {
	if w.prop(p, name, 1) != nil {
		w.out = append(w.out, "[]"...)
		w.more = true
	}
}

// array writes what each writes for the elements of [0, n) that are wanted.
func (w *writer) array(p *pruner, n int, each func(i int)) {
	w.out = append(w.out, '[')
	w.more = false
	for i := p.lo; i < min(n, p.hi); i++ {
		w.comma()
		each(i)
		w.more = true
	}
	w.out = append(w.out, ']')
	w.more = true
}

func (w *writer) int(v int64) { w.out = strconv.AppendInt(w.out, v, 10) }
func (w *writer) bool(v bool) { w.out = strconv.AppendBool(w.out, v) }
func (w *writer) null()       { w.out = append(w.out, "null"...) }

const hexDigits = "0123456789abcdef"

func (w *writer) str(s string) {
	w.out = append(w.out, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			_, size := utf8.DecodeRuneInString(s[i:])
			i += size
			continue
		}
		w.out = append(w.out, s[from:i]...)
		switch c {
		case '"', '\\':
			w.out = append(w.out, '\\', c)
		case '\n':
			w.out = append(w.out, '\\', 'n')
		case '\r':
			w.out = append(w.out, '\\', 'r')
		case '\t':
			w.out = append(w.out, '\\', 't')
		default:
			w.out = append(w.out, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		from = i
	}
	w.out = append(w.out, s[from:]...)
	w.out = append(w.out, '"')
}
