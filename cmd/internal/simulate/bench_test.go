package simulate

import "testing"

// BenchmarkReplay measures how long a build takes to be replayed.
func BenchmarkReplay(b *testing.B) {
	h, err := Generate(FanOut, 60, 1)
	if err != nil {
		b.Fatal(err)
	}
	for _, mode := range []string{"ephemeral", "persistent", "auto"} {
		b.Run(mode, func(b *testing.B) {
			p, err := Bellboard(mode, "MODE="+mode)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				r, err := Replay(h, Cold(), p)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(r.Looks)/float64(len(h.Builds)), "looks/build")
				b.ReportMetric(float64(r.Took.Nanoseconds())/float64(len(h.Builds)), "ns/build")
				b.ReportMetric(float64(r.Took.Nanoseconds())/float64(r.Looks), "ns/look")
			}
		})
	}
}
