// Plays bellboard-credentials.groovy against stand-ins for the few classes of Jenkins
// that it touches: what is added, what is changed, and what is left alone. Run by ./check.
def loader = new GroovyClassLoader()
['''package hudson.util
class Secret {
  String plainText
}''', '''package com.cloudbees.plugins.credentials.common
interface IdCredentials {
  String getId()
}''', '''package com.cloudbees.plugins.credentials.domains
class Domain {
  static Domain all = new Domain()
  static Domain global() { all }
}''', '''package com.cloudbees.plugins.credentials
enum CredentialsScope {
  SYSTEM, GLOBAL
}
class Store {
  List kept = []
  List done = []
  List getCredentials(domains.Domain d) { kept }
  void addCredentials(domains.Domain d, Object c) {
    kept << c
    done << 'add ' + c.id
  }
  void updateCredentials(domains.Domain d, Object old, Object c) {
    kept[kept.indexOf(old)] = c
    done << 'update ' + c.id
  }
}
class SystemCredentialsProvider {
  static SystemCredentialsProvider instance
  Store store = new Store()
}''', '''package com.cloudbees.plugins.credentials.impl
class UsernamePasswordCredentialsImpl implements com.cloudbees.plugins.credentials.common.IdCredentials {
  Object scope
  String id, description, username
  hudson.util.Secret password
  UsernamePasswordCredentialsImpl(Object scope, String id, String description, String username, String password) {
    this.scope = scope
    this.id = id
    this.description = description
    this.username = username
    this.password = new hudson.util.Secret(plainText: password)
  }
}''', '''package com.cloudbees.jenkins.plugins.sshcredentials.impl
class BasicSSHUserPrivateKey implements com.cloudbees.plugins.credentials.common.IdCredentials {
  static class DirectEntryPrivateKeySource {
    String key
    DirectEntryPrivateKeySource(String key) { this.key = key }
  }
  Object scope
  String id, username, description
  List privateKeys
  hudson.util.Secret passphrase
  BasicSSHUserPrivateKey(Object scope, String id, String username, Object source, String passphrase, String description) {
    this.scope = scope
    this.id = id
    this.username = username
    this.privateKeys = [source.key]
    this.passphrase = passphrase ? new hudson.util.Secret(plainText: passphrase) : null
    this.description = description
  }
}'''].each { loader.parseClass(it) }
def of = { String name -> loader.loadClass(name) }

def script = new File(args[0])
def dir = new File(System.getenv('BELLBOARD_BOOTSTRAP_DIR'))
def provider = of('com.cloudbees.plugins.credentials.SystemCredentialsProvider')
def fresh = { provider.instance = provider.newInstance() }
// What a start of Jenkins does to the store.
def start = { ->
  provider.instance.store.done.clear()
  new GroovyShell(loader).evaluate(script)
  provider.instance.store.done
}
def the = { String id -> provider.instance.store.kept.find { it.id == id } }

// Without a file nothing is made.
['agent-username', 'agent-password', 'agent-ssh-key'].each { new File(dir, it).delete() }
fresh()
assert start() == []

// Twice: the second start finds all as it should be, and writes nothing.
new File(dir, 'agent-password').text = 'open sesame\n'
new File(dir, 'agent-ssh-key').text = 'a key'
assert start() == ['add jenkins-agent', 'add jenkins-agent-ssh']
assert start() == []
assert the('jenkins-agent').username == 'jenkins' && the('jenkins-agent').password.plainText == 'open sesame'
assert the('jenkins-agent-ssh').privateKeys == ['a key\n'] && the('jenkins-agent-ssh').passphrase == null
assert provider.instance.store.kept*.scope*.name() == ['SYSTEM', 'SYSTEM']

// Each that its file, or what it is, tells to be another is written, and no other.
new File(dir, 'agent-password').text = 'open wheat'
assert start() == ['update jenkins-agent'] && start() == []
assert the('jenkins-agent').password.plainText == 'open wheat'
new File(dir, 'agent-ssh-key').text = 'another key'
assert start() == ['update jenkins-agent-ssh'] && start() == []
assert the('jenkins-agent-ssh').privateKeys == ['another key\n']
new File(dir, 'agent-username').text = 'alice'
assert start() == ['update jenkins-agent', 'update jenkins-agent-ssh'] && start() == []
the('jenkins-agent').scope = of('com.cloudbees.plugins.credentials.CredentialsScope').GLOBAL
the('jenkins-agent-ssh').passphrase = of('hudson.util.Secret').newInstance(plainText: 'locked')
assert start() == ['update jenkins-agent', 'update jenkins-agent-ssh'] && start() == []

// One of another class by that id is replaced; one by another id is a person's.
def kept = provider.instance.store.kept
def ssh = the('jenkins-agent-ssh')
kept.clear()
ssh.id = 'jenkins-agent'
kept << ssh
assert start() == ['update jenkins-agent', 'add jenkins-agent-ssh'] && start() == []
the('jenkins-agent').id = 'mine'
assert start() == ['add jenkins-agent'] && kept*.id == ['mine', 'jenkins-agent-ssh', 'jenkins-agent']
println 'credentials: added once, changed with their files, played against stand-ins for Jenkins'
