// Plays bellboard-log.groovy against stand-ins for the few classes of Jenkins that it
// touches: which warnings it drops, and which stay. Run by ./check.
import java.util.logging.Filter
import java.util.logging.Handler
import java.util.logging.Level
import java.util.logging.LogRecord
import java.util.logging.Logger

def loader = new GroovyClassLoader()
['''package hudson.slaves
class SlaveComputer {
  static final java.util.logging.Logger LOGGER = java.util.logging.Logger.getLogger('hudson.slaves.SlaveComputer')
}''', '''package jenkins.model
class Jenkins {
  static Jenkins it = new Jenkins()
  Map nodes = [:]
  static Jenkins get() { it }
  Object getNode(String name) { nodes[name] }
}'''].each { loader.parseClass(it) }
loader.loadClass('jenkins.model.Jenkins').get().nodes.putAll(
  'web-e-1': [nodeDescription: 'Bellboard: agent of team web (bellboard instance=ci team=web kind=ephemeral)'],
  'by-hand': [nodeDescription: 'the old Mac under the desk'], 'bare': [nodeDescription: null])

// Weakly held loggers go with the next collection, and their filters with them.
def logger = Logger.getLogger('hudson.slaves.SlaveComputer')
def said = []
logger.useParentHandlers = false
logger.addHandler(new Handler() {
  void publish(LogRecord r) {
    said << r.message
  }
  void flush() {
  }
  void close() {
  }
})
logger.filter = { LogRecord r -> r.message != 'noise' } as Filter
2.times { new GroovyShell(loader).evaluate(new File(args[0])) } // twice: it must not be there twice
assert logger.filter.before.getClass().name != 'BellboardFilter'

def deprecated = { String name -> 'Agent "' + name + '" is connecting with the "-jnlpUrl" argument, which is deprecated. Use "-url" and "-name" instead' }
def hears = { String message ->
  said.clear()
  logger.log(new LogRecord(Level.WARNING, message))
  said == [message]
}
assert !hears(deprecated('web-e-1'))
assert ['by-hand', 'bare', 'gone'].every { hears(deprecated(it)) }
assert hears('Agent "web-e-1" is offline') && hears(null)
assert !hears('noise')
println 'log: drops one warning about nodes of Bellboard, played against stand-ins for Jenkins'
