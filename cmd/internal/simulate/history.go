package simulate

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The bounds of a history.
const (
	// MaxRows is how many builds a history may have.
	MaxRows = 5_000_000
	// MaxBytes is how long the text of a history may be, after it is unpacked.
	MaxBytes = 1 << 30
	// maxLength is how long one build may take.
	maxLength = 90 * 24 * time.Hour
)

// The columns of a history. The last three may be missing.
const (
	columnSubmitted = "submitted_unix"
	columnDuration  = "duration_s"
	columnLabel     = "label"
	columnStarted   = "started_unix"
	columnGroup     = "group"
	columnJob       = "job"
)

// Header is the first line of a history.
const Header = columnSubmitted + "," + columnDuration + "," + columnLabel + "," + columnStarted + "," + columnGroup + "," + columnJob

// Build is one build of a history. Times are in milliseconds since 1970.
type Build struct {
	Submitted int64
	Length    int64 // how long the build runs, in milliseconds
	Started   int64 // when the build really began; 0: not known
	Label     int32 // index of History.Labels
	Job       int32 // index of History.Jobs
	Group     int32 // index of History.Groups: the run that the build belongs to
}

// History is the builds of some time, in the order of their submission.
type History struct {
	Name   string
	Builds []Build
	Labels []string
	Jobs   []string
	Groups int // how many runs there are
}

// InputError is what is wrong with a history, and where.
type InputError struct {
	File         string
	Line, Column int // 0: the whole file
	What, Remedy string
}

func (e *InputError) Error() string {
	at := e.File
	if e.Line > 0 {
		at += ":" + strconv.Itoa(e.Line)
	}
	if e.Column > 0 {
		at += ":" + strconv.Itoa(e.Column)
	}
	return at + ": " + e.What + "; " + e.Remedy
}

// Read reads a history: CSV with a header, plain or packed by gzip. name is the file's name in errors. The
// error is an InputError, or an error of r.
func Read(r io.Reader, name string) (*History, error) {
	in := bufio.NewReaderSize(r, 1<<16)
	if magic, _ := in.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, &InputError{File: name, What: "the file begins as gzip, but is damaged", Remedy: "pack it again, or give the plain file"}
		}
		in = bufio.NewReaderSize(z, 1<<16)
	}
	head, err := in.Peek(4096)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, unpacked(err, name)
	}
	if len(bytes.TrimSpace(head)) == 0 {
		return nil, &InputError{File: name, What: "the file is empty", Remedy: "write a line with the columns " + Header + ", and a line for each build"}
	}
	if what := binary(head); what != "" {
		return nil, &InputError{File: name, Line: 1, Column: 1, What: "the file is " + what + ", and no CSV", Remedy: "give a CSV file, plain or packed by gzip"}
	}
	if bytes.HasPrefix(head, []byte("\xef\xbb\xbf")) {
		_, _ = in.Discard(3) // the mark of UTF-8 that some spreadsheets write
	}
	limited := &limitedReader{r: in, left: MaxBytes}
	p := parser{name: name, csv: csv.NewReader(limited), h: &History{Name: name}, labels: map[string]int32{}, jobs: map[string]int32{}, groups: map[string]int32{}}
	p.csv.ReuseRecord = true
	if err := p.parse(); err != nil {
		return nil, err
	}
	return p.h, nil
}

// binary returns what the beginning of a file is, if it is no text.
func binary(head []byte) string {
	for magic, what := range map[string]string{
		"PK\x03\x04": "a ZIP archive", "\x28\xb5\x2f\xfd": "packed by zstd", "\xfd7zXZ": "packed by xz", "BZh": "packed by bzip2", "PAR1": "a Parquet file",
	} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return what
		}
	}
	text := head
	for i := 0; i < utf8.UTFMax && len(text) > 0 && !utf8.Valid(text); i++ {
		text = text[:len(text)-1] // the last character may be cut
	}
	if bytes.IndexByte(head, 0) >= 0 || len(head)-len(text) >= utf8.UTFMax {
		return "binary"
	}
	return ""
}

var (
	errTooLong  = errors.New("too long")
	errLongLine = errors.New("a line is too long")
)

// maxLine is how long a line may be.
const maxLine = 1 << 20

