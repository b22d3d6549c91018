//go:build race

package scaler

// The race detector makes an exploration many times as long, and there is
// nothing in it that races: under it, stories have one fault.
func init() { mostFaults = 1 }
