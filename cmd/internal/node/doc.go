// Package node has the tests of agents that really run. pool.Build makes their pods, which run on a real
// containerd and kubelet (cmd/internal/kube), with a real Docker daemon and a small process as the agent. The
// package also has the test of Bellboard's own pods, from its image and deploy/install.yaml. The daemon under
// test is the one that ships. Nothing of the computer is changed. Only tests use the code here.
//
// All of it has the build tag e2enode, and runs in a sandbox: make e2e-node.
package node
