package jenkinssim

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"bellboard/scaler/label"
)

// These are the classes that Jenkins names in its answers.
const (
	classComputerSet     = "hudson.model.ComputerSet"
	classMasterComputer  = "hudson.model.Hudson$MasterComputer"
	classSlaveComputer   = "hudson.slaves.SlaveComputer"
	classQueue           = "hudson.model.Queue"
	classFreeStyle       = "hudson.model.FreeStyleProject"
	classFreeStyleBuild  = "hudson.model.FreeStyleBuild"
	classLabelLoad       = "hudson.model.Label$1"
	classFolder          = "com.cloudbees.hudson.plugins.folder.Folder"
	classMatrix          = "hudson.matrix.MatrixProject"
	classMatrixCell      = "hudson.matrix.MatrixConfiguration"
	classMatrixRun       = "hudson.matrix.MatrixRun"
	classWorkflowJob     = "org.jenkinsci.plugins.workflow.job.WorkflowJob"
	classWorkflowRun     = "org.jenkinsci.plugins.workflow.job.WorkflowRun"
	classPlaceholder     = "org.jenkinsci.plugins.workflow.support.steps.ExecutorStepExecution$PlaceholderTask"
	classPlaceholderExec = classPlaceholder + "$PlaceholderExecutable"
)

var monitors = [...]string{
	"SwapSpaceMonitor", "TemporarySpaceMonitor", "DiskSpaceMonitor", "ArchitectureMonitor", "ResponseTimeMonitor", "ClockMonitor",
}

// page is what an export needs to know of its request.
type page struct {
	writer
	j      *Jenkins
	base   string // the root URL, with a slash at its end
	tongue tongue
}

func (w *page) computerSet(p *pruner) {
	busy, total := 0, 0
	for _, n := range w.j.computers {
		busy += n.busy()
		if !n.offline() {
			total += n.executors
		}
	}
	w.open(classComputerSet)
	w.propInt(p, "busyExecutors", 1, int64(busy))
	if k := p.inline("computer", 1); k != nil {
		w.key("computer")
		w.array(k, len(w.j.computers), func(i int) { w.computer(k, w.j.computers[i]) })
	}
	w.propStr(p, "displayName", 1, "Nodes")
	w.propInt(p, "totalExecutors", 1, int64(total))
	w.close()
}

func (w *page) computer(p *pruner, n *node) {
	builtIn := n.class == classBuiltIn
	class, description, name := classSlaveComputer, n.description, n.name
	if builtIn {
		class, description, name = classMasterComputer, "the Jenkins controller's built-in node", "Built-In Node"
	}
	var flights []*build
	if builtIn {
		flights = w.j.flights()
	}
	cause, caused := w.j.cause(n)
	reason := w.j.reason(cause)
	switch {
	case n.mark == nil:
	case cause.class != n.mark.class:
		w.j.stats.MarksHidden++
	case reason != n.mark.text:
		w.j.stats.MarksAltered++
	}
	w.open(class)
	w.propEmpty(p, "actions")
	if k := w.prop(p, "assignedLabels", 1); k != nil {
		w.array(k, len(n.labels), func(i int) {
			w.open("")
			w.propStr(k, "name", 2, n.labels[i])
			w.close()
		})
	}
	w.propStr(p, "description", 1, description)
	w.propStr(p, "displayName", 1, name)
	if k := w.prop(p, "executors", 1); k != nil {
		w.array(k, len(n.slots), func(i int) { w.executor(k, n.slots[i], i) })
	}
	icon := "symbol-computer"
	if n.mark != nil && n.mark.class == causeUser {
		icon = "symbol-computer-disconnected"
	} else if n.offline() {
		icon = "symbol-computer-offline"
	}
	w.propStr(p, "icon", 1, icon)
	w.propStr(p, "iconClassName", 1, icon)
	w.propBool(p, "idle", 1, n.busy() == 0 && len(flights) == 0)
	w.propBool(p, "jnlpAgent", 1, !builtIn && n.host == "")
	w.propBool(p, "launchSupported", 1, builtIn || n.host != "")
	if w.prop(p, "loadStatistics", 1) != nil {
		w.open(classLabelLoad)
		w.close()
	}
	w.propBool(p, "manualLaunchAllowed", 1, true)
	if w.prop(p, "monitorData", 1) != nil {
		w.open("")
		if !w.j.lacks(permConnect) {
			for _, m := range monitors {
				w.key("hudson.node_monitors." + m)
				w.null()
			}
		}
		w.close()
	}
	w.propInt(p, "numExecutors", 1, int64(n.executors))
	w.propBool(p, "offline", 1, n.offline())
	if k := w.prop(p, "offlineCause", 1); k != nil {
		w.cause(k, cause, caused)
	}
	w.propStr(p, "offlineCauseReason", 1, reason)
	if k := w.prop(p, "oneOffExecutors", 1); k != nil {
		w.array(k, len(flights), func(i int) { w.flight(k, flights[i]) })
	}
	w.propBool(p, "temporarilyOffline", 1, n.mark != nil)
	if !builtIn && p.accept("absoluteRemotePath", 1) != nil {
		w.key("absoluteRemotePath")
		if n.ch != nil {
			w.str(n.remoteFS)
		} else {
			w.null()
		}
	}
	w.close()
}

