package app

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// relaunch is how long Jenkins is given to call an agent before it is asked again:
// its resolver may still hold that there is no such host.
const relaunch = 10 * time.Second

// launcher has Jenkins call the agents that do not call it, as soon as they can be
// called. Jenkins itself tries a few times in the minutes after a node was made, and
// then hardly ever; a berth's pod comes later than that.
type launcher struct {
	jenkins interface {
		Launch(ctx context.Context, name string) error
	}
	pods interface {
		Observe(ctx context.Context) (scaler.ClusterView, error)
	}
	called func(scaler.PoolID) bool // Jenkins calls the agents of that pool
	clock  clock.Clock
	log    *zap.Logger

	asked   map[string]time.Time // by agent: when Jenkins was asked last
	running sync.WaitGroup
}

// observe asks for what one tick saw to be waiting. It waits for no answer.
func (l *launcher) observe(ctx context.Context, t scaler.Tick) {
	if t.Hold != "" {
		return
	}
	now, waiting := l.clock.Now(), map[string]time.Time{}
	for i := range t.Plan.Agents {
		a := &t.Plan.Agents[i]
		if !l.called(a.PoolID) || !a.Pod || !a.Node || a.Online {
			continue
		}
		if last, ok := l.asked[a.Name]; ok {
			waiting[a.Name] = last
		} else {
			waiting[a.Name] = time.Time{}
		}
	}
	l.asked = waiting // what came, or went, is forgotten
	if len(waiting) == 0 {
		return
	}
	view, err := l.pods.Observe(ctx)
	if err != nil {
		return // the next tick holds, and says why
	}
	for i := range view.Pods {
		p := &view.Pods[i]
		last, ok := waiting[p.Name]
		if !ok || p.Ready.IsZero() || p.Deleting || p.Phase != scaler.PodRunning || now.Sub(last) < relaunch {
			continue
		}
		l.asked[p.Name] = now
		name := p.Name
		l.running.Go(func() {
			if err := l.jenkins.Launch(ctx, name); err != nil && ctx.Err() == nil {
				l.log.Info("Jenkins was not made to call an agent; it is asked again", zap.String("agent", name), zap.Error(err))
			}
		})
	}
}
