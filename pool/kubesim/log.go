package kubesim

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// serveLog answers with what a container's log says.
func (c *Cluster) serveLog(w http.ResponseWriter, r *http.Request, q *call) {
	query := r.URL.Query()
	c.mu.Lock()
	pod := c.pod(q.ns, q.name)
	if pod != nil {
		pod = pod.DeepCopy()
	}
	c.mu.Unlock()
	if pod == nil {
		fail(w, apierrors.NewNotFound(q.kind.resource(), q.name))
		return
	}
	name, err := logged(pod, query.Get("container"))
	if err != nil {
		fail(w, err)
		return
	}
	text := "container " + name + " of pod " + pod.Name + " has started\n"
	if c.cfg.Log != nil {
		text = c.cfg.Log(pod, name)
	}
	text = tail(text, query)
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, text)
}

func logged(pod *corev1.Pod, name string) (string, error) {
	if name == "" {
		name = pod.Spec.Containers[0].Name
	}
	for _, s := range append(append([]corev1.ContainerStatus{}, pod.Status.InitContainerStatuses...), pod.Status.ContainerStatuses...) {
		if s.Name != name {
			continue
		}
		if w := s.State.Waiting; w != nil && s.LastTerminationState.Terminated == nil {
			return "", apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q is waiting to start: %s", name, pod.Name, w.Reason))
		}
		return name, nil
	}
	for _, ctr := range append(append([]corev1.Container{}, pod.Spec.InitContainers...), pod.Spec.Containers...) {
		if ctr.Name == name {
			return "", apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q is waiting to start: no container status yet", name, pod.Name))
		}
	}
	return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, pod.Name))
}

func tail(text string, query url.Values) string {
	if n, err := strconv.Atoi(query.Get("tailLines")); err == nil && n >= 0 {
		end := len(text)
		if end > 0 && text[end-1] == '\n' {
			end--
		}
		at := end
		for ; at > 0; at-- {
			if text[at-1] == '\n' {
				if n--; n == 0 {
					break
				}
			}
		}
		if query.Get("tailLines") == "0" {
			return ""
		}
		text = text[at:]
	}
	if n, err := strconv.Atoi(query.Get("limitBytes")); err == nil && n > 0 && n < len(text) {
		text = text[:n]
	}
	return text
}