// limitedReader ends with errTooLong where io.LimitReader would end as if the file were over. It ends with
// errLongLine after a line that no CSV has, before such a line fills the memory.
type limitedReader struct {
	r    io.Reader
	left int64
	line int // bytes since the last end of a line
}

func (l *limitedReader) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errTooLong
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	if end := bytes.LastIndexByte(p[:n], '\n'); end >= 0 {
		l.line = n - end
	} else if l.line += n; l.line > maxLine {
		return 0, errLongLine
	}
	return n, err
}

// unpacked returns the error of a damaged gzip file in words.
func unpacked(err error, name string) error {
	if errors.Is(err, gzip.ErrChecksum) || errors.Is(err, gzip.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) || strings.HasPrefix(err.Error(), "flate:") {
		return &InputError{File: name, What: "the gzip file is damaged (" + err.Error() + ")", Remedy: "copy or pack it again"}
	}
	return fmt.Errorf("%s: %w", name, err)
}

type parser struct {
	name                 string
	csv                  *csv.Reader
	h                    *History
	labels, jobs, groups map[string]int32
	at                   map[string]int // index of each column
	line                 int
}

// fail returns an error at a column of the row that was read last.
func (p *parser) fail(column, what, remedy string, args ...any) error {
	e := &InputError{File: p.name, Line: p.line, What: fmt.Sprintf(what, args...), Remedy: remedy}
	if i, ok := p.at[column]; ok {
		e.Line, e.Column = p.csv.FieldPos(i)
	}
	return e
}

// row reads the next row. Its error is io.EOF after the last row.
func (p *parser) row() ([]string, error) {
	row, err := p.csv.Read()
	var bad *csv.ParseError
	switch {
	case err == nil:
		p.line, _ = p.csv.FieldPos(0)
		return row, nil
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	case errors.Is(err, errTooLong):
		return nil, &InputError{
			File: p.name, Line: p.line, What: fmt.Sprintf("the file has more than %d MiB of text", MaxBytes>>20),
			Remedy: "give fewer days, or fewer labels",
		}
	case errors.Is(err, errLongLine):
		return nil, &InputError{
			File: p.name, Line: p.line + 1, What: "a line has more than 1 MiB", Remedy: "write a line for each build",
		}
	case errors.As(err, &bad) && errors.Is(bad.Err, csv.ErrFieldCount):
		return nil, &InputError{
			File: p.name, Line: bad.Line, Column: bad.Column, What: fmt.Sprintf("the row has %d fields, and the first line %d", len(row), p.csv.FieldsPerRecord),
			Remedy: "write one field for each column; quote a field that holds a comma",
		}
	case errors.As(err, &bad):
		return nil, &InputError{File: p.name, Line: bad.Line, Column: bad.Column, What: bad.Err.Error(), Remedy: `quote a field that holds a comma or ", and double each " in it`}
	}
	return nil, unpacked(err, p.name)
}

func (p *parser) parse() error {
	if err := p.header(); err != nil {
		return err
	}
	for {
		row, err := p.row()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if len(p.h.Builds) == MaxRows {
			return p.fail("", "the file has more than %d builds", "give fewer days, or fewer labels", MaxRows)
		}
		b, err := p.build(row)
		if err != nil {
			return err
		}
		p.h.Builds = append(p.h.Builds, b)
	}
	if len(p.h.Builds) == 0 {
		return p.fail("", "the file has no builds", "write a line for each build after the first line")
	}
	p.h.Groups = len(p.groups)
	return nil
}

// header reads the first line.
func (p *parser) header() error {
	row, err := p.row()
	if err != nil {
		return err
	}
	known := strings.Split(Header, ",")
	p.at = map[string]int{}
	for i, name := range row {
		name = strings.TrimSpace(name)
		_, twice := p.at[name]
		p.at[name] = i
		if twice || !slices.Contains(known, name) {
			what := "no column is named %q"
			if twice {
				what = "two columns are named %q"
			}
			return p.fail(name, what, "the first line is "+Header, name)
		}
	}
	for _, name := range known[:3] {
		if _, ok := p.at[name]; !ok {
			return p.fail("", "the column %s is missing", "the first line is "+Header+", of which the last three may be missing", name)
		}
	}
	return nil
}

