package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"bellboard/scaler"
)

// shelf is a Store in memory. What others put there, the loop has not seen.
type shelf struct {
	data  []byte
	seen  bool // data is as the loop has left it
	hangs time.Duration
	fail  map[string]error
	calls []string
}

var _ Store = (*shelf)(nil)

func (s *shelf) call(ctx context.Context, verb string) error {
	s.calls = append(s.calls, verb)
	select {
	case <-time.After(s.hangs):
		return s.fail[verb]
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *shelf) Load(ctx context.Context) ([]byte, error) {
	err := s.call(ctx, "load")
	s.seen = err == nil
	return s.data, err
}

func (s *shelf) Save(ctx context.Context, data []byte) error {
	switch err := s.call(ctx, "save"); {
	case err != nil:
		return err
	case !s.seen:
		return fmt.Errorf("the shelf: %w", scaler.ErrChanged)
	}
	s.data = data
	return nil
}

func (s *shelf) Delete(ctx context.Context) error {
	err := s.call(ctx, "delete")
	s.data = nil
	return err
}

// known returns how many agents the data say that the team has made, and whether the team is among them.
func (s *shelf) known(t *testing.T) (int, bool) {
	t.Helper()
	if s.data == nil {
		return 0, false
	}
	l, err := scaler.ReadLearnt(s.data, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	team, there := l.Teams["web"]
	return team.Made, there
}

// written returns what a process has learnt that made so many agents.
func written(t *testing.T, made int) []byte {
	t.Helper()
	m := scaler.Memory{Teams: map[string]scaler.TeamMemory{"web": {Made: made}}}
	data, err := m.Learnt(time.Now(), scaler.Learnt{}).Encode(storeMost)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestWhatIsLearntIsKept: a loop reads the store before its first decision, and writes to it now and then and
// at its end, if it has learnt anything.
func TestWhatIsLearntIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{data: written(t, 7)}
		h, first := newHouse(), -1
		l := h.loop(noGrace, func(c *Config) {
			c.Store = s
			c.Decide = func(in scaler.Input) (scaler.Plan, scaler.Memory, scaler.Facts, error) {
				if first < 0 {
					first = in.Memory.Teams["web"].Made
				}
				return scaler.Checked(in)
			}
		})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- l.Run(ctx) }()
		time.Sleep(storeEvery - time.Second)
		if first != 7 || !slices.Equal(s.calls, []string{"load"}) {
			t.Errorf("at first the memory has %d agents, after %q; want 7 after one load", first, s.calls)
		}
		time.Sleep(3 * storeEvery)
		if n := len(s.calls); n > 2 {
			t.Errorf("a loop that learns nothing did %q", s.calls)
		}
		s.calls = nil
		h.mu.Lock()
		h.wait(1)
		h.mu.Unlock()
		time.Sleep(storeEvery - time.Minute)
		if made, _ := s.known(t); !slices.Equal(s.calls, []string{"save"}) || made != 8 {
			t.Errorf("after a build came it did %q, and the store knows of %d agents", s.calls, made)
		}
		time.Sleep(time.Minute)
		stop()
		if err := <-ended; err != nil || !slices.Equal(s.calls, []string{"save", "save"}) {
			t.Errorf("at its end it did %q, and returned %v", s.calls, err)
		}
	})
}

// TestAStoreThatFails: a store costs no decision, is told of once, and nothing is written over what was not
// read.
func TestAStoreThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{data: written(t, 7), hangs: time.Hour, fail: map[string]error{}}
		core, logs := observer.New(zap.WarnLevel)
		told := func() int { return logs.FilterMessageSnippet("what was learnt").Len() }
		h, began := newHouse(), time.Now()
		l := h.loop(noGrace, func(c *Config) { c.Store, c.Log = s, zap.New(core) })
		h.wait(1)
		l.Tick(t.Context())
		if took := time.Since(began); took > storeTimeout || h.wrote("create")+h.wrote("register") == 0 {
			t.Errorf("the first tick took %s and wrote %q, want at most %s and an agent", took, h.calls, storeTimeout)
		}
		tick := func() {
			time.Sleep(storeEvery)
			l.Tick(t.Context())
			l.keep(t.Context(), false)
		}
		tick()
		tick()
		if !slices.Equal(s.calls, []string{"load", "load", "load"}) || told() != 1 {
			t.Errorf("a store that hangs is asked %q, and %d lines say so; want three loads and one line", s.calls, told())
		}
		l.keep(t.Context(), true)
		if len(s.calls) != 3 {
			t.Errorf("at the end it did %q, though it has read nothing", s.calls)
		}
		s.hangs = 0
		tick()
		if l.memory.Teams["web"].Made != 7 {
			t.Errorf("when the store answers the memory has %+v", l.memory.Teams)
		}
		s.fail["save"] = errors.New("too large")
		tick()
		tick()
		if told() != 2 {
			t.Errorf("%d lines tell of a store that cannot be read, then cannot be written; want one each", told())
		}
		s.fail["save"] = fmt.Errorf("the Lease: %w", scaler.ErrExpired)
		l.learnt.told = false
		tick()
		if told() != 2 {
			t.Error("a replica that leads no more warns that it writes nothing")
		}
	})
}

// TestSomebodyElseWrote: what somebody else has put into the store counts, also if that is nothing. A damaged
// store is told, and written over.
func TestSomebodyElseWrote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{data: written(t, 7)}
		core, logs := observer.New(zap.WarnLevel)
		told := func() int { return logs.FilterMessageSnippet("what was learnt").Len() }
		h := newHouse()
		l := h.loop(noGrace, func(c *Config) { c.Store, c.Log = s, zap.New(core) })
		tick := func() {
			l.Tick(t.Context())
			time.Sleep(storeEvery)
			l.keep(t.Context(), false)
		}
		tick()
		for _, tt := range []struct {
			name string
			data []byte
			want int
		}{{"another process", written(t, 9), 9}, {"a person who deleted it", nil, 0}} {
			s.data, s.seen = tt.data, false
			h.wait(1) // so that there is something to write
			tick()
			if got := l.memory.Teams["web"].Made; got != tt.want {
				t.Errorf("%s: the memory has made %d agents, want %d", tt.name, got, tt.want)
			}
		}
		s.data, s.seen = []byte("damaged"), false
		h.wait(1)
		tick()
		tick()
		if _, there := s.known(t); !there || told() != 1 {
			t.Errorf("a damaged store is told in %d lines, and knows the team afterwards: %t", told(), there)
		}
	})
}

// TestNothingIsWritten: a dry run writes nothing, and a drain leaves nothing.
func TestNothingIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			name  string
			dry   bool
			drain bool
			want  []string
		}{
			{"a dry run", true, false, []string{"load"}},
			{"a drain", false, true, []string{"load", "delete"}},
		} {
			s := &shelf{data: written(t, 7)}
			h := newHouse()
			l := h.loop(noGrace, func(c *Config) { c.Store, c.DryRun = s, tt.dry })
			if tt.drain {
				l.Drain()
			}
			h.wait(1)
			ctx, stop := context.WithCancel(t.Context())
			time.AfterFunc(3*storeEvery, stop)
			if err := l.Run(ctx); err != nil || !slices.Equal(s.calls, tt.want) {
				t.Errorf("%s did %q, want %q (%v)", tt.name, s.calls, tt.want, err)
			}
		}
	})
}
