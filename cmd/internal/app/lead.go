package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	typedcoordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"bellboard/scaler"
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

// lease is the client by which the lock of client-go reads and writes the Lease. It notes what this replica
// knows of the Lease.
type lease struct {
	typedcoordinationv1.LeaseInterface // of Bellboard's own namespace

	lock    *resourcelock.LeaseLock
	renewed atomic.Pointer[moment] // when this replica sent its last successful renewal; nil: it does not hold the Lease
	seen    atomic.Value           // the types.UID of the Lease, once this replica has held it
}

// moment is a time by both clocks. The wall clock may be set back, and the monotonic clock stands still while
// the computer sleeps.
type moment struct{ wall, mono time.Time }

func now() *moment {
	t := time.Now()
	return &moment{wall: t.Round(0), mono: t}
}

// leaseName returns the name of an instance's Lease, on which the instance's events are, too.
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
	host, _ := os.Hostname() // for people; the number alone tells replicas apart
	l := &lease{LeaseInterface: client.CoordinationV1().Leases(p.Settings.OwnNamespace)}
	l.lock = &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: p.Settings.OwnNamespace, Name: leaseName(p.Settings.Instance)},
		Client:     l,
		LockConfig: resourcelock.ResourceLockConfig{Identity: cmp.Or(p.Identity, host+"_"+uuid.NewString())},
	}
	return l, nil
}

// Leases returns the client that the lock uses.
func (l *lease) Leases(string) typedcoordinationv1.LeaseInterface { return l }

// Get reads the Lease. If another replica holds it, this replica writes nothing from then on.
func (l *lease) Get(ctx context.Context, name string, o metav1.GetOptions) (*coordinationv1.Lease, error) {
	answer, err := l.LeaseInterface.Get(ctx, name, o)
	if err == nil && !l.mine(answer) {
		l.renewed.Store(nil)
	}
	return answer, err
}

// Create makes the Lease.
func (l *lease) Create(ctx context.Context, to *coordinationv1.Lease, o metav1.CreateOptions) (*coordinationv1.Lease, error) {
	return l.renew(l.mine(to), func() (*coordinationv1.Lease, error) { return l.LeaseInterface.Create(ctx, to, o) })
}

// Update renews the Lease or gives it back.
func (l *lease) Update(ctx context.Context, to *coordinationv1.Lease, o metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	return l.renew(l.mine(to), func() (*coordinationv1.Lease, error) { return l.LeaseInterface.Update(ctx, to, o) })
}

// renew notes when a renewal was sent, if it succeeds: the time of this replica counts from there, not from
// the answer.
func (l *lease) renew(keep bool, send func() (*coordinationv1.Lease, error)) (*coordinationv1.Lease, error) {
	sent := now()
	if !keep {
		l.renewed.Store(nil) // this replica gives the Lease back
		return send()
	}
	answer, err := send()
	if err == nil {
		l.renewed.Store(sent)
		l.seen.Store(answer.UID)
	}
	return answer, err
}

// mine reports whether this replica holds the Lease.
func (l *lease) mine(is *coordinationv1.Lease) bool {
	return resourcelock.LeaseSpecToLeaderElectionRecord(&is.Spec).HolderIdentity == l.lock.Identity()
}

// uid returns the UID of the Lease; "" if it is not known, or if there is no Lease. A Lease that was deleted
// and made again has another UID, and kubectl describe shows only the events with the UID of the object.
func (l *lease) uid() types.UID {
	if l == nil {
		return ""
	}
	uid, _ := l.seen.Load().(types.UID)
	return uid
}

// Holder reads which replica holds the Lease; "" is none. The error is of a NotFound if there is no Lease: a
// replica that has led leaves its Lease behind.
func (d *Daemon) Holder(ctx context.Context) (string, error) {
	r, _, err := d.lease.lock.Get(ctx)
	if err != nil {
		return "", fmt.Errorf("reading the Lease %s: %w", d.lease.lock.Describe(), err)
	}
	return r.HolderIdentity, nil
}

// valid returns nil while no other replica can hold the Lease. The clock that has counted more decides.
func (l *lease) valid() error {
	n := now()
	switch sent := l.renewed.Load(); {
	case sent == nil:
		return fmt.Errorf("this replica does not hold the Lease: %w", scaler.ErrExpired)
	case max(n.wall.Sub(sent.wall), n.mono.Sub(sent.mono)) > renewDeadline:
		return fmt.Errorf("this replica did not renew the Lease in time: %w", scaler.ErrExpired)
	}
	return nil
}

// writeGate rejects each write while another replica may hold the Lease. The gate is the last thing before
// the network: a process that was stopped and wakes still takes itself for the leader.
func (l *lease) writeGate(next http.RoundTripper) http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			return next.RoundTrip(r)
		}
		if err := l.valid(); err != nil {
			if r.Body != nil {
				_ = r.Body.Close() // a RoundTripper closes the body, also of a request that it does not send
			}
			return nil, err
		}
		return next.RoundTrip(r)
	})
}

// lead only reads until this replica has the Lease, and then works while this replica holds the Lease.
func (d *Daemon) lead(ctx context.Context) error {
	lock := d.lease.lock
	standby, stopStandby := context.WithCancel(ctx)
	defer stopStandby()
	work, stopWork := context.WithCancel(ctx) // ends when this replica loses the Lease
	defer stopWork()
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
		ReleaseOnCancel: true, Name: lock.Describe(),
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { stopStandby() },
			OnStoppedLeading: stopWork,
			OnNewLeader: func(identity string) {
				d.mu.Lock()
				d.replica.Leader = identity
				role := d.replica.Role
				d.mu.Unlock()
				d.parts.Log.Info("the leader is", zap.String("identity", identity))
				if d.draining.Load() && role != roleLeader && identity != "" && identity != lock.Identity() {
					d.parts.Waiting("the Lease " + lock.Describe() + ", which " + identity + " holds. End every Bellboard of this instance: " +
						"kubectl -n " + d.parts.Settings.OwnNamespace + " scale deployment bellboard --replicas=0")
				}
			},
		},
	})
	if err != nil {
		return err
	}
	// The Lease is given back only when nothing writes any more, also after an error.
	election, giveBack := context.WithCancel(context.WithoutCancel(ctx))
	var electing sync.WaitGroup
	electing.Go(func() { elector.Run(election) })
	defer electing.Wait()
	defer giveBack()

	if err := d.work(standby, roleStandby); err != nil || ctx.Err() != nil {
		return err
	}
	d.parts.Log.Info("this replica leads", zap.String("lease", lock.Describe()))
	if err := d.work(work, roleLeader); err != nil || ctx.Err() != nil {
		return err
	}
	return ErrLeaseLost
}
