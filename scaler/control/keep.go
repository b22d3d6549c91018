package control

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"bellboard/scaler"
)

const (
	// storeEvery is the time between two writes to the store.
	storeEvery = 5 * time.Minute
	// storeTimeout is how long a tick waits for the store.
	storeTimeout = 3 * time.Second
	// storeMost is the most that the store gets, in bytes. A ConfigMap has room for 1 MiB.
	storeMost = 900 << 10
)

// learnt is what the loop knows of its Store.
type learnt struct {
	read bool          // the memory has what was in the store; before that the loop writes nothing
	kept scaler.Learnt // what was read or written last
	next time.Time     // when the store is asked again
	told bool          // the log says already that the store cannot be used
}

// recall reads what an earlier process has learnt into the memory. If that fails, the loop goes on without,
// and asks again later.
func (l *Loop) recall(ctx context.Context) {
	if l.cfg.Store == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Clock.Wall(storeTimeout))
	defer cancel()
	data, err := l.cfg.Store.Load(ctx)
	now := l.cfg.Clock.Now()
	l.learnt.next = now.Add(storeEvery)
	if err != nil {
		l.noStore("what was learnt before cannot be read: Bellboard goes on without, and tries again", err)
		return
	}
	kept := scaler.Learnt{}
	if data != nil {
		if kept, err = scaler.ReadLearnt(data, now); err != nil {
			l.cfg.Log.Warn("some of what was learnt before is wrong: Bellboard learns it anew, and nothing else has to be done", zap.Error(err))
		}
	}
	l.memory = l.memory.With(kept, now)
	l.learnt.read, l.learnt.kept, l.learnt.told = true, kept, false
	l.cfg.Log.Info("Bellboard remembers what was learnt before", zap.Int("teams", len(kept.Teams)))
}

// keep writes what the loop has learnt into the store now and then. At the end of the loop it does so in any
// case. At the end of a drain nothing is left.
func (l *Loop) keep(ctx context.Context, end bool) {
	now, k := l.cfg.Clock.Now(), &l.learnt
	switch draining := l.draining.Load(); {
	case l.cfg.Store == nil || l.cfg.DryRun || !end && (draining || now.Before(k.next)):
		return
	case end && draining:
		ctx, cancel := context.WithTimeout(ctx, l.cfg.Clock.Wall(storeTimeout))
		defer cancel()
		if err := l.cfg.Store.Delete(ctx); err != nil {
			l.noStore("what was learnt cannot be removed: delete it by hand", err)
		}
		return
	case !k.read:
		if !end {
			l.recall(ctx)
		}
		return
	}
	k.next = now.Add(storeEvery)
	what := l.memory.Learnt(now, k.kept)
	if what.Same(k.kept) {
		return
	}
	data, err := what.Encode(storeMost)
	if err == nil {
		err = l.save(ctx, data)
	}
	switch {
	case err == nil:
		k.kept, k.told = what, false
	case errors.Is(err, scaler.ErrChanged) && !end: // a person or another process has replaced or deleted it
		k.read = false
		l.cfg.Log.Info("what was learnt is not as Bellboard has left it: Bellboard reads it again", zap.Error(err))
		l.recall(ctx)
	case !errors.Is(err, scaler.ErrExpired): // this replica leads no more
		l.noStore("what was learnt cannot be written: it ends with this process, unless a later try succeeds", err)
	}
}

func (l *Loop) save(ctx context.Context, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Clock.Wall(storeTimeout))
	defer cancel()
	return l.cfg.Store.Save(ctx, data)
}

// noStore says once that the store cannot be used.
func (l *Loop) noStore(what string, err error) {
	if !l.learnt.told {
		l.cfg.Log.Warn(what, zap.Error(err))
	}
	l.learnt.told = true
}
