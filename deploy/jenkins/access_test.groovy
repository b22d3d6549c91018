// Plays bellboard-access.groovy against stand-ins for the few classes of Jenkins
// that it touches: who is made, with which token, and what he may. Run by ./check.
def loader = new GroovyClassLoader()
['''package hudson.model
class Permission {
  String id
}
class Item {
  static READ = new Permission(id: 'Item.READ')
}
class Computer {
  static CREATE = new Permission(id: 'CREATE')
  static CONNECT = new Permission(id: 'CONNECT')
  static DISCONNECT = new Permission(id: 'DISCONNECT')
  static DELETE = new Permission(id: 'DELETE')
  static CONFIGURE = new Permission(id: 'CONFIGURE')
}
class User {
  static Map all = [:]
  Map properties = [:]
  int saves
  static User getById(String name, boolean create) {
    if (create && !all[name]) all[name] = new User()
    all[name]
  }
  Object getProperty(Class c) { properties[c] }
  void addProperty(Object p) { properties[p.getClass()] = p }
  void save() { saves++ }
}''', '''package hudson.security
class HudsonPrivateSecurityRealm {
  List made = []
  void createAccount(String name, String password) {
    made << name
    assert password.size() > 60
    hudson.model.User.getById(name, true)
  }
}
class GlobalMatrixAuthorizationStrategy {
  Map grantedPermissionEntries = [:].withDefault { [] as Set }
  void add(hudson.model.Permission p, Object entry) { grantedPermissionEntries[p] << entry }
  Map may() {
    Map out = [:].withDefault { [] as SortedSet }
    grantedPermissionEntries.each { p, who -> who.each { out[it.sid] << p.id } }
    out
  }
}
class ProjectMatrixAuthorizationStrategy extends GlobalMatrixAuthorizationStrategy {
}''', '''package org.jenkinsci.plugins.matrixauth
@groovy.transform.EqualsAndHashCode
class PermissionEntry {
  String sid
  static PermissionEntry user(String sid) { new PermissionEntry(sid: sid) }
}''', '''package jenkins.security
class ApiTokenProperty {
  List tokens = []
  boolean matchesPassword(String t) { t in tokens }
  void addFixedNewToken(String name, String t) {
    assert t.size() == 34
    tokens << t
  }
}''', '''package jenkins.model
class Jenkins {
  static READ = new hudson.model.Permission(id: 'READ')
  static Jenkins it
  Object securityRealm
  Object authorizationStrategy
  Map pluginManager
  int saves
  static Jenkins get() { it }
  void save() { saves++ }
}'''].each { loader.parseClass(it) }
def of = { String name -> loader.loadClass(name) }

def script = new File(args[0])
def dir = new File(System.getenv('BELLBOARD_BOOTSTRAP_DIR'))
def old = '11' + 'a' * 32
def run = { -> new GroovyShell(loader).evaluate(script) }
def fresh = { String realm, String strategy ->
  of('hudson.model.User').all.clear()
  def j = of('jenkins.model.Jenkins').newInstance(pluginManager: [uberClassLoader: loader])
  j.securityRealm = realm ? of('hudson.security.' + realm).newInstance() : new Object()
  j.authorizationStrategy = strategy ? of('hudson.security.' + strategy).newInstance() : new Object()
  of('jenkins.model.Jenkins').it = j
  j
}
def tokens = { String user -> of('hudson.model.User').all[user]?.getProperty(of('jenkins.security.ApiTokenProperty'))?.tokens }
def log = java.util.logging.Logger.getLogger('bellboard.access') // kept, or its level is forgotten
log.level = java.util.logging.Level.OFF

new File(dir, 'token').text = old + '\n'
new File(dir, 'swarm-token').text = '11' + 'b' * 32
def least = [bellboard: ['CREATE', 'DELETE', 'DISCONNECT', 'Item.READ', 'READ'] as SortedSet, swarm: ['CONNECT', 'CREATE', 'READ'] as SortedSet]

// Twice: the second run finds all as it should be, and writes nothing.
def j = fresh('HudsonPrivateSecurityRealm', 'ProjectMatrixAuthorizationStrategy')
run()
def saves = j.saves
run()
assert j.securityRealm.made == ['bellboard', 'swarm']
assert tokens('bellboard') == [old] && tokens('swarm').size() == 1
assert j.authorizationStrategy.may() == least
assert j.saves == saves && of('hudson.model.User').all.bellboard.saves == 1

// Another token comes beside the first, so that neither side is locked out.
new File(dir, 'token').text = '11' + 'c' * 32
run()
assert tokens('bellboard') == [old, '11' + 'c' * 32]

// A global matrix gives the Swarm user no right on its own node.
j = fresh('HudsonPrivateSecurityRealm', 'GlobalMatrixAuthorizationStrategy')
run()
assert j.authorizationStrategy.may() == least + [swarm: (least.swarm + 'CONFIGURE') as SortedSet]

// Other realms and strategies: accounts are theirs, permissions a person's.
j = fresh(null, null)
run()
assert tokens('bellboard').size() == 1 && j.saves == 0

// Who has no file is left out.
new File(dir, 'swarm-token').delete()
j = fresh('HudsonPrivateSecurityRealm', 'ProjectMatrixAuthorizationStrategy')
run()
assert j.securityRealm.made == ['bellboard'] && tokens('swarm') == null
println 'access: two users with the least permissions, played against stand-ins for Jenkins'
