// Command node is what a real machine of a cluster needs beside containerd, and
// the person before it, in one binary built from Go modules alone: the kubelet
// and kubectl. Bellboard's own tests run it; it is no part of what a user
// installs. The first argument names the command, or the name it is called by
// does (a symlink).
//
// It adds nothing to them: each is the upstream command with its own flags.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // the kubelet's client metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // and its build_info
	kubectl "k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	name := filepath.Base(os.Args[0])
	if name != "kubectl" && len(os.Args) > 1 {
		os.Args = os.Args[1:] // each command reads its flags from os.Args
		name = os.Args[0]
	}
	switch name {
	case "kubelet":
		os.Exit(cli.Run(kubelet.NewKubeletCommand(context.Background())))
	case "kubectl":
		if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
			util.CheckErr(err)
		}
	default:
		fmt.Fprintf(os.Stderr, "node: no command %q\n", name)
		os.Exit(2)
	}
}
