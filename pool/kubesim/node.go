package kubesim

import "fmt"

// A node is where pods run. It has room for any number of them.
type node struct {
	number   int
	name, ip string
	images   map[string]bool // what was pulled there
	pods     int             // given to it and not gone yet
	given    int             // ever, for pods' addresses
}

func makeNodes(n int) []*node {
	out := make([]*node, n)
	for i := range out {
		out[i] = &node{
			number: i + 1,
			name:   fmt.Sprintf("node-%d", i+1),
			ip:     fmt.Sprintf("192.168.0.%d", i+10),
			images: map[string]bool{},
		}
	}
	return out
}
