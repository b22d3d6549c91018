package queue

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"bellboard/scaler"
)

// item is one item of the queue, as in Jenkins' answer.
type item struct {
	Class   string `json:"_class"`
	ID      int64  `json:"id"`
	Since   int64  `json:"inQueueSince"`
	Left    int64  `json:"buildableStartMilliseconds"` // when the item left its quiet period; 0: it has not
	Why     string `json:"why"`
	Blocked bool   `json:"blocked"`
	Pending bool   `json:"pending"`
	Task    task   `json:"task"`
	Actions []struct {
		Parameters []struct {
			Class string                  `json:"_class"`
			Value optional[lenientString] `json:"value"`
		} `json:"parameters"`
	} `json:"actions"`
}

type task struct {
	Class string           `json:"_class"`
	URL   string           `json:"url"`
	Label optional[string] `json:"labelExpression"`
}

// computer is one node, as in Jenkins' answer.
type computer struct {
	Class       string `json:"_class"`
	Name        string `json:"displayName"`
	Description string `json:"description"`
	Remote      string `json:"absoluteRemotePath"`
	Offline     bool   `json:"offline"`
	Temporary   *bool  `json:"temporarilyOffline"`
	Cause       struct {
		Class       string        `json:"_class"`
		At          int64         `json:"timestamp"` // milliseconds since the epoch
		Description lenientString `json:"description"`
	} `json:"offlineCause"`
	Reason    string     `json:"offlineCauseReason"`
	Idle      *bool      `json:"idle"`
	Executors int        `json:"numExecutors"`
	Workers   []executor `json:"executors"`
	OneOff    []executor `json:"oneOffExecutors"`
	Labels    []atom     `json:"assignedLabels"`
}

type atom struct {
	Name string `json:"name"`
}

type executor struct {
	Idle  bool             `json:"idle"`
	Build optional[*build] `json:"currentExecutable"`
}

type build struct {
	Class string `json:"_class"`
	URL   string `json:"url"`
}

// optional is a value that also says whether the answer has the key at all. A null counts as present.
type optional[T any] struct {
	value   T
	present bool
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (t *optional[T]) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	t.present = true
	return json.UnmarshalDecode(d, &t.value)
}

// lenientString is a string. A value of another type becomes the empty string.
type lenientString string

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (l *lenientString) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() == jsontext.KindString {
		return json.UnmarshalDecode(d, (*string)(l))
	}
	return d.SkipValue()
}

// parameter returns the value of the item's first NodeLabel parameter that has a value. The value replaces
// the label of the project. hidden reports whether Jenkins hides the value of such a parameter.
func (it *item) parameter() (value string, hidden bool) {
	for _, a := range it.Actions {
		for _, p := range a.Parameters {
			if strings.HasPrefix(p.Class, "org.jvnet.jenkins.plugins.nodelabelparameter.") {
				value = cmp.Or(value, string(p.Value.value))
				hidden = hidden || !p.Value.present
			}
		}
	}
	return value, hidden
}

// complete reports whether the answer has the keys that decide about the node.
func (c *computer) complete() bool { return c.Name != "" && c.Temporary != nil && c.Idle != nil }

// work counts the executors that do not say that they are idle. unseen counts those that show null as their
// build, because the user may not see it. builds are those that the executors show.
func (c *computer) work() (busy, unseen int, builds []build) {
	for _, x := range c.Workers {
		if !x.Idle {
			busy++
		}
		if x.Build.value != nil {
			builds = append(builds, *x.Build.value)
		} else if !x.Idle && x.Build.present {
			unseen++
		}
	}
	return busy, unseen, builds
}

// idle reports whether no executor and no one-off executor has work.
func (c *computer) idle() bool {
	works := slices.ContainsFunc(c.Workers, func(x executor) bool { return !x.Idle })
	return *c.Idle && !works && len(c.OneOff) == 0
}

func (c *computer) cause() scaler.Cause {
	return scaler.Cause{Class: c.Cause.Class, Description: string(c.Cause.Description), Reason: c.Reason}
}

// maxElement is how many bytes one element of a list may have, and the text around the list. The sentence of
// an item that names 100,000 nodes has half as many.
const maxElement = 16 << 20

// decode reads one JSON document. A document that is malformed or cut short is an error, and never a shorter
// list. Text after the document is an error too. An error quotes at most the one character or escape sequence
// that is wrong. The function read has to set N of its input anew after each element.
func decode(from io.Reader, read func(*jsontext.Decoder, *io.LimitedReader) error) error {
	in := &io.LimitedReader{R: from, N: maxElement}
	d := jsontext.NewDecoder(in, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	err := read(d, in)
	at := d.InputOffset()
	if err == nil {
		if _, err = d.ReadToken(); errors.Is(err, io.EOF) && in.N > 0 {
			return nil
		}
		err = errors.New("text after the end of the document")
	} else if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		at, err = syntax.ByteOffset, syntax.Err
	} else if semantic, ok := errors.AsType[*json.SemanticError](err); ok {
		at, err = semantic.ByteOffset, fmt.Errorf("a JSON %s does not fit", semantic.JSONKind)
	}
	if in.N <= 0 {
		err = fmt.Errorf("one value is longer than %d MiB", maxElement>>20)
	}
	return fmt.Errorf("%w: JSON broken at byte %d: %w", ErrNotJenkins, at, err)
}

// decodeList reads a document whose root has that class, or any if class is "", and that list. It reads each
// element of the list into one and then calls each. The function each has to empty one for the next element.
func decodeList(from io.Reader, class, name string, one any, each func() error) error {
	is, has := "", false
	err := decode(from, func(d *jsontext.Decoder, in *io.LimitedReader) error {
		return eachMember(d, jsontext.KindBeginObject, func() error {
			switch key, err := d.ReadToken(); {
			case err != nil:
				return err
			case key.String() == "_class":
				return json.UnmarshalDecode(d, &is)
			case key.String() != name:
				return d.SkipValue()
			}
			has = true
			return eachMember(d, jsontext.KindBeginArray, func() error {
				if err := json.UnmarshalDecode(d, one); err != nil {
					return err
				}
				in.N = maxElement
				return each()
			})
		})
	})
	switch {
	case err != nil:
		return err
	case !has:
		return fmt.Errorf("%w: no %s", ErrNotJenkins, name)
	case class != "" && is != class:
		return fmt.Errorf("%w: class %q, not %s", ErrNotJenkins, is, class)
	}
	return nil
}

// eachMember reads an object or an array. It calls each before every member.
func eachMember(d *jsontext.Decoder, begin jsontext.Kind, each func() error) error {
	if t, err := d.ReadToken(); err != nil {
		return err
	} else if t.Kind() != begin {
		return fmt.Errorf("want %s", begin)
	}
	for {
		if k := d.PeekKind(); k == jsontext.KindEndObject || k == jsontext.KindEndArray || k == jsontext.KindInvalid {
			_, err := d.ReadToken()
			return err
		}
		if err := each(); err != nil {
			return err
		}
	}
}