func (w *page) cause(p *pruner, c mark, is bool) {
	if !is {
		w.null()
		return
	}
	w.open(c.class)
	w.propTime(p, "timestamp", 1, c.at)
	if c.class == causeUser { // others do not export it
		w.propStr(p, "description", 1, w.j.words(c))
	}
	w.close()
}

func (w *page) executor(p *pruner, s slot, number int) {
	w.open("")
	if k := w.prop(p, "currentExecutable", 1); k != nil {
		switch {
		case s.build == nil || w.j.denied[permJobRead]:
			w.null()
		case s.build.Job.Pipeline:
			w.executable(k, s.build, classPlaceholderExec)
		default:
			w.executable(k, s.build, s.build.class())
		}
	}
	w.propBool(p, "idle", 1, s.free())
	w.propBool(p, "likelyStuck", 1, false)
	w.propInt(p, "number", 1, int64(number))
	if k := w.prop(p, "progress", 1); k != nil {
		w.int(w.j.progress(s.build))
	}
	w.close()
}

func (j *Jenkins) progress(b *build) int64 {
	if b == nil || b.Job.Duration <= 0 {
		return -1
	}
	return min(99, int64(100*j.clk.Now().Sub(b.Started)/b.Job.Duration))
}

func (w *page) executable(p *pruner, b *build, class string) {
	name := b.Job.full() + " #" + strconv.Itoa(b.Number)
	w.open(class)
	w.propStr(p, "displayName", 1, "#"+strconv.Itoa(b.Number))
	w.propInt(p, "estimatedDuration", 1, -1)
	if class == classPlaceholderExec {
		name = "part of " + name
	}
	w.propStr(p, "fullDisplayName", 1, name)
	w.propInt(p, "number", 1, int64(b.Number))
	w.propInt(p, "queueId", 1, b.ID)
	at := b.Started
	if at.IsZero() {
		at = b.Queued
	}
	w.propTime(p, "timestamp", 1, at)
	w.propStr(p, "url", 1, w.base+b.path())
	w.close()
}

// flights are the pipelines under way: each runs as a one-off executor of the
// built-in node, whatever becomes of its part on an agent.
func (j *Jenkins) flights() []*build {
	var f []*build
	for _, b := range j.alive {
		if b.Job.Pipeline {
			f = append(f, b)
		}
	}
	return f
}

func (w *page) flight(p *pruner, b *build) {
	w.open("")
	if k := w.prop(p, "currentExecutable", 1); k != nil {
		if w.j.denied[permJobRead] {
			w.null()
		} else {
			w.executable(k, b, classWorkflowRun)
		}
	}
	w.propBool(p, "idle", 1, false)
	w.propBool(p, "likelyStuck", 1, false)
	w.propInt(p, "number", 1, -1)
	w.propInt(p, "progress", 1, -1)
	w.close()
}

// path is a build's URL below the root.
func (b *build) path() string {
	return b.Job.path() + strconv.Itoa(b.Number) + "/"
}

// class is that of a build that is no pipeline.
func (b *build) class() string {
	if b.Job.Cell != "" {
		return classMatrixRun
	}
	return classFreeStyleBuild
}

