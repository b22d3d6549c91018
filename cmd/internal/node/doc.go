// Package node holds the tests of agents that really run: pods as pool.Build
// makes them, on a real containerd and kubelet (cmd/internal/kube), with a real
// Docker daemon in them and a small process that plays the agent; and the test of
// Bellboard's own pods, from its image and deploy/install.yaml. It promises
// that the daemon under test is the one that ships and that nothing of the
// machine is changed; it holds no code that anything but its tests uses.
//
// All of it is built with the tag e2enode and runs in a sandbox: make e2e-node.
package node
