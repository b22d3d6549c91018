// Command node is what a real machine of a cluster needs beside containerd, in
// one binary built from Go modules alone: the kubelet, and kubectl's cordon,
// uncordon and drain. Bellboard's own tests run it; it is no part of what a user
// installs. The first argument names the command.
//
// It adds nothing to them: each is the upstream command with its own flags.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // the kubelet's client metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // and its build_info
	"k8s.io/kubectl/pkg/cmd/drain"
	"k8s.io/kubectl/pkg/cmd/util"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	name := ""
	if len(os.Args) > 1 {
		os.Args = os.Args[1:] // each command reads its flags from os.Args
		name = os.Args[0]
	}
	switch name {
	case "kubelet":
		os.Exit(cli.Run(kubelet.NewKubeletCommand(context.Background())))
	case "cordon", "uncordon", "drain":
		os.Args = append([]string{"kubectl"}, os.Args...)
		if err := cli.RunNoErrOutput(kubectl()); err != nil {
			util.CheckErr(err)
		}
	default:
		fmt.Fprintf(os.Stderr, "node: no command %q\n", name)
		os.Exit(2)
	}
}

// kubectl is as much of kubectl as is about machines.
func kubectl() *cobra.Command {
	root := &cobra.Command{Use: "kubectl", SilenceUsage: true}
	flags := genericclioptions.NewConfigFlags(true)
	flags.AddFlags(root.PersistentFlags())
	factory := util.NewFactory(util.NewMatchVersionFlags(flags))
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	root.AddCommand(drain.NewCmdCordon(factory, streams), drain.NewCmdUncordon(factory, streams), drain.NewCmdDrain(factory, streams))
	return root
}
