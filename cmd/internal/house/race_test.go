//go:build race

package house

// The race detector makes a day take several times as long. So it runs only a few days, rows of restarts and
// classes of failure; the run without it has more.
func init() { racing, defaultSeeds, restartStride, classStride = true, 3, 11, 4 }
