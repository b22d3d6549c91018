package jenkinssim

import (
	"testing"
	"time"
)

// TestRefusalsWithoutANode: a list of refusals names a deleted node for a while, and an
// executor that another item got in the same round.
func TestRefusalsWithoutANode(t *testing.T) {
	inBubble(t, Config{}, func(h *house) {
		why := func() string { return h.queueNow().Items[0].Why }
		const bs = "‘b1’ is reserved for jobs with matching label expression"
		h.create("b1", "", "linux")
		h.create("gone", "", "linux")
		h.connect("b1", "b1")
		h.Submit(Job{Name: "nothing"})
		time.Sleep(time.Second)
		h.delete("gone")
		time.Sleep(time.Second)
		h.want("just deleted", why(), "gone has been removed from configuration; "+bs)
		time.Sleep(removedFor)
		h.want("later", why(), bs)
	})
	inBubble(t, Config{}, func(h *house) {
		h.create("b1", "", "linux")
		h.create("b2", "", "linux")
		h.create("b3", "", "linux")
		h.Submit(Job{Name: "first", Label: "linux", Duration: time.Hour})
		h.Submit(Job{Name: "second", Label: "linux", Duration: time.Hour})
		time.Sleep(time.Second)
		h.connect("b1", "b1")
		time.Sleep(maintainDelay + startDelay/2)
		h.connect("b2", "b2") // just online: until the next round it counts as offline
		h.want("given away", h.queueNow().Items[0].Why, "Executor slot already in use; ‘b2’ is offline; ‘b3’ is offline")
		time.Sleep(time.Second)
		if n := len(h.queueNow().Items); n != 0 {
			t.Errorf("%d items wait, want none", n)
		}
	})
}
