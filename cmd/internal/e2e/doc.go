// Package e2e has the tests of the whole Bellboard on a real Kubernetes control plane (cmd/internal/kube),
// and the conformance test of pool/kubesim. The daemon under test is the one that ships, with the rights of
// its own Role only. Only tests use the code here.
//
// Nothing in that control plane runs containers. In most tests kwok says of every pod that it runs, and each
// daemon is a process that the test starts. In TestChart (make e2e-install) the type kubelet of this package
// stands for a real kubelet: it runs the daemon's own pods as processes, with what their specs say and
// nothing else. So that test proves what the chart renders and grants. It proves nothing about images or
// containers, as make e2e-node does on a real kubelet, and nothing about NetworkPolicies. Agents are always
// simulated.
//
// The tests that need the control plane have the build tag e2e. Without that tag the conformance test still
// runs, with kubesim only.
package e2e
