package kubesim

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
)

// A column is one column of the tables that kubectl prints.
type column struct {
	name string
	wide bool // only with -o wide
	of   func(o object, now time.Time) any
}

func columnOf[T object](name string, wide bool, of func(o T) any) column {
	return column{name, wide, func(o object, _ time.Time) any { return of(as[T](o)) }}
}

var (
	nameColumn = column{"Name", false, func(o object, _ time.Time) any { return o.GetName() }}
	ageColumn  = column{"Age", false, func(o object, now time.Time) any { return since(o.GetCreationTimestamp(), now) }}
)

// columns has the columns of the kinds that have more than a name and an age.
var columns = map[*kind][]column{
	pods: {
		nameColumn,
		columnOf("Ready", false, func(p *corev1.Pod) any { s := stateOf(p); return fmt.Sprintf("%d/%d", s.ready, s.containers) }),
		columnOf("Status", false, func(p *corev1.Pod) any { return stateOf(p).words }),
		columnOf("Restarts", false, func(p *corev1.Pod) any { return fmt.Sprint(stateOf(p).restarts) }),
		ageColumn,
		columnOf("IP", true, func(p *corev1.Pod) any { return cmp.Or(p.Status.PodIP, "<none>") }),
		columnOf("Node", true, func(p *corev1.Pod) any { return cmp.Or(p.Spec.NodeName, "<none>") }),
	},
	claims: {
		nameColumn,
		columnOf("Status", false, func(c *corev1.PersistentVolumeClaim) any {
			if c.DeletionTimestamp != nil {
				return "Terminating"
			}
			return string(c.Status.Phase)
		}),
		columnOf("Volume", false, func(c *corev1.PersistentVolumeClaim) any { return c.Spec.VolumeName }),
		columnOf("Capacity", false, func(c *corev1.PersistentVolumeClaim) any { return c.Status.Capacity.Storage().String() }),
		ageColumn,
	},
	coreEvents: {
		{"Last Seen", false, func(o object, now time.Time) any { return since(as[*corev1.Event](o).LastTimestamp, now) }},
		columnOf("Type", false, func(e *corev1.Event) any { return e.Type }),
		columnOf("Reason", false, func(e *corev1.Event) any { return e.Reason }),
		columnOf("Object", false, func(e *corev1.Event) any {
			return strings.ToLower(e.InvolvedObject.Kind) + "/" + e.InvolvedObject.Name
		}),
		columnOf("Message", false, func(e *corev1.Event) any { return strings.TrimSpace(e.Message) }),
	},
}

func since(t metav1.Time, now time.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(now.Sub(t.Time))
}

// wantsTable reports whether the client, such as kubectl, would rather have a table than objects.
func wantsTable(r *http.Request) bool {
	first, _, _ := strings.Cut(r.Header.Get("Accept"), ",")
	return strings.Contains(first, "as=Table") && strings.Contains(first, "v=v1") && strings.Contains(first, "g=meta.k8s.io")
}

// asTable returns the objects as a table of the kind. Each row has the whole object if the client asks for
// that, else its metadata.
func (c *Cluster) asTable(q *call, meta metav1.ListMeta, of ...object) []byte {
	all := columns[q.kind]
	if all == nil {
		all = []column{nameColumn, ageColumn}
	}
	out := metav1.Table{TypeMeta: metav1.TypeMeta{Kind: "Table", APIVersion: "meta.k8s.io/v1"}, ListMeta: meta, Rows: []metav1.TableRow{}}
	for _, col := range all {
		def := metav1.TableColumnDefinition{Name: col.name, Type: "string"}
		if col.wide {
			def.Priority = 1
		}
		if col.name == nameColumn.name {
			def.Format = "name"
		}
		out.ColumnDefinitions = append(out.ColumnDefinitions, def)
	}
	for _, o := range of {
		row := metav1.TableRow{}
		for _, col := range all {
			row.Cells = append(row.Cells, col.of(o, c.clock.Now()))
		}
		body := encode(o)
		if q.include != string(metav1.IncludeObject) {
			part := metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{Kind: "PartialObjectMetadata", APIVersion: "meta.k8s.io/v1"}}
			if err := json.Unmarshal(body, &part); err != nil {
				panic("kubesim: " + err.Error()) // encode has made it
			}
			body = encode(&part)
		} else {
			body = append([]byte(q.kind.head()), body[1:]...)
		}
		row.Object = runtime.RawExtension{Raw: body}
		out.Rows = append(out.Rows, row)
	}
	return encode(&out)
}

// podState is a pod as kubectl shows it.
type podState struct {
	words                       string
	ready, containers, restarts int
}

// stateOf returns a pod's state in kubectl's words: those of the first init container that is not done, or of
// the first container that has something to say.
func stateOf(p *corev1.Pod) podState {
	s := podState{words: cmp.Or(p.Status.Reason, string(p.Status.Phase)), containers: len(p.Spec.Containers)}
	sidecars, starting := map[string]bool{}, false
	for i := range p.Spec.InitContainers {
		if isSidecar(&p.Spec.InitContainers[i]) {
			sidecars[p.Spec.InitContainers[i].Name] = true
			s.containers++
		}
	}
	for i := range p.Status.InitContainerStatuses {
		c := &p.Status.InitContainerStatuses[i]
		s.restarts += int(c.RestartCount)
		runs := sidecars[c.Name] && c.Started != nil && *c.Started
		if runs && c.Ready {
			s.ready++
		}
		if starting || runs || c.State.Terminated != nil && c.State.Terminated.ExitCode == 0 {
			continue
		}
		starting = true
		why := trouble(c.State)
		if why == "PodInitializing" { // waits for the one before
			why = ""
		}
		s.words = "Init:" + cmp.Or(why, fmt.Sprintf("%d/%d", i, len(p.Spec.InitContainers)))
	}
	for i := len(p.Status.ContainerStatuses) - 1; i >= 0; i-- {
		c := &p.Status.ContainerStatuses[i]
		s.restarts += int(c.RestartCount)
		if c.Ready && c.State.Running != nil {
			s.ready++
		}
		if !starting {
			s.words = cmp.Or(trouble(c.State), s.words)
		}
	}
	if p.DeletionTimestamp != nil {
		s.words = "Terminating"
	}
	return s
}

// trouble returns why a container does not run; "": it runs.
func trouble(s corev1.ContainerState) string {
	switch {
	case s.Waiting != nil:
		return s.Waiting.Reason
	case s.Terminated != nil:
		return cmp.Or(s.Terminated.Reason, fmt.Sprintf("ExitCode:%d", s.Terminated.ExitCode))
	}
	return ""
}
