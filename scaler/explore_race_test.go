//go:build race

package scaler

// Under the race detector an exploration takes many times as long, and nothing in an exploration races. So
// stories have at most one fault under the race detector.
func init() { mostFaults = 1 }
