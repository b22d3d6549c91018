// Package pool turns the scaler's nouns into Kubernetes pods and back, through
// client-go. It promises that a pod is created under a name chosen by the
// caller and counts from then on exactly once, that a deletion hits exactly the
// pod, or the cache slot, that was looked at or nothing, that what belongs to a pod
// (its Secret) goes with it, and that Observe answers with all pods and slots of the
// instance or with an error: "could not see" is never "there is nothing".
//
// It never decides which agent to make or to remove, never deletes anything but
// a pod or a slot it was told to, never changes an object without this instance's label,
// never reads a Secret, and knows nothing of Jenkins but its URL.
package pool

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"

	"bellboard/scaler"
	"bellboard/scaler/clock"
)

const (
	// callTimeout bounds one request, so that an API server that does not answer
	// cannot stop the loop.
	callTimeout = 15 * time.Second
	// A fast clock does not make computers faster: no request gets less than
	// this of the wall's time.
	minCallTimeout = 5 * time.Second
	// startLimit is how long Start waits for the API server.
	startLimit = time.Minute
)

// Config is what a Client is made from.
type Config struct {
	Client   kubernetes.Interface
	Instance string // whose pods these are: the value of LabelInstance
	Specs    []Spec
	Clock    clock.Clock // nil: the machine's
	Log      *zap.Logger // nil: none
	// Requests, if set, is told of each request to the API server: its verb and
	// resource, the HTTP status ("error": no answer) and how long it took.
	Requests func(verb, resource, code string, took time.Duration)
	// Impatient: somebody waits for Start. It ends at once where nobody listens, or where
	// the server's name is not known, which may pass while a daemon waits.
	Impatient bool
}

// Client is the pods of one instance.
type Client struct {
	client   kubernetes.Interface
	instance string
	specs    map[scaler.PoolID]Spec
	clock    clock.Clock
	log      *zap.Logger
	requests func(verb, resource, code string, took time.Duration)
	failFast bool

	followers  []*follower // one per namespace
	slots      []*slots    // likewise
	logsDenied atomic.Bool // it was said that logs may not be read
}

// New checks the configuration, all of it at once. It asks nobody anything.
func New(cfg Config) (*Client, error) {
	p := &Client{
		client: cfg.Client, instance: cfg.Instance, clock: cfg.Clock, log: cfg.Log, requests: cfg.Requests, failFast: cfg.Impatient,
		specs: make(map[scaler.PoolID]Spec, len(cfg.Specs)),
	}
	if p.clock == nil {
		p.clock = clock.Real()
	}
	if p.log == nil {
		p.log = zap.NewNop()
	}
	if p.requests == nil {
		p.requests = func(string, string, string, time.Duration) {}
	}
	var wrong []error
	if cfg.Client == nil {
		wrong = append(wrong, errors.New("no Kubernetes client"))
	}
	if cfg.Instance == "" {
		wrong = append(wrong, errors.New("no instance"))
	}
	if len(cfg.Specs) == 0 {
		wrong = append(wrong, errors.New("no pools"))
	}
	var namespaces []string
	keeps := map[string]bool{} // namespaces in which a pool keeps its cache
	for _, s := range cfg.Specs {
		s = s.withDefaults()
		if _, ok := p.specs[s.PoolID]; ok {
			wrong = append(wrong, fmt.Errorf("%s: given twice", s.name()))
		}
		wrong = append(wrong, s.check(cfg.Instance)...)
		p.specs[s.PoolID] = s
		namespaces = append(namespaces, s.Namespace)
		keeps[s.Namespace] = keeps[s.Namespace] || s.HasClaim()
	}
	if len(wrong) > 0 {
		return nil, fmt.Errorf("pools: %w", errors.Join(wrong...))
	}
	slices.Sort(namespaces)
	for _, ns := range slices.Compact(namespaces) {
		p.followers = append(p.followers, newFollower(p, ns))
		p.slots = append(p.slots, newSlots(p, ns, !keeps[ns]))
	}
	return p, nil
}

// Start begins to follow the pods and slots of every namespace and returns when all of
// them are known, or with the reason why they cannot be. It follows until ctx
// ends; after an error it has stopped. It is called once.
func (p *Client) Start(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	mirrors := make([]*mirror, 0, len(p.followers)+len(p.slots))
	for _, f := range p.followers {
		mirrors = append(mirrors, &f.mirror)
	}
	for _, f := range p.slots {
		mirrors = append(mirrors, &f.mirror)
	}
	failed := make(chan error, len(mirrors))
	var running sync.WaitGroup
	defer func() {
		if err != nil {
			cancel()
			running.Wait()
		}
	}()
	for _, f := range mirrors {
		running.Go(func() { f.run(ctx, failed) })
	}
	limit := make(chan struct{})
	stop := p.clock.AfterFunc(startLimit, func() { close(limit) })
	defer stop()
	return synced(ctx, mirrors, failed, limit)
}

// Why says what keeps Start waiting, as far as the API server has told; nil: nothing yet.
func (p *Client) Why() error {
	for _, f := range p.followers {
		f.mu.Lock()
		err := f.err
		f.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

func synced(ctx context.Context, mirrors []*mirror, failed <-chan error, limit <-chan struct{}) error {
	for _, f := range mirrors {
		select {
		case <-f.first:
		case err := <-failed:
			return err
		case <-limit:
			return fmt.Errorf("follow %s in %s: no list within %s: %w", f.resource, f.ns, startLimit, f.lastError())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// spec is how a pool's pods are made.
func (p *Client) spec(id scaler.PoolID) (Spec, error) {
	s, ok := p.specs[id]
	if !ok {
		return Spec{}, fmt.Errorf("no %s agents are configured for team %s", id.Kind, id.Team)
	}
	return s, nil
}

// follower is the one of a namespace, or nil.
func (p *Client) follower(ns string) *follower {
	for _, f := range p.followers {
		if f.ns == ns {
			return f
		}
	}
	return nil
}

// call makes one request in bounded time and counts it.
func (p *Client) call(ctx context.Context, verb, resource string, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, max(p.clock.Wall(callTimeout), minCallTimeout))
	defer cancel()
	began := p.clock.Now()
	err := do(ctx)
	p.asked(verb, resource, began, err)
	return err
}

// asked counts a request. One that was not sent, being late, is none.
func (p *Client) asked(verb, resource string, began time.Time, err error) {
	code := "200"
	var status apierrors.APIStatus
	switch {
	case errors.Is(err, scaler.ErrLate):
		return
	case errors.As(err, &status):
		code = strconv.Itoa(int(status.Status().Code))
	case err != nil:
		code = "error"
	case verb == "create":
		code = strconv.Itoa(http.StatusCreated)
	}
	p.requests(verb, resource, code, p.clock.Now().Sub(began))
}
