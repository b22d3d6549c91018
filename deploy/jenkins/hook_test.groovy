// Plays bellboard-hook.groovy against stand-ins for the few classes of Jenkins that
// it touches: who is marked, who is not, what is lifted, and what a safe restart
// waits for. Run by ./check.
def loader = new GroovyClassLoader()
['''package hudson
class ExtensionList extends ArrayList {
  static Map lists = [:].withDefault { new ExtensionList() }
  static ExtensionList lookup(Class c) { lists[c] }
}''', '''package hudson.security
class ACL {
  static final String SYSTEM2 = 'SYSTEM'
  static String user = 'SYSTEM'
  static ACL as2(String u) {
    def was = new ACL(user)
    user = u
    was
  }
  final String was
  ACL(String was) { this.was = was }
  void close() { user = was }
}''', '''package hudson.slaves
abstract class OfflineCause {
  static class ByCLI extends OfflineCause {
    String message
    String user = hudson.security.ACL.user
    ByCLI(String m) { message = m }
    String toString() { 'Disconnected by ' + user + ' : ' + message }
  }
  static class Other extends OfflineCause {
    String text
    String toString() { text }
  }
}''', '''package hudson.model.labels
class LabelAtom {
  String name
}''', '''package jenkins.model.queue
class AsynchronousExecution {
  boolean blocks
  boolean blocksRestart() { blocks }
}''', '''package hudson.model
import hudson.slaves.OfflineCause
class Node {
  String nodeName
  String nodeDescription
  OfflineCause temporaryOfflineCause
  Computer computer
  Object getSelfLabel() { new Label(name: nodeName) }
  Computer toComputer() { computer }
}
class Label {
  String name
  boolean equals(Object o) { o instanceof Label && o.name == name }
  int hashCode() { name.hashCode() }
}
class Computer {
  static List listeners
  Node node
  Object channel
  List allExecutors = []
  void setTemporarilyOffline(boolean on, OfflineCause cause) {
    node.temporaryOfflineCause = on ? cause : null
    if (!on) {
      listeners.each { it.onTemporarilyOnline(this) }
    }
  }
}
class Executor {
  Computer owner
  boolean busy
  jenkins.model.queue.AsynchronousExecution asynchronousExecution
}
class OneOffExecutor extends Executor {
}
class Queue {
  static class Task {
  }
  static class Item {
    Label assignedLabel
    long id
  }
  static class BuildableItem extends Item {
  }
  static class LeftItem extends Item {
    boolean cancelled
  }
}
interface ExecutorListener {
  void taskAccepted(Executor executor, Queue.Task task)
  void taskCompleted(Executor executor, Queue.Task task, long ms)
  void taskCompletedWithProblems(Executor executor, Queue.Task task, long ms, Throwable problems)
}
abstract class RestartListener {
  abstract boolean isReadyToRestart()
}
abstract class LabelFinder {
  abstract Collection<hudson.model.labels.LabelAtom> findLabels(Node node)
}''', '''package hudson.slaves
abstract class ComputerListener {
  void onTemporarilyOnline(hudson.model.Computer computer) {
  }
}''', '''package hudson.model.queue
abstract class QueueListener {
  void onEnterBuildable(hudson.model.Queue.BuildableItem item) {
  }
  void onLeft(hudson.model.Queue.LeftItem item) {
  }
}''', '''package jenkins.model
class Jenkins extends hudson.model.Node {
  static Jenkins it = new Jenkins()
  Map known = [:]
  static Jenkins get() { it }
  Object getNode(String name) { known[name] }
  List getNodes() { known.values() as List }
  Object[] getComputers() { ([new hudson.model.Computer(node: this, channel: 'here')] + nodes*.computer) as Object[] }
  Object getLabelAtom(String name) { new hudson.model.labels.LabelAtom(name: name) }
}'''].each { loader.parseClass(it) }
def of = { String name -> loader.loadClass(name) }
def extensions = { String name -> of('hudson.ExtensionList').lookup(of(name)) }

def jenkins = of('jenkins.model.Jenkins').get()
def node = { String name, String description, String mark = null ->
  def n = of('hudson.model.Node').newInstance(nodeName: name, nodeDescription: description)
  n.computer = of('hudson.model.Computer').newInstance(node: n, channel: 'here')
  if (mark) n.temporaryOfflineCause = of('hudson.slaves.OfflineCause$Other').newInstance(text: mark)
  jenkins.known[name] = n
  n
}
def words = { String instance, String kind -> 'Bellboard: agent of team web (bellboard instance=' + instance + ' team=web kind=' + kind + ')' }
def own = words('bellboard', 'ephemeral')
def mark = 'Disconnected by SYSTEM : bellboard-hook(bellboard): one build only; this mark ends no build'

// Jenkins starts, with a node that a build has marked before, and one that a person has.
def before = [node('before', own, mark), node('held', own, 'Disconnected by alice : looking at the disk')]

def hook = new File(args[0])
2.times { new GroovyShell(loader).evaluate(hook) } // twice: it must not be there twice
def points = ['hudson.model.ExecutorListener', 'hudson.slaves.ComputerListener', 'hudson.model.queue.QueueListener', 'hudson.model.RestartListener', 'hudson.model.LabelFinder']
def (executors, computers, queues, restarts, labels) = points.collect { extensions(it) }
assert [executors, computers, queues, restarts, labels]*.size() == [1] * 5
of('hudson.model.Computer').listeners = computers