// field returns the text of a column, or "" if the history has no such column.
func (p *parser) field(row []string, column string) string {
	if i, ok := p.at[column]; ok {
		return row[i]
	}
	return ""
}

// number returns the number of a column in milliseconds, which has to be within bounds.
func (p *parser) number(row []string, column string, least, most float64, bounds string) (int64, error) {
	text := strings.TrimSpace(p.field(row, column))
	if text == "" {
		return 0, p.fail(column, "%s is empty", "write "+bounds, column)
	}
	v, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange), math.IsNaN(v):
		return 0, p.fail(column, "%s=%q is not a number", "write "+bounds, column, text)
	case v < least, v > most:
		return 0, p.fail(column, "%s=%s is out of bounds", "write "+bounds, column, text)
	}
	return int64(math.Round(v * 1000)), nil
}

const (
	unixBounds   = "seconds since 1970, such as 1757006747.5, of the years 2000 to 2100; milliseconds have to be divided by 1000"
	lengthBounds = "seconds from 0 to 7776000 (90 days), such as 93.5"
)

func (p *parser) build(row []string) (b Build, err error) {
	const from, to = 946_684_800, 4_102_444_800 // the years 2000 to 2100
	if b.Submitted, err = p.number(row, columnSubmitted, from, to, unixBounds); err != nil {
		return b, err
	}
	if n := len(p.h.Builds); n > 0 && b.Submitted < p.h.Builds[n-1].Submitted {
		return b, p.fail(columnSubmitted, "%s=%s is earlier than in the line before", "sort the lines by that column", columnSubmitted, p.field(row, columnSubmitted))
	}
	if b.Length, err = p.number(row, columnDuration, 0, maxLength.Seconds(), lengthBounds); err != nil {
		return b, err
	}
	if strings.TrimSpace(p.field(row, columnStarted)) != "" {
		if b.Started, err = p.number(row, columnStarted, from, to, unixBounds+"; or nothing if it is not known"); err != nil {
			return b, err
		}
		if b.Started < b.Submitted {
			return b, p.fail(columnStarted, "%s=%s is earlier than %s=%s", "write when the build began, or nothing if that is not known", columnStarted, p.field(row, columnStarted), columnSubmitted, p.field(row, columnSubmitted))
		}
	}
	b.Label = index(p.labels, &p.h.Labels, p.field(row, columnLabel))
	b.Job = index(p.jobs, &p.h.Jobs, p.field(row, columnJob))
	b.Group = index(p.groups, nil, p.field(row, columnGroup))
	return b, nil
}

// index returns the number of a text, and gives a new text the next number.
func index(known map[string]int32, list *[]string, text string) int32 {
	if i, ok := known[text]; ok {
		return i
	}
	i := int32(len(known))
	text = strings.Clone(text)
	known[text] = i
	if list != nil {
		*list = append(*list, text)
	}
	return i
}

// Write writes a history as CSV.
func (h *History) Write(w io.Writer) error {
	out := csv.NewWriter(w)
	if err := out.Write(strings.Split(Header, ",")); err != nil {
		return err
	}
	for i := range h.Builds {
		b := &h.Builds[i]
		started := ""
		if b.Started > 0 {
			started = seconds(b.Started)
		}
		if err := out.Write([]string{seconds(b.Submitted), seconds(b.Length), h.Labels[b.Label], started, strconv.Itoa(int(b.Group)), h.Jobs[b.Job]}); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// seconds returns milliseconds as decimal seconds.
func seconds(ms int64) string { return strconv.FormatFloat(float64(ms)/1000, 'f', -1, 64) }

// Span returns the time from the first submission until the last build would end if none waited.
func (h *History) Span() time.Duration {
	end := int64(0)
	for i := range h.Builds {
		end = max(end, h.Builds[i].Submitted+h.Builds[i].Length)
	}
	return time.Duration(end-h.Builds[0].Submitted) * time.Millisecond
}

// Work returns the sum of all builds' lengths in milliseconds.
func (h *History) Work() int64 {
	sum := int64(0)
	for i := range h.Builds {
		sum += h.Builds[i].Length
	}
	return sum
}
