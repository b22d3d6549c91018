package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"bellboard/scaler"

	"github.com/google/uuid"
	"go.uber.org/zap"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	typedcoordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// The Lease's times. Another instance takes over once it has seen no renewal for
// leaseDuration; this one stops writing renewDeadline after it sent its last,
// so the two are five seconds apart. They are told in wall time, as the Lease is.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// ErrLeaseLost ends a daemon that led and does not any more: it starts anew.
var ErrLeaseLost = errors.New("the Lease is another's now")

// tenure is the Lease as this instance holds it.
type tenure struct {
	resourcelock.Interface

	renewed atomic.Pointer[moment]    // when the last renewal that held was sent; nil: not held
	ever    atomic.Bool               // its election was won once
	seen    atomic.Pointer[types.UID] // the Lease's own; nil: not known yet
}

// moment is read from both clocks: the wall's may be set back, and the other
// stands still while the machine sleeps.
type moment struct{ wall, mono time.Time }

func now() *moment {
	t := time.Now()
	return &moment{wall: t.Round(0), mono: t}
}

// age is how long ago it was, by the clock that says more.
func (m *moment) age() time.Duration {
	n := now()
	return max(n.wall.Sub(m.wall), n.mono.Sub(m.mono))
}

// leaseName is the Lease of an instance; its events are on it too.
func leaseName(instance string) string { return "bellboard-" + instance }

// newTenure prepares the Lease named like the instance, in Bellboard's own
// namespace. It has a client of its own: its calls are not fenced by themselves.
func newTenure(p Parts) (*tenure, error) {
	kube := rest.CopyConfig(p.Kube)
	kube.Timeout = renewDeadline / 2
	client, err := kubernetes.NewForConfig(kube)
	if err != nil {
		return nil, fmt.Errorf("kubernetes: %w", err)
	}
	identity := p.Identity
	if identity == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, err
		}
		identity = host + "_" + uuid.NewString()
	}
	t := &tenure{}
	t.Interface = &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: p.Settings.OwnNamespace, Name: leaseName(p.Settings.Instance)},
		Client:     leases{client.CoordinationV1().Leases(p.Settings.OwnNamespace), &t.seen},
		LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
	}
	return t, nil
}

// leases notes the UID of the Lease. Deleted and made anew it has another, and
// whoever describes it is shown what is told of that one alone.
type leases struct {
	typedcoordinationv1.LeaseInterface

	seen *atomic.Pointer[types.UID]
}

// Leases are those of Bellboard's own namespace.
func (l leases) Leases(string) typedcoordinationv1.LeaseInterface { return l }

// Get notes the UID of what was read.
func (l leases) Get(ctx context.Context, name string, o metav1.GetOptions) (*coordinationv1.Lease, error) {
	return l.note(l.LeaseInterface.Get(ctx, name, o))
}

// Create notes the UID of what was made.
func (l leases) Create(ctx context.Context, lease *coordinationv1.Lease, o metav1.CreateOptions) (*coordinationv1.Lease, error) {
	return l.note(l.LeaseInterface.Create(ctx, lease, o))
}

func (l leases) note(lease *coordinationv1.Lease, err error) (*coordinationv1.Lease, error) {
	if err == nil {
		l.seen.Store(&lease.UID)
	}
	return lease, err
}

// uid is the Lease's; "" while none is known, or needed.
func (t *tenure) uid() types.UID {
	if t == nil {
		return ""
	}
	if seen := t.seen.Load(); seen != nil {
		return *seen
	}
	return ""
}

// Get notices at once that the Lease is another's: nothing is written from then on.
func (t *tenure) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	r, raw, err := t.Interface.Get(ctx)
	if err == nil && r.HolderIdentity != t.Identity() {
		t.renewed.Store(nil)
	}
	return r, raw, err
}

