//go:build race

package queue

// The race detector needs more memory for the same answer.
func init() { mostAllocated *= 2 }
