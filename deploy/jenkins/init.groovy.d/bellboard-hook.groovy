// Enforces inside Jenkins that each ephemeral agent runs one build: an agent that takes
// a build takes no second one, however fast the second one comes. Without this script
// Bellboard marks the agent when it sees the build, about a second later.
//
// Jenkins' safe restart does not ask marked nodes whether a build runs there. This
// script does, so that a safe restart cuts off no build on Bellboard's agents.
//
// The script touches only nodes that Bellboard made, which their description says. It
// lifts only its own marks and Bellboard's: a node that a person took offline stays
// offline. The built-in node gets the label bellboard-hook-INSTANCE, by which bellboard
// doctor finds the script. Another run replaces the objects of the last run.
import hudson.ExtensionList
import hudson.model.Computer
import hudson.model.Executor
import hudson.model.ExecutorListener
import hudson.model.LabelFinder
import hudson.model.Node
import hudson.model.OneOffExecutor
import hudson.model.Queue
import hudson.model.RestartListener
import hudson.model.labels.LabelAtom
import hudson.model.queue.QueueListener
import hudson.security.ACL
import hudson.slaves.ComputerListener
import hudson.slaves.OfflineCause
import jenkins.model.Jenkins

// Each method has lines of its own: Groovy does not find a second one on a line.

class BellboardNodes {
  final String instance
  // The computers that have had their build, and the ids of the items that may go only
  // to one computer. An entry goes with its computer; both maps are empty when Jenkins
  // starts.
  final Map<Computer, Boolean> built = Collections.synchronizedMap(new WeakHashMap())
  final Map<Computer, Set<Long>> awaited = Collections.synchronizedMap(new WeakHashMap())

  BellboardNodes(String instance) {
    this.instance = instance
  }

  boolean ours(Node node) {
    return node != null && (node.nodeDescription ?: '').contains('bellboard instance=' + instance + ' ')
  }

  boolean ephemeral(Node node) {
    return ours(node) && node.nodeDescription.contains(' kind=ephemeral')
  }

  // The text after "Disconnected by USER : ", which Jenkins writes in its own language.
  boolean markedByUs(OfflineCause cause) {
    String text = String.valueOf(cause)
    int i = text.indexOf(' : ')
    if (i >= 0) {
      text = text.substring(i + 3)
    }
    return text.startsWith('bellboard-hook(' + instance + '): ') || text.startsWith('bellboard(' + instance + '): ')
  }

  // Closes the node of a computer that has had its build, if the node is open and no
  // item has to go there. The mark has Jenkins' own name, not the name of a person who
  // lifts a mark.
  void close(Computer computer) {
    Node node = computer?.node
    if (!ephemeral(node) || node.getTemporaryOfflineCause() != null || !built.containsKey(computer) || awaited.containsKey(computer)) {
      return
    }
    def user = ACL.as2(ACL.SYSTEM2)
    try {
      computer.setTemporarilyOffline(true, new OfflineCause.ByCLI('bellboard-hook(' + instance + '): one build only; this mark ends no build'))
    } finally {
      user.close()
    }
  }

  // The computer of the Bellboard node to which alone the item may go.
  Computer onlyPlace(Queue.Item item) {
    def label = item.assignedLabel
    Node node = label == null ? null : Jenkins.get().getNode(label.name)
    return ours(node) && label == node.selfLabel ? node.toComputer() : null
  }
}

// Closes the node behind the build that it takes. The node stays closed when the build ends.
class BellboardOneBuild implements ExecutorListener {
  final BellboardNodes nodes

  BellboardOneBuild(BellboardNodes nodes) {
    this.nodes = nodes
  }

  void taskAccepted(Executor executor, Queue.Task task) {
    // A task without an executor (the frame of a matrix build) is not the one build.
    if (executor instanceof OneOffExecutor) {
      return
    }
    nodes.built.put(executor.owner, true)
    nodes.close(executor.owner)
  }

