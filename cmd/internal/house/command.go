package house

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// command has what a pod tells its agent process.
type command struct {
	swarm       bool
	name        string
	secret, key string // the Secret of the agent, and its key
	labels      string
	description string
	exclusive   bool
	executors   int
}

// commandOf reads the arguments and the mounted Secret of the pod's agent container, as the agent does. With
// a wrong pod the agent cannot connect, as in a real cluster.
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
				c.executors, _ = strconv.Atoi(value) // without a number the agent takes no build
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
