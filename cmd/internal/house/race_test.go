//go:build race

package house

// The race detector makes a day take several times as long. So it runs only a few days and rows of
// restarts; the run without it has more.
func init() { racing, defaultSeeds, restartStride = true, 3, 11 }
