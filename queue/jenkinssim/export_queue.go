package jenkinssim

import (
	"slices"
	"strconv"
)

// always is the visibility of a queue item's properties: shown at any depth.
const always = 999

var stageClass = [...]string{
	waiting:   "hudson.model.Queue$WaitingItem",
	blocked:   "hudson.model.Queue$BlockedItem",
	buildable: "hudson.model.Queue$BuildableItem",
	pending:   "hudson.model.Queue$BuildableItem",
}

// params is what the queue shows of a build's parameters.
func (b *build) params() string {
	switch p := b.Job.Parameter; {
	case p.Value == "":
		return ""
	case p.Node:
		return "\n[NodeParameterValue: " + p.Name + "=" + p.Value + "]"
	default:
		return "\n[LabelParameterValue: " + p.Name + "=" + p.Value + "]"
	}
}

// queued lists the items as Jenkins does: what will build soonest comes last.
func (j *Jenkins) queued() []*item {
	if j.denied[permJobRead] {
		return nil
	}
	list := make([]*item, 0, len(j.items))
	for _, it := range j.items {
		if it.state == waiting {
			list = append(list, it)
		}
	}
	for _, it := range j.items {
		if it.state == blocked {
			list = append(list, it)
		}
	}
	for _, s := range [...]stage{buildable, pending} {
		for _, it := range slices.Backward(j.items) {
			if it.state == s {
				list = append(list, it)
			}
		}
	}
	return list
}

func (w *page) queue(p *pruner) {
	w.open(classQueue)
	w.propEmpty(p, "discoverableItems")
	if k := p.inline("items", 1); k != nil {
		w.key("items")
		items := w.j.queued()
		w.array(k, len(items), func(i int) { w.item(k, items[i]) })
	}
	w.close()
}

func (w *page) item(p *pruner, it *item) {
	b := it.build
	w.open(stageClass[it.state])
	w.actions(p, b, it.fly)
	w.propBool(p, "blocked", always, it.state == blocked)
	w.propBool(p, "buildable", always, it.state >= buildable)
	w.propInt(p, "id", always, it.id)
	w.propTime(p, "inQueueSince", always, it.since)
	w.propStr(p, "params", always, b.params())
	if w.prop(p, "stuck", always) != nil {
		w.bool(w.j.stuck(it))
	}
	if k := w.prop(p, "task", always); k != nil {
		w.task(k, b, it.fly)
	}
	w.propStr(p, "url", always, "queue/item/"+strconv.FormatInt(it.id, 10)+"/")
	if w.prop(p, "why", always) != nil {
		w.str(w.j.why(it, w.tongue))
	}
	switch it.state {
	case waiting:
		w.propTime(p, "timestamp", always, it.timestamp)
	case blocked:
		w.propTime(p, "buildableStartMilliseconds", always, it.buildable)
	default:
		w.propTime(p, "buildableStartMilliseconds", always, it.buildable)
		w.propBool(p, "pending", always, it.state == pending)
	}
	w.close()
}

func (w *page) actions(p *pruner, b *build, fly bool) {
	k := w.prop(p, "actions", always)
	if k == nil {
		return
	}
	if b.Job.Pipeline && !fly {
		w.array(k, 0, nil)
		return
	}
	parameter, count := b.Job.Parameter, 1
	if parameter.Value != "" && !fly {
		count = 2
	}
	w.array(k, count, func(i int) {
		if i == 1 {
			w.parameters(k, parameter)
			return
		}
		w.open("hudson.model.CauseAction")
		if kk := w.prop(k, "causes", always); kk != nil {
			w.array(kk, 1, func(int) {
				w.open("hudson.model.Cause$UserIdCause")
				w.propStr(kk, "shortDescription", always, "Started by user admin")
				w.propStr(kk, "userId", always, "admin")
				w.propStr(kk, "userName", always, "admin")
				w.close()
			})
		}
		w.close()
	})
}

// parameters writes the action of a NodeLabel parameter.
func (w *page) parameters(p *pruner, v Parameter) {
	w.open("hudson.model.ParametersAction")
	if k := w.prop(p, "parameters", always); k != nil {
		w.array(k, 1, func(int) {
			class := "LabelParameterValue"
			if v.Node {
				class = "NodeParameterValue"
			}
			w.open("org.jvnet.jenkins.plugins.nodelabelparameter." + class)
			w.propStr(k, "name", always, v.Name)
			w.propStr(k, "value", always, v.Value)
			w.close()
		})
	}
	w.close()
}

// task writes the item's task: its label is exported for freestyle only.
func (w *page) task(p *pruner, b *build, fly bool) {
	switch {
	case b.Job.Pipeline && !fly:
		w.open(classPlaceholder)
		w.propStr(p, "fullDisplayName", 1, b.taskName())
		w.propStr(p, "name", 1, b.taskName())
		w.propStr(p, "url", 1, b.path())
	default:
		class, full, shown := classFreeStyle, b.Job.Name, b.Job.full()
		switch {
		case b.Job.Pipeline:
			class = classWorkflowJob
		case b.Job.Cell != "":
			class, full, shown = classMatrixCell, full+"/"+b.Job.Cell, shown+" » "+b.Job.Cell
		}
		w.open(class)
		w.propStr(p, "displayName", 1, b.Job.simple())
		w.propStr(p, "fullDisplayName", 1, shown)
		w.propStr(p, "fullName", 1, full)
		w.propStr(p, "name", 3, b.Job.simple())
		w.propStr(p, "url", 3, w.base+b.Job.path())
		w.propStr(p, "color", 3, "notbuilt")
		w.propBool(p, "concurrentBuild", 1, !b.Job.Serial)
		w.propBool(p, "disabled", 1, false)
		if class != classWorkflowJob && p.accept("labelExpression", 1) != nil {
			w.key("labelExpression")
			// A cell works its label out of its axes, which the getter does not see.
			if b.Job.Label == "" || class == classMatrixCell {
				w.null()
			} else {
				w.str(b.Job.Label)
			}
		}
	}
	w.close()
}

// leftItem writes an item that has left the queue.
func (w *page) leftItem(p *pruner, l leftItem) {
	w.open("hudson.model.Queue$LeftItem")
	w.actions(p, l.build, l.fly)
	w.propBool(p, "blocked", always, false)
	w.propBool(p, "buildable", always, false)
	w.propInt(p, "id", always, l.id)
	w.propTime(p, "inQueueSince", always, l.since)
	w.propStr(p, "params", always, l.build.params())
	w.propBool(p, "stuck", always, false)
	if k := w.prop(p, "task", always); k != nil {
		w.task(k, l.build, l.fly)
	}
	w.propStr(p, "url", always, "queue/item/"+strconv.FormatInt(l.id, 10)+"/")
	w.propNull(p, "why", always)
	w.propBool(p, "cancelled", always, l.cancelled)
	if k := w.prop(p, "executable", always); k != nil {
		switch {
		case l.cancelled || l.build.Job.Pipeline && !l.fly:
			w.null()
		case l.fly:
			w.executable(k, l.build, classWorkflowRun)
		default:
			w.executable(k, l.build, l.build.class())
		}
	}
	w.close()
}
