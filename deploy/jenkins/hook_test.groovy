// Plays bellboard-hook.groovy against stand-ins for the few classes of Jenkins that
// it touches: who is marked, who is not, and what is lifted. Run by ./check.
def loader = new GroovyClassLoader()
['''package hudson
class ExtensionList extends ArrayList {
  static Map lists = [:].withDefault { new ExtensionList() }
  static ExtensionList lookup(Class c) { lists[c] }
}''', '''package hudson.slaves
abstract class OfflineCause {
  static class ByCLI extends OfflineCause {
    String message
    ByCLI(String m) { message = m }
    String toString() { 'Disconnected by SYSTEM : ' + message }
  }
  static class Other extends OfflineCause {
    String text
    String toString() { text }
  }
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
  Node node
  void setTemporarilyOffline(boolean on, OfflineCause cause) { node.temporaryOfflineCause = on ? cause : null }
}
class Executor {
  Computer owner
}
class OneOffExecutor extends Executor {
}
class Queue {
  static class Task {
  }
  static class BuildableItem {
    Label assignedLabel
  }
}
interface ExecutorListener {
  void taskAccepted(Executor executor, Queue.Task task)
  void taskCompleted(Executor executor, Queue.Task task, long ms)
  void taskCompletedWithProblems(Executor executor, Queue.Task task, long ms, Throwable problems)
}''', '''package hudson.model.queue
abstract class QueueListener {
  void onEnterBuildable(hudson.model.Queue.BuildableItem item) {
  }
}''', '''package jenkins.model
class Jenkins {
  static Jenkins it = new Jenkins()
  Map nodes = [:]
  static Jenkins get() { it }
  Object getNode(String name) { nodes[name] }
}'''].each { loader.parseClass(it) }
def of = { String name -> loader.loadClass(name) }

def hook = new File(args[0])
2.times { new GroovyShell(loader).evaluate(hook) } // twice: it must not be there twice
def executors = of('hudson.ExtensionList').lookup(of('hudson.model.ExecutorListener'))
def queues = of('hudson.ExtensionList').lookup(of('hudson.model.queue.QueueListener'))
assert executors.size() == 1 && queues.size() == 1

def jenkins = of('jenkins.model.Jenkins').get()
def node = { String name, String description, String mark = null ->
  def n = of('hudson.model.Node').newInstance(nodeName: name, nodeDescription: description)
  n.computer = of('hudson.model.Computer').newInstance(node: n)
  if (mark) n.temporaryOfflineCause = of('hudson.slaves.OfflineCause$Other').newInstance(text: mark)
  jenkins.nodes[name] = n
  n
}
def accept = { n, String kind = 'Executor' ->
  executors[0].taskAccepted(of('hudson.model.' + kind).newInstance(owner: n.computer), of('hudson.model.Queue$Task').newInstance())
  n.temporaryOfflineCause?.toString()
}
def queue = { String label, n ->
  def l = label == null ? null : of('hudson.model.Label').newInstance(name: label)
  queues[0].onEnterBuildable(of('hudson.model.Queue$BuildableItem').newInstance(assignedLabel: l))
  n.temporaryOfflineCause?.toString()
}
def words = { String instance, String kind -> 'Bellboard: waiting to be started for team web (bellboard instance=' + instance + ' team=web kind=' + kind + ')' }
def own = words('bellboard', 'ephemeral')
def mark = 'Disconnected by SYSTEM : bellboard-hook(bellboard): one build'

// A node that takes a build is closed behind it: ours, and only those for one build.
assert accept(node('e', own)) == mark
assert accept(node('f', own), 'OneOffExecutor') == null
assert accept(node('p', 'Swarm agent from 10.0.0.1: ' + words('bellboard', 'persistent'))) == null
assert accept(node('x', words('other', 'ephemeral'))) == null
assert accept(node('y', words('bellboard-2', 'ephemeral'))) == null
assert accept(node('z', 'built by hand')) == null
assert accept(node('n', null)) == null
assert accept(node('h', own, 'Disconnected by alice : looking at the disk')) == 'Disconnected by alice : looking at the disk'

// An item that asks for the very node opens it, and closes it again when taken.
def e = jenkins.nodes.e
assert queue('linux', e) == mark
assert queue(null, e) == mark
assert queue('e', e) == null
assert accept(e) == mark
[ 'Disconnected by bellboard : bellboard(bellboard): idle 10m0s, leaving': null,
  'bellboard-hook(bellboard): one build': null,
  'Getrennt durch SYSTEM : bellboard-hook(bellboard): one build': null,
  'Disconnected by alice : looking at the disk': 'Disconnected by alice : looking at the disk',
  'Disconnected by bellboard : bellboard(other): idle': 'Disconnected by bellboard : bellboard(other): idle',
  'Disk space is too low': 'Disk space is too low',
].each { was, becomes -> assert queue('m', node('m', own, was)) == becomes }
// On a persistent agent too: Bellboard marks those on their way out.
assert queue('q', node('q', words('bellboard', 'persistent'), 'bellboard(bellboard): idle 10m0s, leaving')) == null
assert queue('w', node('w', 'built by hand', 'bellboard(bellboard): idle 10m0s, leaving')) != null
assert queue('gone', e) == mark
println 'hook: marks one build and lifts what is ours, played against stand-ins for Jenkins'
