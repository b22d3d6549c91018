// Makes credentials for agents that Jenkins calls by SSH: a user with a password, and a
// user with an SSH key without a passphrase. Of Bellboard's agents only those with
// CONNECT=ssh need one, the second; the others call Jenkins. The script runs at every
// start of Jenkins, and changes nothing that is as it should be. It needs the plugins
// credentials and ssh-credentials.
//
// The values come from the files agent-password and agent-ssh-key. The script skips
// credentials without a file. Configuration as code replaces all credentials with its
// own: if your file has a credentials section, write them there (jcasc.yaml) instead.
import com.cloudbees.jenkins.plugins.sshcredentials.impl.BasicSSHUserPrivateKey
import com.cloudbees.plugins.credentials.CredentialsScope
import com.cloudbees.plugins.credentials.SystemCredentialsProvider
import com.cloudbees.plugins.credentials.common.IdCredentials
import com.cloudbees.plugins.credentials.domains.Domain
import com.cloudbees.plugins.credentials.impl.UsernamePasswordCredentialsImpl

def dir = new File(System.getenv('BELLBOARD_BOOTSTRAP_DIR') ?: '/run/secrets/bellboard')
def read = { String name ->
  def file = new File(dir, name)
  file.exists() ? file.text.trim() : null
}
def store = SystemCredentialsProvider.instance.store
// A change of the store writes all credentials, so equal credentials stay.
def put = { credentials, says ->
  def old = store.getCredentials(Domain.global()).find { it instanceof IdCredentials && it.id == credentials.id }
  def all = { [it.scope, it.username, it.description] + says(it) }
  if (old == null) {
    store.addCredentials(Domain.global(), credentials)
  } else if (old.getClass() != credentials.getClass() || all(old) != all(credentials)) {
    store.updateCredentials(Domain.global(), old, credentials)
  }
}

// Scope SYSTEM: Jenkins can launch agents with them, and jobs cannot use them.
def user = read('agent-username') ?: 'jenkins'
def password = read('agent-password')
if (password) {
  put(new UsernamePasswordCredentialsImpl(CredentialsScope.SYSTEM, 'jenkins-agent', 'Agents: user and password', user, password)) { [it.password.plainText] }
}
def key = read('agent-ssh-key')
if (key) {
  def source = new BasicSSHUserPrivateKey.DirectEntryPrivateKeySource(key + '\n')
  put(new BasicSSHUserPrivateKey(CredentialsScope.SYSTEM, 'jenkins-agent-ssh', user, source, '', 'Agents: SSH key, no passphrase')) { [it.privateKeys, it.passphrase?.plainText] }
}
