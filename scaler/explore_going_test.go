package scaler

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestGoingIsNotOpened: a queued build may name an agent whose pod Bellboard has already deleted. The
// exploration found that the build would start there in the seconds of the pod's grace, and die with the pod.
// So no mark and no fence goes until the pod is gone.
func TestGoingIsNotOpened(t *testing.T) {
	tests := []struct {
		name string
		pair Pair
		want Verdict
	}{
		{"our mark stays", pairOf(deletingByUs, ours, seen, pinned), Verdict{Class: Awaited}},
		{"the hook's mark stays", pairOf(deletingByUs, hook, pinned), Verdict{Class: Awaited}},
		{"the fence stays", pairOf(swarm, deletingByUs, fence, pinned), Verdict{Class: Awaited}},
		{"unmarked, nothing is done either", pairOf(deletingByUs, pinned), Verdict{Class: Awaited}},
		{"others leave it minutes: opened", pairOf(deleting, ours, seen, pinned), Verdict{Class: Resuming, Do: ClearMark, Reason: ReasonResume}},
		{"its pod is gone: opened", pairOf(noPod, offline, ours, pinned), Verdict{Class: Resuming, Do: ClearMark, Reason: ReasonResume}},
		{"its pod is gone: the fence goes", pairOf(noPod, fence, pinned), Verdict{Class: FenceInTheWay, Do: DeleteNode, Reason: ReasonResume}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Classify(tt.pair, noon)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
