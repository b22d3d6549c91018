//go:build race

package house

// The race detector makes a day several times as long: under it a few days are
// played for its own sake, and more of them without it. So with the
// restarts and the classes of failure.
func init() { racing, defaultSeeds, restartStride, classStride = true, 3, 11, 4 }
