package jenkinssim

import (
	"fmt"
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

// always is the visibility of a property that Jenkins shows at any depth.
const always = 999

const monitors raw = `{"hudson.node_monitors.SwapSpaceMonitor":null,"hudson.node_monitors.TemporarySpaceMonitor":null,` +
	`"hudson.node_monitors.DiskSpaceMonitor":null,"hudson.node_monitors.ArchitectureMonitor":null,` +
	`"hudson.node_monitors.ResponseTimeMonitor":null,"hudson.node_monitors.ClockMonitor":null}`

// page has what an export needs of its request.
type page struct {
	j      *Jenkins
	base   string // the root URL, with a slash at its end
	tongue tongue
}

func (w *page) computerSet() bean {
	busy, total := 0, 0
	for _, n := range w.j.computers {
		busy += n.busy()
		if !n.offline() {
			total += n.executors
		}
	}
	computers := list{n: len(w.j.computers), at: func(i int) any { return w.computer(w.j.computers[i]) }, inline: true}
	return bean{classComputerSet, []prop{
		{"busyExecutors", 1, busy},
		{"computer", 1, computers},
		{"displayName", 1, "Nodes"},
		{"totalExecutors", 1, total},
	}}
}

func (w *page) computer(n *node) bean {
	builtIn := n.class == classBuiltIn
	class, description, name := classSlaveComputer, n.description, n.name
	var flights []*build
	if builtIn {
		class, description, name = classMasterComputer, "the Jenkins controller's built-in node", "Built-In Node"
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
	icon := "symbol-computer"
	if n.mark != nil && n.mark.class == causeUser {
		icon = "symbol-computer-disconnected"
	} else if n.offline() {
		icon = "symbol-computer-offline"
	}
	var remotePath any
	if n.ch != nil {
		remotePath = n.remoteFS
	}
	monitored := monitors
	if w.j.lacks(permConnect) {
		monitored = "{}"
	}
	b := bean{class, []prop{
		{"actions", 1, none},
		{"assignedLabels", 1, labelsOf(n)},
		{"description", 1, description},
		{"displayName", 1, name},
		{"executors", 1, list{n: len(n.slots), at: func(i int) any { return w.executor(n.slots[i], i) }}},
		{"icon", 1, icon},
		{"iconClassName", 1, icon},
		{"idle", 1, n.busy() == 0 && len(flights) == 0},
		{"jnlpAgent", 1, !builtIn && n.host == ""},
		{"launchSupported", 1, builtIn || n.host != ""},
		{"loadStatistics", 1, bean{class: classLabelLoad}},
		{"manualLaunchAllowed", 1, true},
		{"monitorData", 1, monitored},
		{"numExecutors", 1, n.executors},
		{"offline", 1, n.offline()},
		{"offlineCause", 1, w.cause(cause, caused)},
		{"offlineCauseReason", 1, reason},
		{"oneOffExecutors", 1, list{n: len(flights), at: func(i int) any { return w.flight(flights[i]) }}},
		{"temporarilyOffline", 1, n.mark != nil},
		{"absoluteRemotePath", 1, remotePath},
	}}
	if builtIn { // it has no remote path
		b.props = b.props[:len(b.props)-1]
	}
	return b
}

func labelsOf(n *node) list {
	return list{n: len(n.labels), at: func(i int) any { return bean{"", []prop{{"name", 2, n.labels[i]}}} }}
}

func (w *page) cause(c mark, is bool) any {
	if !is {
		return nil
	}
	b := bean{c.class, []prop{{"timestamp", 1, c.at}}}
	if c.class == causeUser { // others do not export a description
		b.props = append(b.props, prop{"description", 1, w.j.words(c)})
	}
	return b
}

func (w *page) executor(s slot, number int) bean {
	var executable any
	progress := int64(-1)
	if b := s.build; b != nil {
		if !w.j.denied[permJobRead] {
			executable = w.executable(b, b.class())
		}
		if b.Job.Duration > 0 {
			progress = min(99, int64(100*w.j.clk.Now().Sub(b.Started)/b.Job.Duration))
		}
	}
	return bean{"", []prop{
		{"currentExecutable", 1, executable},
		{"idle", 1, s.free()},
		{"likelyStuck", 1, false},
		{"number", 1, number},
		{"progress", 1, progress},
	}}
}

// executable is a build as an executor shows it.
func (w *page) executable(b *build, class string) bean {
	at := b.Started
	if at.IsZero() {
		at = b.Queued
	}
	return bean{class, []prop{{"timestamp", 1, at}, {"url", 1, w.base + b.path()}}}
}

// flights returns the pipelines under way. Each runs as a one-off executor of the
// built-in node, whatever happens to its part on an agent.
func (j *Jenkins) flights() []*build {
	var f []*build
	for _, b := range j.alive {
		if b.Job.Pipeline {
			f = append(f, b)
		}
	}
	return f
}

func (w *page) flight(b *build) bean {
	var executable any
	if !w.j.denied[permJobRead] {
		executable = w.executable(b, classWorkflowRun)
	}
	return bean{"", []prop{
		{"currentExecutable", 1, executable},
		{"idle", 1, false},
		{"likelyStuck", 1, false},
		{"number", 1, -1},
		{"progress", 1, -1},
	}}
}

// path is a build's URL below the root.
func (b *build) path() string {
	return b.Job.path() + strconv.Itoa(b.Number) + "/"
}

// class is the class of the build on an executor.
func (b *build) class() string {
	switch {
	case b.Job.Pipeline:
		return classPlaceholderExec
	case b.Job.Cell != "":
		return classMatrixRun
	default:
		return classFreeStyleBuild
	}
}

func (w *page) label(text string) bean {
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
	class := "hudson.model.labels.LabelAtom"
	var description any
	if !atom { // only && was recorded, and the class of another operator has no reader
		class = "hudson.model.labels.LabelExpression$And"
		if len(v.nodes) == 1 { // the node describes the expression
			description = v.nodes[0].description
		}
	}
	b := bean{class, []prop{
		{"actions", 1, none},
		{"busyExecutors", 1, busy},
		{"clouds", 1, none},
		{"description", 1, description},
		{"idleExecutors", 1, v.idle},
		{"loadStatistics", 1, bean{class: classLabelLoad}},
		{"name", 2, e.String()},
		{"nodes", 1, list{n: len(v.nodes), at: func(i int) any { return w.node(v.nodes[i]) }}},
		{"offline", 1, v.offline},
		{"tiedJobs", 1, none},
		{"totalExecutors", 1, total},
	}}
	if atom {
		b.props = append(b.props, prop{"propertiesList", 1, none})
	}
	return b
}

// load is Jenkins' load statistics. Their values are not simulated.
func load(class string, gauges ...string) bean {
	b := bean{class: class}
	for _, name := range gauges {
		b.props = append(b.props, prop{name, 1, bean{}})
	}
	return b
}

func (w *page) node(n *node) bean {
	class := "hudson.slaves.DumbSlave"
	switch n.class {
	case classSwarm:
		class = "hudson.plugins.swarm.SwarmSlave"
	case classBuiltIn:
		class = "hudson.model.Hudson"
	case classDumb:
	}
	return bean{class, []prop{
		{"assignedLabels", 1, labelsOf(n)},
		{"mode", 1, n.mode},
		{"nodeDescription", 1, n.description},
		{"nodeName", always, n.name},
		{"numExecutors", 1, n.executors},
	}}
}

// root is Jenkins itself.
func (w *page) root() bean {
	b := w.node(w.j.builtIn)
	var jobs []string
	if !w.j.denied[permJobRead] {
		jobs = slices.Sorted(maps.Keys(w.j.jobs))
	}
	b.props = append(
		b.props,
		prop{"description", 1, nil},
		prop{"jobs", 1, list{n: len(jobs), at: func(i int) any { return w.job(jobs[i]) }}},
		prop{"quietDownReason", 1, nil},
		prop{"quietingDown", 1, w.j.quieting},
		prop{"slaveAgentPort", 1, -1},
		prop{"url", 1, w.base},
		prop{"useCrumbs", 1, true},
		prop{"useSecurity", 1, true},
		prop{"views", 1, none},
	)
	return b
}

// job is a job or a folder at the top.
func (w *page) job(name string) bean {
	return bean{w.j.jobs[name], []prop{{"name", 3, name}, {"url", 3, w.base + Job{Name: name}.path()}}}
}

// topClass is the class of the first part of the job's name.
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

// queued lists the items in Jenkins' order: the item that will build soonest comes last.
func (j *Jenkins) queued() []*item {
	if j.denied[permJobRead] {
		return nil
	}
	out := make([]*item, 0, len(j.items))
	for _, s := range [...]stage{waiting, blocked} {
		for _, it := range j.items {
			if it.state == s {
				out = append(out, it)
			}
		}
	}
	for _, s := range [...]stage{buildable, pending} {
		for _, it := range slices.Backward(j.items) {
			if it.state == s {
				out = append(out, it)
			}
		}
	}
	return out
}

func (w *page) queue() bean {
	items := w.j.queued()
	return bean{classQueue, []prop{
		{"discoverableItems", 1, none},
		{"items", 1, list{n: len(items), at: func(i int) any { return w.item(items[i]) }, inline: true}},
	}}
}

func (w *page) item(it *item) bean {
	class, since := "hudson.model.Queue$BuildableItem", prop{"buildableStartMilliseconds", always, it.buildable}
	switch it.state {
	case waiting:
		class, since = "hudson.model.Queue$WaitingItem", prop{"timestamp", always, it.timestamp}
	case blocked:
		class = "hudson.model.Queue$BlockedItem"
	case buildable, pending:
	}
	parameter := it.build.Job.Parameter
	params := ""
	if parameter.Value != "" {
		params = fmt.Sprintf("\n[%s: %s=%s]", parameter.class(), parameter.Name, parameter.Value)
	}
	b := bean{class, []prop{
		{"actions", always, w.actions(it)},
		{"blocked", always, it.state == blocked},
		{"buildable", always, it.state >= buildable},
		{"id", always, it.id},
		{"inQueueSince", always, it.since},
		{"params", always, params},
		{"stuck", always, func() any { return w.j.stuck(it) }},
		{"task", always, w.task(it.build, it.fly)},
		{"url", always, "queue/item/" + strconv.FormatInt(it.id, 10) + "/"},
		{"why", always, func() any { return w.j.why(it, w.tongue) }},
		since,
		{"pending", always, it.state == pending},
	}}
	if it.state < buildable { // only a buildable item can be pending
		b.props = b.props[:len(b.props)-1]
	}
	return b
}

// class is the name of the class of a NodeLabel parameter's value.
func (v Parameter) class() string {
	if v.Node {
		return "NodeParameterValue"
	}
	return "LabelParameterValue"
}

func one(b bean) list { return list{n: 1, at: func(int) any { return b }} }

func (w *page) actions(it *item) list {
	if it.build.Job.Pipeline && !it.fly {
		return list{}
	}
	user := bean{"hudson.model.Cause$UserIdCause", []prop{
		{"shortDescription", always, "Started by user admin"},
		{"userId", always, "admin"},
		{"userName", always, "admin"},
	}}
	actions := []bean{{"hudson.model.CauseAction", []prop{{"causes", always, one(user)}}}}
	if v := it.build.Job.Parameter; v.Value != "" && !it.fly {
		value := bean{"org.jvnet.jenkins.plugins.nodelabelparameter." + v.class(), []prop{{"name", always, v.Name}, {"value", always, v.Value}}}
		actions = append(actions, bean{"hudson.model.ParametersAction", []prop{{"parameters", always, one(value)}}})
	}
	return list{n: len(actions), at: func(i int) any { return actions[i] }}
}

// task is the item's task. Only a project exports its label.
func (w *page) task(b *build, fly bool) bean {
	if b.Job.Pipeline && !fly {
		return bean{classPlaceholder, []prop{
			{"fullDisplayName", 1, b.taskName()},
			{"name", 1, b.taskName()},
			{"url", 1, b.path()},
		}}
	}
	class, full, shown := classFreeStyle, b.Job.Name, b.Job.full()
	switch {
	case b.Job.Pipeline:
		class = classWorkflowJob
	case b.Job.Cell != "":
		class, full, shown = classMatrixCell, full+"/"+b.Job.Cell, shown+" » "+b.Job.Cell
	}
	t := bean{class, []prop{
		{"displayName", 1, b.Job.simple()},
		{"fullDisplayName", 1, shown},
		{"fullName", 1, full},
		{"name", 3, b.Job.simple()},
		{"url", 3, w.base + b.Job.path()},
		{"color", 3, "notbuilt"},
		{"concurrentBuild", 1, !b.Job.Serial},
		{"disabled", 1, false},
	}}
	switch {
	case b.Job.Pipeline:
	case b.Job.Label == "" || b.Job.Cell != "":
		// A cell takes its label from its axes, which Jenkins' getter does not see.
		t.props = append(t.props, prop{"labelExpression", 1, nil})
	default:
		t.props = append(t.props, prop{"labelExpression", 1, b.Job.Label})
	}
	return t
}
