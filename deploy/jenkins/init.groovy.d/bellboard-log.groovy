// Keeps one line out of Jenkins' log. Since 2.437 Jenkins warns at each read of an
// agent's secret that the agent "is connecting with the "-jnlpUrl" argument, which is
// deprecated". Bellboard reads the secret of each inbound agent, in the only way that
// Jenkins has, and its agents connect without that argument.
//
// The script drops only this warning, and only about nodes that a Bellboard made. All
// other lines of the logger stay. Another run changes nothing.
import java.util.logging.Filter
import java.util.logging.LogRecord
import java.util.logging.Logger
import jenkins.model.Jenkins

// Each method has lines of its own: Groovy does not find a second one on a line.

class BellboardFilter implements Filter {
  final Filter before

  BellboardFilter(Filter before) {
    this.before = before
  }

  boolean isLoggable(LogRecord record) {
    return !ours(String.valueOf(record.message)) && (before == null || before.isLoggable(record))
  }

  boolean ours(String message) {
    def said = message =~ /^Agent "([^"]+)" is connecting with the "-jnlpUrl" argument/
    if (!said.find()) {
      return false
    }
    return (Jenkins.get().getNode(said.group(1))?.nodeDescription ?: '').contains('bellboard instance=')
  }
}

// Initialised, the class keeps its logger, which keeps the filter.
def name = 'hudson.slaves.SlaveComputer'
Class.forName(name, true, Jenkins.classLoader)
def logger = Logger.getLogger(name)
if (logger.filter?.getClass()?.name != BellboardFilter.name) {
  logger.filter = new BellboardFilter(logger.filter)
}
