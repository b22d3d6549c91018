package kubesim

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/watch"
)

// bookmarkEvery is how often a real server sends a bookmark, about.
const bookmarkEvery = time.Minute

// A watcher is one open watch. A watcher has no queue: it reads the history of its table
// from where it stands. If the history has forgotten that place, the version is too old.
type watcher struct {
	*filter
	wake  chan struct{}
	shown func(o object) []byte // an object as the client wants it: the JSON of a table; nil: as it is

	// guarded by Cluster.mu
	next      uint64 // the number of the next change to send
	sent      uint64 // the version up to which the client knows
	bookmarks bool
	bookmark  bool // a bookmark is due
	timedOut  bool
	cut       bool
}

func (w *watcher) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (c *Cluster) watch(rw http.ResponseWriter, r *http.Request, q *call) {
	query := r.URL.Query()
	f, err := newFilter(q, query)
	if err == nil {
		err = checkInitial(query.Get("sendInitialEvents"), query.Get("resourceVersionMatch"))
	}
	if err != nil {
		fail(rw, err)
		return
	}
	t := c.table(q.kind)
	w := &watcher{filter: f, wake: make(chan struct{}, 1), bookmarks: isTrue(query.Get("allowWatchBookmarks"))}
	if q.table {
		w.shown = func(o object) []byte {
			return c.asTable(q, metav1.ListMeta{ResourceVersion: o.GetResourceVersion()}, o)
		}
	}

	c.mu.Lock()
	first, err := c.begin(t, w, query.Get("resourceVersion"), query.Get("sendInitialEvents"))
	if err != nil {
		c.mu.Unlock()
		fail(rw, err)
		return
	}
	t.watchers[w] = struct{}{}
	w.cut = c.closed || c.clock.Now().Before(c.cutUntil)
	w.poke()
	var timeout, ticks *timer
	if s, _ := strconv.ParseInt(query.Get("timeoutSeconds"), 10, 64); s > 0 {
		timeout = c.after(time.Duration(s)*time.Second, func() { w.timedOut = true; w.poke() })
	}
	if w.bookmarks {
		var tick func()
		tick = func() {
			w.bookmark = true
			w.poke()
			ticks = c.after(bookmarkEvery, tick)
		}
		ticks = c.after(bookmarkEvery, tick)
	}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(t.watchers, w)
		c.cancel(timeout)
		c.cancel(ticks)
		c.mu.Unlock()
	}()

	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(http.StatusOK)
	flusher := http.NewResponseController(rw)
	for out, end, cut := first, false, false; ; {
		if len(out) > 0 {
			if _, err := rw.Write(out); err != nil {
				return
			}
		}
		if flusher.Flush() != nil || end {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-w.wake:
		}
		c.mu.Lock()
		out, end = c.collect(t, w)
		cut = w.cut
		c.mu.Unlock()
		if cut {
			panic(http.ErrAbortHandler)
		}
	}
}

// checkInitial rejects a streamed list that is not asked for with exactly these options.
func checkInitial(initial, match string) error {
	want := ""
	if initial != "" {
		want = string(metav1.ResourceVersionMatchNotOlderThan)
	}
	if match == want {
		return nil
	}
	return apierrors.NewInvalid(metav1.SchemeGroupVersion.WithKind("ListOptions").GroupKind(), "", field.ErrorList{
		field.Forbidden(field.NewPath("resourceVersionMatch"), "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan, and nothing else does"),
	})
}

