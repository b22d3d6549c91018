package simulate

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func packed(t *testing.T, text string) string {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = io.WriteString(z, text)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestRead(t *testing.T) {
	const text = Header + `
1757006747,144,macos,1757006752,17,"macOS 14, arm64"
1757006747.25,1.5,linux,,17,lint
1757006800,0,macos,,18,"macOS 14, arm64"
`
	want := &History{
		Name: "x.csv", Labels: []string{"macos", "linux"}, Jobs: []string{"macOS 14, arm64", "lint"}, Groups: 2,
		Builds: []Build{
			{Submitted: 1757006747000, Length: 144000, Started: 1757006752000},
			{Submitted: 1757006747250, Length: 1500, Label: 1, Job: 1},
			{Submitted: 1757006800000, Group: 1},
		},
	}
	for name, in := range map[string]string{"plain": text, "gzip": packed(t, text), "with the mark of UTF-8": "\xef\xbb\xbf" + text, "lines of Windows": strings.ReplaceAll(text, "\n", "\r\n")} {
		t.Run(name, func(t *testing.T) {
			got, err := Read(iotest.OneByteReader(strings.NewReader(in)), "x.csv")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("history (-want +got):\n%s", diff)
			}
		})
	}
	var out bytes.Buffer
	if err := want.Write(&out); err != nil {
		t.Fatal(err)
	}
	if again, err := Read(&out, "x.csv"); err != nil || !cmp.Equal(want, again) {
		t.Errorf("a written history reads as %+v, %v", again, err)
	}
	few, err := Read(strings.NewReader("label,duration_s,submitted_unix\nlinux,5,1757006747\n"), "x.csv")
	if err != nil || len(few.Builds) != 1 || few.Builds[0].Length != 5000 {
		t.Errorf("three columns in another order read as %+v, %v", few, err)
	}
}

// TestBadInput checks that there is one error with place, value and remedy.
func TestBadInput(t *testing.T) {
	const head = Header + "\n"
	const good = "1757006747,144,linux,,17,lint\n"
	damaged := packed(t, head+strings.Repeat(good, 1000))
	for _, tt := range []struct{ name, in, want string }{
		{"empty", "", "x.csv: the file is empty; write a line with the columns " + Header + ", and a line for each build"},
		{"blank", "\n \n", "x.csv: the file is empty; "},
		{"no builds", head, "x.csv:1: the file has no builds; write a line for each build after the first line"},
		{"no header", good, `x.csv:1:1: no column is named "1757006747"; the first line is ` + Header},
		{"another column", "submitted_unix,duration_s,label,jobs\n", `x.csv:1:33: no column is named "jobs"; the first line is`},
		{"a column twice", "label,label\n", `x.csv:1:7: two columns are named "label"; `},
		{"a column is missing", "submitted_unix,label\n", "x.csv:1: the column duration_s is missing; "},
		{"unsorted", head + good + "1757006746,1,linux,,17,lint\n", "x.csv:3:1: submitted_unix=1757006746 is earlier than in the line before; sort the lines by that column"},
		{"negative", head + good + "1757006748,-1,linux,,17,lint\n", "x.csv:3:12: duration_s=-1 is out of bounds; write seconds from 0 to 7776000 (90 days)"},
		{"no number", head + "1757006747,soon,linux,,17,lint\n", `x.csv:2:12: duration_s="soon" is not a number; write seconds`},
		{"not a number", head + "1757006747,NaN,linux,,17,lint\n", `x.csv:2:12: duration_s="NaN" is not a number; `},
		{"infinite", head + "1757006747,Inf,linux,,17,lint\n", `x.csv:2:12: duration_s=Inf is out of bounds; `},
		{"huge", head + "1757006747,1e300,linux,,17,lint\n", `x.csv:2:12: duration_s=1e300 is out of bounds; `},
		{"beyond all numbers", head + "1757006747,1e999,linux,,17,lint\n", `x.csv:2:12: duration_s=1e999 is out of bounds; `},
		{"milliseconds", head + "1757006747000,5,linux,,17,lint\n", "x.csv:2:1: submitted_unix=1757006747000 is out of bounds; write seconds since 1970, such as 1757006747.5, of the years 2000 to 2100; milliseconds have to be divided by 1000"},
		{"a gap", head + "1757006747,,linux,,17,lint\n", "x.csv:2:12: duration_s is empty; write seconds"},
		{"begun too early", head + "1757006747,5,linux,1757006746,17,lint\n", "x.csv:2:20: started_unix=1757006746 is earlier than submitted_unix=1757006747; "},
		{"a field is missing", head + good + "1757006747,5,linux\n", "x.csv:3:1: the row has 3 fields, and the first line 6; "},
		{"a quote", head + `1757006747,5,linux,,17,a "b" c` + "\n", `x.csv:2:26: bare " in non-quoted-field; quote a field`},
		{"binary", "\x7fELF\x02\x01\x01\x00\x00\x00", "x.csv:1:1: the file is binary, and no CSV; give a CSV file, plain or packed by gzip"},
		{"a picture", "\x89PNG\r\n\x1a\n", "x.csv:1:1: the file is binary, and no CSV; "},
		{"ZIP", "PK\x03\x04 and more", "x.csv:1:1: the file is a ZIP archive, and no CSV; "},
		{"zstd", "\x28\xb5\x2f\xfd and more", "x.csv:1:1: the file is packed by zstd, and no CSV; "},
		{"gzip of something else", packed(t, "\x00\x01\x02"), "x.csv:1:1: the file is binary, and no CSV; "},
		{"half a gzip", damaged[:len(damaged)/2], "x.csv: the gzip file is damaged (unexpected EOF); copy or pack it again"},
		{"no gzip at all", "\x1f\x8bnothing", "x.csv: the file begins as gzip, but is damaged; "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Read(strings.NewReader(tt.in), "x.csv")
			var bad *InputError
			if !errors.As(err, &bad) || !strings.HasPrefix(err.Error(), tt.want) || bad.Remedy == "" {
				t.Errorf("the error is\n%v\nwant\n%s", err, tt.want)
			}
		})
	}
}