def accept = { n, String kind = 'Executor' ->
  executors[0].taskAccepted(of('hudson.model.' + kind).newInstance(owner: n.computer), of('hudson.model.Queue$Task').newInstance())
  n.temporaryOfflineCause?.toString()
}
def item = { String kind, String label, Map more ->
  def l = label == null ? null : of('hudson.model.Label').newInstance(name: label)
  of('hudson.model.Queue$' + kind).newInstance([assignedLabel: l] + more)
}
def queue = { String label, n, long id = 7 ->
  queues[0].onEnterBuildable(item('BuildableItem', label, [id: id]))
  n.temporaryOfflineCause?.toString()
}
def leave = { n, boolean cancelled, long id = 7 ->
  queues[0].onLeft(item('LeftItem', n.nodeName, [id: id, cancelled: cancelled]))
  n.temporaryOfflineCause?.toString()
}
// A person marks the node, or takes whatever mark there is, and lifts it.
def lifted = { n, String by = 'alice' ->
  of('hudson.security.ACL').user = by
  n.computer.setTemporarilyOffline(true, of('hudson.slaves.OfflineCause$ByCLI').newInstance('looking at the disk'))
  assert n.temporaryOfflineCause.toString() == 'Disconnected by ' + by + ' : looking at the disk'
  n.computer.setTemporarilyOffline(false, null)
  assert of('hudson.security.ACL').user == by
  of('hudson.security.ACL').user = 'SYSTEM'
  n.temporaryOfflineCause?.toString()
}

// A node that takes a build is closed behind it: ours, and only those for one build.
assert accept(node('e', own)) == mark
assert accept(node('f', own), 'OneOffExecutor') == null
assert accept(node('p', 'Swarm agent from 10.0.0.1: ' + words('bellboard', 'persistent'))) == null
assert accept(node('x', words('other', 'ephemeral'))) == null
assert accept(node('y', words('bellboard-2', 'ephemeral'))) == null
assert accept(node('z', 'built by hand')) == null
assert accept(node('n', null)) == null
assert accept(node('h', own, 'Disconnected by alice : looking at the disk')) == 'Disconnected by alice : looking at the disk'

// Opened by a person, it is closed again, in Jenkins' own name. A node without a build stays open.
def e = jenkins.known.e
assert lifted(e) == mark
assert lifted(jenkins.known.h) == mark
assert lifted(jenkins.known.f) == null
assert lifted(node('fresh', own)) == null
assert ['p', 'x', 'y', 'z', 'n'].every { lifted(jenkins.known[it]) == null }
assert before.collect { lifted(it) } == [mark, null]

// An item that asks for the very node opens it, and closes it again when taken.
assert queue('linux', e) == mark
assert queue(null, e) == mark
assert queue('e', e) == null
assert lifted(e) == null
assert leave(e, false) == null
assert accept(e) == mark
assert lifted(e) == mark
// Two items for one node: it is open until both are in.
assert [queue('e', e, 8), queue('e', e, 9)] == [null, null]
assert leave(e, false, 8) == null && accept(e) == null
assert leave(e, false, 9) == null && accept(e) == mark
// One that is cancelled leaves it closed.
assert queue('e', e) == null && leave(e, true) == mark
assert leave(node('never', own), true) == null
[ 'Disconnected by bellboard : bellboard(bellboard): idle 10m0s, leaving': null,
  'bellboard-hook(bellboard): one build only; this mark ends no build': null,
  'Disconnected by SYSTEM : bellboard-hook(bellboard): one build': null, // as it was once
  'Getrennt durch SYSTEM : bellboard-hook(bellboard): one build': null,
  'Disconnected by alice : looking at the disk': 'Disconnected by alice : looking at the disk',
  'Disconnected by bellboard : bellboard(other): idle': 'Disconnected by bellboard : bellboard(other): idle',
  'Disk space is too low': 'Disk space is too low',
].each { was, becomes -> assert queue('m', node('m', own, was)) == becomes }
// On a persistent agent too: Bellboard marks those on their way out.
assert queue('q', node('q', words('bellboard', 'persistent'), 'bellboard(bellboard): idle 10m0s, leaving')) == null
assert queue('w', node('w', 'built by hand', 'bellboard(bellboard): idle 10m0s, leaving')) != null
assert queue('gone', e) == mark

// A safe restart waits for builds that block one, on every connected node of ours.
def ready = { restarts[0].isReadyToRestart() }
def work = { n, boolean busy, Object execution = null ->
  def blocks = execution == null ? null : of('jenkins.model.queue.AsynchronousExecution').newInstance(blocks: execution)
  n.computer.allExecutors = [of('hudson.model.Executor').newInstance(owner: n.computer),
    of('hudson.model.Executor').newInstance(owner: n.computer, busy: busy, asynchronousExecution: blocks)]
}
jenkins.known.clear()
assert ready()
[ 'ephemeral', 'persistent' ].each { kind ->
  [null, mark, 'Disconnected by alice : looking at the disk'].each { m ->
    def n = node('r', words('bellboard', kind), m)
    assert ready()
    work(n, true)
    assert !ready()
    work(n, true, true)
    assert !ready()
    work(n, true, false) // a pipeline
    assert ready()
    work(n, false)
    assert ready()
    work(n, true)
    n.computer.channel = null
    assert ready()
  }
}
work(node('r', words('other', 'ephemeral'), mark), true)
assert ready()
def ghost = node('r', own)
work(ghost, true)
ghost.computer.node = null // deleted, with its build still there
assert ready()

// The built-in node says that the hook is there, and for whom.
assert labels[0].findLabels(jenkins)*.name == ['bellboard-hook-bellboard']
assert labels[0].findLabels(e) == []
println 'hook: marks one build, lifts what is ours, and holds a safe restart, played against stand-ins for Jenkins'
