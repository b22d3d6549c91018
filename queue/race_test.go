//go:build race

package queue

// Under the race detector the same text takes more memory to read.
func init() { mostAllocated *= 2 }