// begin sets where a watch starts, and returns what the watch sends first.
func (c *Cluster) begin(t *table, w *watcher, version, initial string) ([]byte, error) {
	w.next = t.first + uint64(len(t.history))
	w.sent = c.rv
	stream := isTrue(initial)
	rv, _ := strconv.ParseUint(version, 10, 64)
	if stream {
		if err := c.notTooNew(version); err != nil {
			return nil, err
		}
	}
	// Without a version a watch opens with all objects, as if they were just added.
	if stream || (initial == "" && rv == 0) {
		var out []byte
		for _, e := range t.sorted(w.ns) {
			if w.passes(e.obj) {
				out = w.event(out, watch.Added, t.kind, e)
			}
		}
		if stream && w.bookmarks {
			out = appendBookmark(out, t.kind, c.rv, true)
		}
		return out, nil
	}
	if rv == 0 {
		return nil, nil
	}
	w.sent = rv
	w.next = t.first
	if rv < t.forgot {
		// A real server opens the stream too before it says so.
		w.timedOut = true
		return appendExpired(nil, rv, t.forgot), nil
	}
	for _, ch := range t.history {
		if ch.rv > rv {
			break
		}
		w.next++
	}
	return nil, nil
}

// collect returns the changes that a watcher has not sent, and whether the watch ends.
func (c *Cluster) collect(t *table, w *watcher) (out []byte, end bool) {
	if w.timedOut {
		return nil, true
	}
	if w.next < t.first {
		return appendExpired(nil, w.sent, t.forgot), true
	}
	for _, ch := range t.history[w.next-t.first:] {
		out = w.append(out, t.kind, ch)
	}
	w.next = t.first + uint64(len(t.history))
	if len(out) > 0 || !w.bookmark {
		if len(out) > 0 {
			w.sent = c.rv
		}
		return out, false
	}
	w.bookmark = false
	if w.sent < c.rv {
		w.sent = c.rv
		out = appendBookmark(out, t.kind, c.rv, false)
	}
	return out, false
}

// append adds a change as this watcher sees it. An object that comes to match the selector
// was added, and an object that ceases to match was deleted.
func (w *watcher) append(out []byte, k *kind, ch change) []byte {
	now := ch.typ != watch.Deleted && w.passes(ch.now.obj)
	was := ch.was != nil && w.passes(ch.was.obj)
	switch {
	case now && was:
		return w.event(out, watch.Modified, k, ch.now)
	case now:
		return w.event(out, watch.Added, k, ch.now)
	case was && ch.typ == watch.Deleted:
		return w.event(out, watch.Deleted, k, ch.now)
	case was:
		// The client gets the object as it knows it, with the version of the change.
		old := as[object](ch.was.obj.DeepCopyObject())
		old.SetResourceVersion(strconv.FormatUint(ch.rv, 10))
		return w.event(out, watch.Deleted, k, &entry{obj: old})
	}
	return out
}

// event adds an event about one version of an object.
func (w *watcher) event(out []byte, typ watch.EventType, k *kind, e *entry) []byte {
	if w.shown == nil {
		return appendEvent(out, typ, k, e.json())
	}
	return fmt.Appendf(out, `{"type":"%s","object":%s}`+"\n", typ, w.shown(e.obj))
}

func appendEvent(out []byte, typ watch.EventType, k *kind, body []byte) []byte {
	out = append(out, `{"type":"`...)
	out = append(out, typ...)
	out = append(out, `","object":`...)
	out = append(out, k.head()...)
	out = append(out, body[1:]...)
	return append(out, "}\n"...)
}

func appendBookmark(out []byte, k *kind, rv uint64, initial bool) []byte {
	note := ""
	if initial {
		note = `,"annotations":{"` + metav1.InitialEventsAnnotationKey + `":"true"}`
	}
	body := fmt.Sprintf(`{"metadata":{"resourceVersion":"%d"%s}}`, rv, note)
	return appendEvent(out, watch.Bookmark, k, []byte(body))
}

func appendExpired(out []byte, rv, oldest uint64) []byte {
	msg := fmt.Sprintf("too old resource version: %d (%d)", rv, oldest)
	return fmt.Appendf(out,
		`{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":%q,"reason":"Expired","code":410}}`+"\n", msg)
}

// cutWatches breaks the connection of every watch.
func (c *Cluster) cutWatches() {
	for _, t := range c.tables {
		for w := range t.watchers {
			w.cut = true
			w.poke()
		}
	}
}
