//go:build e2enode

package node

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ours is the grace period that Bellboard gives a pod that it deletes. For a pod whose first deletion is
// older the API server shortens it.
const ours = 2

// connect serves one connection of an agent, from its hello to its end.
func (h *home) connect(w http.ResponseWriter, r *http.Request) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	if _, err := rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: agent\r\n\r\n"); err != nil || rw.Flush() != nil {
		return
	}
	h.attend(context.WithoutCancel(r.Context()), conn, rw.Reader)
}

func (h *home) attend(ctx context.Context, conn net.Conn, r *bufio.Reader) {
	receive := json.NewDecoder(r)
	var hi hello
	if receive.Decode(&hi) != nil {
		return
	}
	if h.slow && !h.shown(ctx, hi.Name) {
		return
	}
	ch, err := h.jenkins.Connect(hi.Name, hi.Secret, hi.Host)
	if err != nil {
		return // the agent comes again
	}
	h.mu.Lock()
	h.hellos[hi.Name] = hi
	h.mu.Unlock()
	over := make(chan struct{})
	go h.orderOn(hi.Name, json.NewEncoder(conn), over)
	go func() {
		<-ch.Done() // Jenkins ends it
		_ = conn.Close()
	}()
	for {
		var re report
		if receive.Decode(&re) != nil {
			break
		}
		h.mu.Lock()
		b := h.running[re.ID]
		delete(h.running, re.ID)
		h.mu.Unlock()
		if b != nil {
			b.ended <- re
		}
	}
	close(over)
	h.mu.Lock()
	h.cuts[hi.Name] = time.Now()
	h.mu.Unlock()
	by := "somebody"
	if p, err := h.k.CoreV1().Pods(h.ns).Get(ctx, hi.Name, metav1.GetOptions{}); err == nil && p.DeletionGracePeriodSeconds != nil && *p.DeletionGracePeriodSeconds <= ours {
		by = "bellboard"
	}
	ch.Close(by)
}

// shown waits, for a minute at most, until the agent's pod is reported running.
func (h *home) shown(ctx context.Context, name string) bool {
	for range 60 {
		p, err := h.k.CoreV1().Pods(h.ns).Get(ctx, name, metav1.GetOptions{})
		time.Sleep(time.Second) // after it, too: Bellboard hears of it as well
		if err == nil && len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].State.Running != nil {
			return true
		}
	}
	return false
}

// orderOn sends the agent its script after Jenkins has given it a build.
func (h *home) orderOn(name string, send *json.Encoder, over <-chan struct{}) {
	for ordered := -1; ; { // by how many builds were over on it: the next may follow at once
		select {
		case <-over:
			return
		case <-time.After(50 * time.Millisecond):
		}
		busy, ended, labels := false, 0, ""
		for _, n := range h.jenkins.NodesList() {
			if n.Name == name {
				busy, labels = n.Busy > 0, n.Labels
			}
		}
		for _, b := range h.jenkins.Builds() {
			if b.Node == name {
				ended++
			}
		}
		if !busy || ended == ordered {
			continue
		}
		h.mu.Lock()
		at := slices.IndexFunc(h.waiting, func(b *build) bool { return slices.Contains(strings.Fields(labels), b.job.Label) })
		if at < 0 {
			h.mu.Unlock()
			continue
		}
		b := h.waiting[at]
		h.waiting = slices.Delete(h.waiting, at, at+1)
		h.orders++
		ordered = ended
		o := order{ID: h.orders, Script: b.script}
		h.running[o.ID] = b
		h.mu.Unlock()
		b.began <- name
		_ = send.Encode(o) // a connection that ends is seen by its reader
	}
}

// cutAt returns the end of the agent's connection, zero while it lasts.
func (h *home) cutAt(name string) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cuts[name]
}

// hello returns the agent's last hello, empty if there was none.
func (h *home) hello(name string) hello {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.hellos[name]
}
