package main

import (
	"strings"
	"testing"

	"bellboard/scaler"
)

// A slot that goes is named, not the pool that it was of.
func TestPlanNamesSlots(t *testing.T) {
	var out strings.Builder
	err := printPlan(&out, scaler.Tick{Plan: scaler.Plan{Actions: []scaler.Action{
		{Verb: scaler.DeleteSlot, Pool: scaler.PoolID{Team: "data", Kind: scaler.Persistent}, Text: "unused for 168h", Slot: &scaler.Slot{Name: "data-cache-1"}},
		{Verb: scaler.Register, Pool: scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}, Text: "keeps its labels"},
	}}}, "table")
	if err == nil {
		t.Error("something would change, and it says nothing of it")
	}
	for _, want := range []string{"delete-slot  data-cache-1", "unused for 168h", "web ephemeral"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
}
