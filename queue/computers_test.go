package queue

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bellboard/scaler"
)

// TestComputers: Computers shows the owner and the description of each node, and how many builds are
// hidden. It does so even where Observe would return ErrBlind.
func TestComputers(t *testing.T) {
	const words = "Swarm agent from 10.0.0.1: bellboard instance=bellboard team=web kind=ephemeral"
	client := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Jenkins", "2.568.1")
		w.Header().Set("X-Jenkins-Session", "a63ce597")
		fmt.Fprint(w, `{"_class":"hudson.model.ComputerSet","computer":[
{"_class":"hudson.slaves.SlaveComputer","displayName":"a","description":"`+words+`","absoluteRemotePath":"/x","idle":false,"temporarilyOffline":false,
 "numExecutors":2,"executors":[{"idle":false,"currentExecutable":null},{"idle":false,"currentExecutable":{"_class":"b","url":"u"}}]},
{"_class":"hudson.slaves.SlaveComputer","displayName":"b","description":"somebody's","absoluteRemotePath":null,"idle":true,"temporarilyOffline":false,
 "numExecutors":1,"executors":[{"idle":true,"currentExecutable":null}]}]}`)
	})
	got, err := client.Computers(t.Context())
	want := []Computer{
		{scaler.Node{Name: "a", Team: "web", Kind: scaler.Ephemeral, Online: true, Executors: 2, Busy: 2}, words, 1},
		{scaler.Node{Name: "b", Executors: 1, Idle: true}, "somebody's", 0},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("Computers() = %v, -want +got:\n%s", err, diff)
	}
	broken := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Jenkins", "2.568.1")
		fmt.Fprint(w, `{"_class":"hudson.model.ComputerSet","computer":[`)
	})
	if got, err := broken.Computers(t.Context()); err == nil {
		t.Errorf("a list that is cut short: %v", got)
	}
}