// TestHugeInput checks that the reader ends at its bounds, and does not fill the memory before.
func TestHugeInput(t *testing.T) {
	endless := io.MultiReader(strings.NewReader(Header+"\n"), &lines{text: []byte("1757006747,144,linux,,,\n")})
	_, err := Read(endless, "x.csv")
	if want := "x.csv:5000002: the file has more than 5000000 builds; give fewer days, or fewer labels"; err == nil || err.Error() != want {
		t.Errorf("the error is %v, want %s", err, want)
	}
	_, err = Read(io.MultiReader(strings.NewReader(Header+"\n"), &lines{text: []byte("1757006747 ")}), "x.csv")
	if want := "x.csv:2: a line has more than 1 MiB; write a line for each build"; err == nil || err.Error() != want {
		t.Errorf("the error is %v, want %s", err, want)
	}
	l := &limitedReader{r: strings.NewReader("12345678"), left: 5}
	if got, err := io.ReadAll(l); string(got) != "12345" || !errors.Is(err, errTooLong) {
		t.Errorf("a reader of 5 bytes gives %q and %v", got, err)
	}
}

// lines repeats a line for ever.
type lines struct {
	text []byte
	at   int
}

func (l *lines) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		c := copy(p[n:], l.text[l.at:])
		n, l.at = n+c, (l.at+c)%len(l.text)
	}
	return n, nil
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(Header + "\n1757006747,144,linux,,17,lint\n"))
	f.Add([]byte("\x1f\x8b"))
	f.Fuzz(func(t *testing.T, in []byte) {
		h, err := Read(bytes.NewReader(in), "x.csv")
		if err != nil {
			if strings.Contains(err.Error(), "%!") {
				t.Errorf("the error is %v", err)
			}
			return
		}
		for i := range h.Builds {
			if b := &h.Builds[i]; b.Length < 0 || i > 0 && b.Submitted < h.Builds[i-1].Submitted || int(b.Label) >= len(h.Labels) {
				t.Errorf("build %d is %+v", i, b)
			}
		}
	})
}

func TestGenerate(t *testing.T) {
	for _, shape := range Shapes() {
		h := generated(t, shape, 7)
		if again := generated(t, shape, 7); !cmp.Equal(h, again) {
			t.Errorf("%s: the same seed gives another history", shape)
		}
		var out bytes.Buffer
		if err := h.Write(&out); err != nil {
			t.Fatal(err)
		}
		if back, err := Read(&out, h.Name); err != nil || len(back.Builds) != len(h.Builds) {
			t.Errorf("%s: a generated history does not read: %v", shape, err)
		}
	}
	if _, err := Generate("square", 1, 1); err == nil || !strings.Contains(err.Error(), "fan-out") {
		t.Errorf("a shape that is none: %v", err)
	}
}

func TestJoin(t *testing.T) {
	fresh := func() *History {
		h := historyOf(0, 10, 1, 10, 2, 10)
		h.Labels = []string{"linux", "mac", "win"}
		h.Builds[1].Label, h.Builds[2].Label = 1, 2
		return h
	}
	h := fresh()
	if err := h.Join([]string{"web=linux,win"}); err != nil {
		t.Fatal(err)
	}
	if pools := h.pools(0); len(pools) != 2 || len(pools[0]) != 2 {
		t.Errorf("two labels of one team give pools %v", pools)
	}
	h = fresh()
	if err := h.Only([]string{"mac"}); err != nil || len(h.Builds) != 1 {
		t.Errorf("one label of three leaves %d builds, %v", len(h.Builds), err)
	}
	for _, bad := range []string{"web", "web=", "web=bsd", "=linux"} {
		if err := fresh().Join([]string{bad}); err == nil {
			t.Errorf("--team %s is accepted", bad)
		}
	}
	if err := fresh().Join([]string{"a=linux", "b=linux"}); err == nil {
		t.Error("a label has two teams")
	}
}

// TestBounds checks the bounds of two builds with a gap, by hand, and that no policy is cheaper.
func TestBounds(t *testing.T) {
	h := historyOf(0, 100, 130, 100, 1000, 100)
	s := startOf(40e9)
	// One level: a start, a gap of 30 s, and a gap of 770 s that a new start of 40 s replaces.
	if got, want := BoundsOf(h, s, 0).Clairvoyant, (300.0+40+30+40)/300; got != want {
		t.Errorf("the clairvoyant bound is %g, want %g", got, want)
	}
	for _, shape := range Shapes() {
		h := generated(t, shape, 3)
		b := BoundsOf(h, Warm(), 0)
		for _, p := range append(Defaults(), ours(t, 5e9), ours(t, 5e9, "MODE=persistent")) {
			r := replayed(t, h, Warm(), p)
			if r.Wait(1) <= 60 && r.Paid() < b.Least-1e-9 {
				t.Errorf("%s: %s pays %.4f, less than the bound %.4f", shape, p.Name, r.Paid(), b.Least)
			}
		}
		if b.Least > b.Clairvoyant {
			t.Errorf("%s: bounds %+v", shape, b)
		}
	}
}