  void taskCompleted(Executor executor, Queue.Task task, long milliseconds) {
  }

  void taskCompletedWithProblems(Executor executor, Queue.Task task, long milliseconds, Throwable problems) {
  }
}

// Closes the node again when a person lifts a mark that had replaced the hook's mark.
class BellboardReopened extends ComputerListener {
  final BellboardNodes nodes

  BellboardReopened(BellboardNodes nodes) {
    this.nodes = nodes
  }

  void onTemporarilyOnline(Computer computer) {
    nodes.close(computer)
  }
}

// Opens the node to the build that was on it before Jenkins restarted. The build's item
// asks for this node, and Jenkins would abort the build after five minutes at a closed
// node.
class BellboardResume extends QueueListener {
  final BellboardNodes nodes

  BellboardResume(BellboardNodes nodes) {
    this.nodes = nodes
  }

  void onEnterBuildable(Queue.BuildableItem item) {
    Computer computer = nodes.onlyPlace(item)
    if (computer == null) {
      return
    }
    synchronized (nodes.awaited) {
      Set<Long> ids = nodes.awaited.get(computer) ?: new HashSet<Long>()
      ids.add(item.id)
      nodes.awaited.put(computer, ids)
    }
    if (nodes.markedByUs(computer.node.getTemporaryOfflineCause())) {
      computer.setTemporarilyOffline(false, null)
    }
  }

  // The item went to its executor, or a person cancelled it.
  void onLeft(Queue.LeftItem item) {
    Computer computer = nodes.onlyPlace(item)
    if (computer == null) {
      return
    }
    synchronized (nodes.awaited) {
      Set<Long> ids = nodes.awaited.get(computer)
      ids?.remove(item.id)
      if (!ids) {
        nodes.awaited.remove(computer)
      }
    }
    if (item.isCancelled()) {
      nodes.close(computer)
    }
  }
}

// Jenkins' own question before a safe restart, also for Bellboard's marked nodes.
class BellboardRestart extends RestartListener {
  final BellboardNodes nodes

  BellboardRestart(BellboardNodes nodes) {
    this.nodes = nodes
  }

  boolean isReadyToRestart() {
    return !Jenkins.get().computers.any { Computer computer ->
      nodes.ours(computer.node) && computer.getChannel() != null && computer.allExecutors.any { blocks(it) }
    }
  }

  boolean blocks(Executor executor) {
    def execution = executor.getAsynchronousExecution()
    return executor.isBusy() && (execution == null || execution.blocksRestart())
  }
}

// Gives the built-in node the label that shows that the script is installed.
class BellboardLabel extends LabelFinder {
  final BellboardNodes nodes

  BellboardLabel(BellboardNodes nodes) {
    this.nodes = nodes
  }

  Collection<LabelAtom> findLabels(Node node) {
    return node instanceof Jenkins ? [Jenkins.get().getLabelAtom('bellboard-hook-' + nodes.instance)] : []
  }
}

def nodes = new BellboardNodes(System.getenv('BELLBOARD_INSTANCE') ?: 'bellboard')
// Marks outlive a restart of Jenkins: a node with the hook's mark takes no other build.
Jenkins.get().nodes.each { Node node ->
  Computer computer = node.toComputer()
  if (computer != null && nodes.ephemeral(node) && nodes.markedByUs(node.getTemporaryOfflineCause())) {
    nodes.built.put(computer, true)
  }
}
def put = { Class point, listener ->
  def list = ExtensionList.lookup(point)
  // By name: each run compiles classes of its own.
  list.findAll { it.getClass().name == listener.getClass().name }.each { list.remove(it) }
  list.add(listener)
}
put(ExecutorListener, new BellboardOneBuild(nodes))
put(ComputerListener, new BellboardReopened(nodes))
put(QueueListener, new BellboardResume(nodes))
put(RestartListener, new BellboardRestart(nodes))
put(LabelFinder, new BellboardLabel(nodes))
