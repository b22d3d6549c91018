package jenkinssim

import "time"

// measured is how long a real Jenkins 2.568.1 took on two cores shared with its client:
// medians in milliseconds, by nodes and queued items.
var measured = []struct {
	nodes, queued                                           int
	create, secret, readQueue, readComputers, mark, deletes float64
}{
	{10, 0, 8, 4, 2, 6, 6, 8},
	{100, 100, 11, 5, 5, 5, 9, 6},
	{100, 500, 30, 7, 16, 6, 20, 25},
	{300, 500, 144, 8, 19, 12, 78, 142},
	{1000, 0, 8, 4, 3, 63, 12, 8},
	{1000, 100, 145, 6, 10, 71, 84, 68},
	{1000, 1225, 2800, 6, 246, 68, 2800, 30_000},
}

// Seen returns a Config.Latency that is as slow as Jenkins was with as many nodes and queued
// items as counts returns. Between two measurements Seen takes the next larger one. Beyond
// the largest measurement, a read grows with its list, and a write with items times nodes.
func Seen(counts func() (nodes, queued int)) func(op string) time.Duration {
	return func(op string) time.Duration {
		nodes, queued := counts()
		row, beyond := measured[len(measured)-1], true
		for _, m := range measured {
			if m.nodes >= nodes && m.queued >= queued {
				row, beyond = m, false
				break
			}
		}
		items, computers := 1.0, 1.0
		if beyond {
			items, computers = max(1, float64(queued)/float64(row.queued)), max(1, float64(nodes)/float64(row.nodes))
		}
		ms := 4.0
		switch op {
		case "queue":
			ms = row.readQueue * items
		case "computers":
			ms = row.readComputers * computers
		case "secret", "computer", "label":
			ms = row.secret
		case "create":
			ms = row.create * items * computers
		case "mark", "toggle", "disconnect":
			ms = row.mark * items * computers
		case "delete":
			ms = row.deletes * items * computers
		}
		return time.Duration(ms * float64(time.Millisecond))
	}
}
