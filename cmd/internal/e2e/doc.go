// Package e2e holds the tests of the whole of Bellboard against a real
// Kubernetes control plane (cmd/internal/kube), and the conformance test that
// keeps pool/kubesim honest. It promises that the daemon under test is the one
// that ships, with no rights but those of its own Role; it holds no code that
// anything but its tests uses.
//
// What needs the control plane is built with the tag e2e. Without it the
// conformance test still runs, against kubesim alone.
package e2e
