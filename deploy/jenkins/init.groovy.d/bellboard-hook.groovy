// One build for each ephemeral agent, enforced inside Jenkins: an agent that takes
// a build takes no second one, however fast that comes. Without this script
// Bellboard marks the agent when it sees the build, about a second later.
//
// It touches only nodes that Bellboard made, which their description tells, and
// lifts only marks of its own and of Bellboard: a node that a person took offline
// stays so. Running it again replaces what the last run left.
import hudson.ExtensionList
import hudson.model.Executor
import hudson.model.ExecutorListener
import hudson.model.Node
import hudson.model.OneOffExecutor
import hudson.model.Queue
import hudson.model.queue.QueueListener
import hudson.slaves.OfflineCause
import jenkins.model.Jenkins

// Each method has lines of its own: Groovy does not find a second one on a line.

class BellboardNodes {
  final String instance

  BellboardNodes(String instance) {
    this.instance = instance
  }

  boolean ours(Node node) {
    return node != null && (node.nodeDescription ?: '').contains('bellboard instance=' + instance + ' ')
  }

  boolean ephemeral(Node node) {
    return ours(node) && node.nodeDescription.contains(' kind=ephemeral')
  }

  // The words after "Disconnected by USER : ", which Jenkins says in its own language.
  boolean markedByUs(OfflineCause cause) {
    String text = String.valueOf(cause)
    int i = text.indexOf(' : ')
    if (i >= 0) {
      text = text.substring(i + 3)
    }
    return text.startsWith('bellboard-hook(' + instance + '): ') || text.startsWith('bellboard(' + instance + '): ')
  }
}

// Closes the node behind the build that it takes. It stays closed when that ends.
class BellboardOneBuild implements ExecutorListener {
  final BellboardNodes nodes

  BellboardOneBuild(BellboardNodes nodes) {
    this.nodes = nodes
  }

  void taskAccepted(Executor executor, Queue.Task task) {
    // What takes no executor (the frame of a matrix build) is not the one build.
    if (executor instanceof OneOffExecutor) {
      return
    }
    Node node = executor.owner.node
    if (nodes.ephemeral(node) && node.getTemporaryOfflineCause() == null) {
      executor.owner.setTemporarilyOffline(true, new OfflineCause.ByCLI('bellboard-hook(' + nodes.instance + '): one build'))
    }
  }

  void taskCompleted(Executor executor, Queue.Task task, long milliseconds) {
  }

  void taskCompletedWithProblems(Executor executor, Queue.Task task, long milliseconds, Throwable problems) {
  }
}

// Opens the node to the build that was on it before Jenkins restarted: its item
// asks for the very node, and would be aborted after five minutes before a closed one.
class BellboardResume extends QueueListener {
  final BellboardNodes nodes

  BellboardResume(BellboardNodes nodes) {
    this.nodes = nodes
  }

  void onEnterBuildable(Queue.BuildableItem item) {
    def label = item.assignedLabel
    Node node = label == null ? null : Jenkins.get().getNode(label.name)
    if (nodes.ours(node) && label == node.selfLabel && nodes.markedByUs(node.getTemporaryOfflineCause())) {
      node.toComputer()?.setTemporarilyOffline(false, null)
    }
  }
}

def nodes = new BellboardNodes(System.getenv('BELLBOARD_INSTANCE') ?: 'bellboard')
def put = { Class point, listener ->
  def list = ExtensionList.lookup(point)
  // By name: each run compiles classes of its own.
  list.findAll { it.getClass().name == listener.getClass().name }.each { list.remove(it) }
  list.add(listener)
}
put(ExecutorListener, new BellboardOneBuild(nodes))
put(QueueListener, new BellboardResume(nodes))
