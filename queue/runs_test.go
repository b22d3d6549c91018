package queue

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bellboard/scaler"
)

// TestRuns checks that the builds on all executors are read, with their jobs: of foreign nodes too, and several of one
// node.
func TestRuns(t *testing.T) {
	m := &memory{}
	node := func(name, executors string) string {
		return `{"_class":"hudson.slaves.SlaveComputer","displayName":"` + name + `","idle":false,"temporarilyOffline":false,"executors":[` + executors + `]}`
	}
	const flight = `{"idle":false,"currentExecutable":{"_class":"x","url":"http://h/job/folder/job/pipe/7/"}}`
	answer := `{"_class":"hudson.model.ComputerSet","computer":[` + node("static", flight+`,{"idle":true,"currentExecutable":null},`+
		`{"idle":false,"currentExecutable":{"_class":"x","url":"http://h/job/app/1/"}}`) + `,` + node("hidden", `{"idle":false,"currentExecutable":null}`) + `]}`
	for range 2 { // the second answer begins anew
		if _, _, err := m.nodes(strings.NewReader(answer), "bellboard"); err != nil {
			t.Fatal(err)
		}
	}
	want := []scaler.Run{{Node: "static", Job: "folder/pipe", URL: "http://h/job/folder/job/pipe/7/"}, {Node: "static", Job: "app", URL: "http://h/job/app/1/"}}
	if diff := cmp.Diff(want, m.runs); diff != "" {
		t.Error(diff)
	}
}

// TestSinceTheQuietPeriod checks that an item waits since its quiet period was over.
func TestSinceTheQuietPeriod(t *testing.T) {
	m := &memory{}
	items, err := m.items(strings.NewReader(`{"_class":"hudson.model.Queue","items":[`+
		`{"_class":"hudson.model.Queue$BuildableItem","id":1,"inQueueSince":1000,"buildableStartMilliseconds":6000,"task":{"url":"job/a/"}},`+
		`{"_class":"hudson.model.Queue$WaitingItem","id":2,"inQueueSince":2000,"task":{"url":"job/a/"}}]}`), nil)
	if err != nil || !items[0].Since.Equal(time.UnixMilli(6000)) || !items[1].Since.Equal(time.UnixMilli(2000)) {
		t.Errorf("%v: %+v", err, items)
	}
}
