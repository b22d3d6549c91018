// Package simulate replays a history of builds against the real decision of Bellboard, and against policies of
// other tools. It answers what each policy would have paid, and how long builds would have waited.
//
// A replay is a simulation by discrete events in virtual time. Time is counted in whole milliseconds, so that
// every sum is exact: the paid time of all agents is the time in which they start, work, are free and leave.
// The same history, scenario and seed give the same digits on every machine. All policies meet the same
// arrivals, the same start-ups and the same dispatch.
//
// The package does no I/O but to read a history, and never asks Jenkins or Kubernetes.
package simulate