func (w *page) label(p *pruner, text string) {
	e := label.Parse(text)
	v := w.j.view(e)
	busy, total := 0, 0
	for _, n := range v.nodes {
		if !n.offline() {
			busy += n.busy()
			total += n.executors
		}
	}
	_, atom := e.Atom()
	atom = atom && !strings.HasPrefix(e.String(), "(")
	class := labelClass(e.String())
	if atom {
		class = "hudson.model.labels.LabelAtom"
	}
	w.open(class)
	w.propEmpty(p, "actions")
	w.propInt(p, "busyExecutors", 1, int64(busy))
	w.propEmpty(p, "clouds")
	if k := w.prop(p, "description", 1); k != nil {
		// An expression that one node matches is described by that node.
		if !atom && len(v.nodes) == 1 {
			w.str(v.nodes[0].description)
		} else {
			w.null()
		}
	}
	w.propInt(p, "idleExecutors", 1, int64(v.idle))
	if k := w.prop(p, "loadStatistics", 1); k != nil {
		w.load(k, classLabelLoad, w.j.loadOf(e))
	}
	w.propStr(p, "name", 2, e.String())
	if k := w.prop(p, "nodes", 1); k != nil {
		w.array(k, len(v.nodes), func(i int) { w.node(k, v.nodes[i]) })
	}
	w.propBool(p, "offline", 1, v.offline)
	w.propEmpty(p, "tiedJobs")
	w.propInt(p, "totalExecutors", 1, int64(total))
	if atom {
		w.propEmpty(p, "propertiesList")
	}
	w.close()
}

// labelClass is the class of an expression, by its loosest operator.
func labelClass(name string) string {
	depth, quoted, found := 0, false, map[string]bool{}
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')':
			depth--
		case depth == 0:
			for _, op := range [...]string{"<->", "->", "||", "&&"} {
				if strings.HasPrefix(name[i:], op) {
					found[op] = true
					i += len(op) - 1
					break
				}
			}
		}
	}
	const class = "hudson.model.labels.LabelExpression$"
	switch {
	case found["<->"]:
		return class + "Iff"
	case found["->"]:
		return class + "Implies"
	case found["||"]:
		return class + "Or"
	case found["&&"]:
		return class + "And"
	case strings.HasPrefix(name, "!"):
		return class + "Not"
	default:
		return class + "Paren"
	}
}

func (w *page) node(p *pruner, n *node) {
	switch n.class {
	case classSwarm:
		w.open("hudson.plugins.swarm.SwarmSlave")
	case classBuiltIn:
		w.open("hudson.model.Hudson")
	default:
		w.open("hudson.slaves.DumbSlave")
	}
	w.nodeProps(p, n)
	w.close()
}

func (w *page) nodeProps(p *pruner, n *node) {
	if k := w.prop(p, "assignedLabels", 1); k != nil {
		w.array(k, len(n.labels), func(i int) {
			w.open("")
			w.propStr(k, "name", 2, n.labels[i])
			w.close()
		})
	}
	w.propStr(p, "mode", 1, n.mode)
	w.propStr(p, "nodeDescription", 1, n.description)
	w.propStr(p, "nodeName", 999, n.name)
	w.propInt(p, "numExecutors", 1, int64(n.executors))
}

// root writes Jenkins itself.
func (w *page) root(p *pruner) {
	w.open("hudson.model.Hudson")
	w.nodeProps(p, w.j.builtIn)
	w.propNull(p, "description", 1)
	if k := w.prop(p, "jobs", 1); k != nil {
		names := w.j.jobNames()
		w.array(k, len(names), func(i int) { w.job(k, names[i]) })
	}
	w.propNull(p, "quietDownReason", 1)
	w.propBool(p, "quietingDown", 1, w.j.quieting)
	w.propInt(p, "slaveAgentPort", 1, -1)
	w.propStr(p, "url", 1, w.base)
	w.propBool(p, "useCrumbs", 1, !w.j.cfg.NoCrumbs)
	w.propBool(p, "useSecurity", 1, true)
	w.propEmpty(p, "views")
	w.close()
}

// jobNames are the jobs and folders at the top: hello, and those of all builds ever
// asked for; who may not read jobs sees none.
func (j *Jenkins) jobNames() []string {
	if j.denied[permJobRead] {
		return nil
	}
	return slices.Sorted(maps.Keys(j.jobs))
}

func (w *page) job(p *pruner, name string) {
	class := w.j.jobs[name]
	w.open(class)
	w.propStr(p, "name", 3, name)
	w.propStr(p, "url", 3, w.base+Job{Name: name}.path())
	if class != classFolder {
		w.propStr(p, "color", 3, "notbuilt")
	}
	w.close()
}

// topClass is the class of what is at the top of the job's name.
func (job Job) topClass() string {
	switch {
	case strings.Contains(job.Name, "/"):
		return classFolder
	case job.Pipeline:
		return classWorkflowJob
	case job.Cell != "":
		return classMatrix
	default:
		return classFreeStyle
	}
}