// Holder reads which other instance holds the Lease; "" is none. there is false when
// there is no Lease at all: an instance that led once has left it there.
func (d *Daemon) Holder(ctx context.Context) (holder string, there bool, err error) {
	r, _, err := d.tenure.Interface.Get(ctx)
	switch {
	case apierrors.IsNotFound(err):
		return "", false, nil
	case err != nil:
		return "", false, fmt.Errorf("reading the Lease %s: %w", d.tenure.Describe(), err)
	case r.HolderIdentity == d.tenure.Identity():
		return "", true, nil
	}
	return r.HolderIdentity, true, nil
}

// Create and Update note when they were sent, if they made or kept this
// instance the holder: its time counts from there, not from the answer.
func (t *tenure) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return t.note(r, func() error { return t.Interface.Create(ctx, r) })
}

// Update is as Create.
func (t *tenure) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return t.note(r, func() error { return t.Interface.Update(ctx, r) })
}

func (t *tenure) note(r resourcelock.LeaderElectionRecord, send func() error) error {
	sent := now()
	if r.HolderIdentity != t.Identity() {
		t.renewed.Store(nil) // given up
		return send()
	}
	err := send()
	if err == nil {
		t.renewed.Store(sent)
		t.ever.Store(true)
	}
	return err
}

// valid is nil while nobody else can hold the Lease.
func (t *tenure) valid() error {
	switch sent := t.renewed.Load(); {
	case sent == nil:
		return fmt.Errorf("the Lease is not held: %w", scaler.ErrLate)
	case sent.age() > renewDeadline:
		return fmt.Errorf("the Lease was not renewed in time: %w", scaler.ErrLate)
	}
	return nil
}

// fence lets no write out while open says why not. It is asked last, just
// before the network: a process that was stopped and wakes still believes.
type fence struct {
	next http.RoundTripper
	open func() error
}

func (f fence) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		if err := f.open(); err != nil {
			if r.Body != nil {
				_ = r.Body.Close() // a RoundTripper closes it, sent or not
			}
			return nil, err
		}
	}
	return f.next.RoundTrip(r)
}

// lead waits for the Lease, only looking meanwhile, and works while it holds it.
func (d *Daemon) lead(ctx context.Context) error {
	// The Lease is given back only when nothing writes any more.
	leaseCtx, giveBack := context.WithCancel(context.WithoutCancel(ctx))
	defer giveBack()
	standbyCtx, stopStandby := context.WithCancel(ctx)
	defer stopStandby()
	standby := make(chan error, 1)
	go func() {
		err := d.work(standbyCtx, "standby", true)
		standby <- err
		if err != nil {
			giveBack() // what cannot look cannot lead
		}
	}()

	worked := make(chan error, 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: d.tenure, LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
		ReleaseOnCancel: true, Name: d.tenure.Describe(),
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(held context.Context) {
				stopStandby()
				if err := <-standby; err != nil { // two loops never run at once
					worked <- err
					giveBack()
					return
				}
				d.parts.Log.Info("leads", zap.String("lease", d.tenure.Describe()))
				workCtx, stop := context.WithCancel(held)
				defer stop()
				defer context.AfterFunc(ctx, stop)()
				worked <- d.work(workCtx, "leader", false)
				giveBack()
			},
			OnStoppedLeading: func() {},
			OnNewLeader: func(identity string) {
				d.mu.Lock()
				d.leader = identity
				waits := d.draining && identity != "" && !d.tenure.ever.Load()
				d.mu.Unlock()
				d.parts.Log.Info("the leader is", zap.String("identity", identity))
				if waits && identity != d.tenure.Identity() {
					d.waiting("the Lease " + d.tenure.Describe() + ", which " + identity + " holds. End every Bellboard of this instance: " +
						"kubectl -n " + d.parts.Settings.OwnNamespace + " scale deployment bellboard --replicas=0")
				}
			},
		},
	})
	if err != nil {
		return err
	}
	// Without the Lease there is nothing to finish when ctx ends.
	defer context.AfterFunc(ctx, func() {
		if !d.tenure.ever.Load() {
			giveBack()
		}
	})()
	elector.Run(leaseCtx)
	stopStandby()
	if !d.tenure.ever.Load() {
		return <-standby
	}
	err = <-worked
	if err == nil && ctx.Err() == nil {
		return ErrLeaseLost
	}
	return err
}
