// Package e2e has the tests of the whole Bellboard on a real Kubernetes control plane (cmd/internal/kube),
// and the conformance test of pool/kubesim. The daemon under test is the one that ships, with the rights of
// its own Role only. Only tests use the code here.
//
// The tests that need the control plane have the build tag e2e. Without that tag the conformance test still
// runs, with kubesim only.
package e2e
