// Plays bellboard-hello.groovy against stand-ins for the few classes of Jenkins that
// it touches: when its job is made, and how often it is started. Run by ./check.
def loader = new GroovyClassLoader()
['''package jenkins.util
class Timer {
  static Timer it = new Timer()
  List due = []
  static Timer get() { it }
  void schedule(Runnable r, long n, java.util.concurrent.TimeUnit unit) { due << r }
}''', '''package jenkins.model
class Jenkins {
  static Jenkins it = new Jenkins()
  Map items = [:]
  int builds
  static Jenkins get() { it }
  Object getItem(String name) { items[name] }
  Object createProjectFromXML(String name, InputStream xml) {
    new XmlSlurper().parse(xml)
    items[name] = [scheduleBuild2: { int quiet -> builds++ }]
  }
}'''].each { loader.parseClass(it) }
def jenkins = loader.loadClass('jenkins.model.Jenkins').get()
def timer = loader.loadClass('jenkins.util.Timer').get()

// How many builds a start of Jenkins with that word in its environment begins.
def start = { String word ->
  System.metaClass.static.getenv = { String name -> name == 'BELLBOARD_HELLO' ? word : null }
  new GroovyShell(loader).evaluate(new File(args[0]))
  def before = jenkins.builds
  timer.due.each { it.run() }
  timer.due.clear()
  jenkins.builds - before
}
assert start(null) == 0 && start('false') == 0 && jenkins.items.isEmpty()
assert start('true') == 1 && jenkins.items.keySet() == ['bellboard-hello'] as Set
assert start('true') == 0
println 'hello: its job is made and started once, played against stand-ins for Jenkins'
