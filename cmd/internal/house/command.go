package house

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// command is what an agent process is told by its pod.
type command struct {
	swarm       bool
	name        string
	secret, key string // name of the Secret that it proves itself with, and its key
	labels      string
	description string
	exclusive   bool
	executors   int
}

// commandOf reads the pod's agent container as the agent itself would: its
// arguments, and which Secret is mounted. A pod that says it wrongly gets an
// agent that cannot connect, here as in a real cluster.
func commandOf(pod *corev1.Pod) command {
	var c command
	var labels []string
	for i := range pod.Spec.Containers {
		k := &pod.Spec.Containers[i]
		if k.Name != "agent" {
			continue
		}
		c.swarm = strings.Contains(strings.Join(k.Command, " "), "swarm")
		for j := 0; j+1 < len(k.Args); j++ {
			value := strings.ReplaceAll(k.Args[j+1], "$$", "$")
			switch k.Args[j] {
			case "-name":
				c.name = value
			case "-labels":
				labels = append(labels, value)
			case "-description":
				c.description = value
			case "-mode":
				c.exclusive = value == "exclusive"
			case "-executors":
				c.executors, _ = strconv.Atoi(value) // what is no number makes an agent that takes nothing
			}
		}
	}
	c.labels = strings.Join(labels, " ")
	for _, v := range pod.Spec.Volumes {
		if v.Secret != nil && len(v.Secret.Items) > 0 {
			c.secret, c.key = v.Secret.SecretName, v.Secret.Items[0].Key
		}
	}
	return c
}
