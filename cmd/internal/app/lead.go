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

// The times of the Lease, in wall time as the Lease has them. Another replica takes the Lease after it has
// seen no renewal for leaseDuration. The leader stops writing renewDeadline after it sent its last renewal,
// which is five seconds earlier.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// ErrLeaseLost ends a daemon that led and leads no more. The daemon has to start again.
var ErrLeaseLost = errors.New("this replica has lost the Lease")

// lease is the Lease, with what this replica knows of it.
type lease struct {
	resourcelock.Interface

	renewed atomic.Pointer[moment] // when this replica sent its last successful renewal; nil: it does not hold the Lease
	ever    atomic.Bool            // this replica has held the Lease at least once
	seen    atomic.Value           // the types.UID of the Lease, once that is known
}

// moment is a time by both clocks. The wall clock may be set back, and the monotonic clock stands still while
// the computer sleeps.
type moment struct{ wall, mono time.Time }

func now() *moment {
	t := time.Now()
	return &moment{wall: t.Round(0), mono: t}
}

// age returns the time since the moment, by the clock that has counted more.
func (m *moment) age() time.Duration {
	n := now()
	return max(n.wall.Sub(m.wall), n.mono.Sub(m.mono))
}

// leaseName returns the name of an instance's Lease, to which the instance's events belong, too.
func leaseName(instance string) string { return "bellboard-" + instance }

// newLease prepares the Lease of the instance, in Bellboard's own namespace. The Lease has its own client:
// its requests do not pass the write gate, which depends on them.
func newLease(p Parts) (*lease, error) {
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
	l := &lease{}
	l.Interface = &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: p.Settings.OwnNamespace, Name: leaseName(p.Settings.Instance)},
		Client:     leases{client.CoordinationV1().Leases(p.Settings.OwnNamespace), &l.seen},
		LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
	}
	return l, nil
}

// leases notes the UID of the Lease. A Lease that was deleted and made again has another UID, and kubectl
// describe shows only the events with the UID of the object.
type leases struct {
	typedcoordinationv1.LeaseInterface

	seen *atomic.Value
}

// Leases returns the Leases of Bellboard's own namespace.
func (l leases) Leases(string) typedcoordinationv1.LeaseInterface { return l }

// Get notes the UID of the Lease that it reads.
func (l leases) Get(ctx context.Context, name string, o metav1.GetOptions) (*coordinationv1.Lease, error) {
	return l.note(l.LeaseInterface.Get(ctx, name, o))
}

// Create notes the UID of the Lease that it makes.
func (l leases) Create(ctx context.Context, made *coordinationv1.Lease, o metav1.CreateOptions) (*coordinationv1.Lease, error) {
	return l.note(l.LeaseInterface.Create(ctx, made, o))
}

func (l leases) note(answer *coordinationv1.Lease, err error) (*coordinationv1.Lease, error) {
	if err == nil {
		l.seen.Store(answer.UID)
	}
	return answer, err
}

// uid returns the UID of the Lease; "" if it is not known, or if there is no Lease.
func (l *lease) uid() types.UID {
	if l == nil {
		return ""
	}
	uid, _ := l.seen.Load().(types.UID)
	return uid
}

// Get reads the Lease. If another replica holds it, this replica writes nothing from then on.
func (l *lease) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	r, raw, err := l.Interface.Get(ctx)
	if err == nil && r.HolderIdentity != l.Identity() {
		l.renewed.Store(nil)
	}
	return r, raw, err
}

// Holder reads which other replica holds the Lease; "" is none. there is false if there is no Lease at all: a
// replica that has led leaves its Lease behind.
func (d *Daemon) Holder(ctx context.Context) (holder string, there bool, err error) {
	r, _, err := d.lease.Interface.Get(ctx)
	switch {
	case apierrors.IsNotFound(err):
		return "", false, nil
	case err != nil:
		return "", false, fmt.Errorf("reading the Lease %s: %w", d.lease.Describe(), err)
	case r.HolderIdentity == d.lease.Identity():
		return "", true, nil
	}
	return r.HolderIdentity, true, nil
}

// Create makes the Lease.
func (l *lease) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return l.renew(r, func() error { return l.Interface.Create(ctx, r) })
}

// Update renews the Lease or gives it back.
func (l *lease) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return l.renew(r, func() error { return l.Interface.Update(ctx, r) })
}

// renew notes when a renewal was sent, if it succeeds: the time of this replica counts from there, not from
// the answer.
func (l *lease) renew(r resourcelock.LeaderElectionRecord, send func() error) error {
	sent := now()
	if r.HolderIdentity != l.Identity() {
		l.renewed.Store(nil) // this replica gives the Lease back
		return send()
	}
	err := send()
	if err == nil {
		l.renewed.Store(sent)
		l.ever.Store(true)
	}
	return err
}

// valid returns nil while no other replica can hold the Lease.
func (l *lease) valid() error {
	switch sent := l.renewed.Load(); {
	case sent == nil:
		return fmt.Errorf("this replica does not hold the Lease: %w", scaler.ErrExpired)
	case sent.age() > renewDeadline:
		return fmt.Errorf("this replica did not renew the Lease in time: %w", scaler.ErrExpired)
	}
	return nil
}

// writeGate rejects each write for which open returns an error. The gate is the last thing before the
// network: a process that was stopped and wakes still takes itself for the leader.
type writeGate struct {
	next http.RoundTripper
	open func() error
}

func (g writeGate) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		if err := g.open(); err != nil {
			if r.Body != nil {
				_ = r.Body.Close() // a RoundTripper closes the body, also of a request that it does not send
			}
			return nil, err
		}
	}
	return g.next.RoundTrip(r)
}

// lead only reads until this replica has the Lease, and then works while this replica holds the Lease.
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
			giveBack() // a replica that cannot read cannot lead
		}
	}()

	worked := make(chan error, 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: d.lease, LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
		ReleaseOnCancel: true, Name: d.lease.Describe(),
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(held context.Context) {
				defer giveBack()
				stopStandby()
				if err := <-standby; err != nil { // two loops never run at once
					worked <- err
					return
				}
				d.parts.Log.Info("this replica leads", zap.String("lease", d.lease.Describe()))
				workCtx, stop := context.WithCancel(held)
				defer stop()
				defer context.AfterFunc(ctx, stop)()
				worked <- d.work(workCtx, "leader", false)
			},
			OnStoppedLeading: func() {},
			OnNewLeader: func(identity string) {
				d.mu.Lock()
				d.leader = identity
				waits := d.draining && identity != "" && !d.lease.ever.Load()
				d.mu.Unlock()
				d.parts.Log.Info("the leader is", zap.String("identity", identity))
				if waits && identity != d.lease.Identity() {
					d.waiting("the Lease " + d.lease.Describe() + ", which " + identity + " holds. End every Bellboard of this instance: " +
						"kubectl -n " + d.parts.Settings.OwnNamespace + " scale deployment bellboard --replicas=0")
				}
			},
		},
	})
	if err != nil {
		return err
	}
	// A replica that has never led has nothing to end when ctx ends.
	defer context.AfterFunc(ctx, func() {
		if !d.lease.ever.Load() {
			giveBack()
		}
	})()
	elector.Run(leaseCtx)
	stopStandby()
	if !d.lease.ever.Load() {
		return <-standby
	}
	err = <-worked
	if err == nil && ctx.Err() == nil {
		return ErrLeaseLost
	}
	return err
}
