// Makes Bellboard's user in Jenkins with its API token and its permissions, and the
// same for the user of the Swarm agents. The script runs at every start of Jenkins,
// and changes nothing that is as it should be.
//
// The tokens come from files of a mounted Secret: "11" and 32 hexadecimal digits
// each, as deploy/jenkins/prepare makes them. The script skips a user without a file.
import hudson.model.Computer
import hudson.model.Item
import hudson.model.User
import hudson.security.HudsonPrivateSecurityRealm
import java.util.logging.Logger
import jenkins.model.Jenkins
import jenkins.security.ApiTokenProperty

def log = Logger.getLogger('bellboard.access')
def jenkins = Jenkins.get()
def dir = new File(System.getenv('BELLBOARD_BOOTSTRAP_DIR') ?: '/run/secrets/bellboard')

// All permissions of each user. The permissions that these imply come on top.
def users = [
  [name: System.getenv('BELLBOARD_USER') ?: 'bellboard', file: 'token',
   may: [Jenkins.READ, Item.READ, Computer.CREATE, Computer.DISCONNECT, Computer.DELETE]],
  [name: System.getenv('BELLBOARD_SWARM_USER') ?: 'swarm', file: 'swarm-token',
   may: [Jenkins.READ, Computer.CREATE, Computer.CONNECT]],
]

users.each { u ->
  def file = new File(dir, u.file)
  if (!file.exists()) {
    log.info("no ${file}: user ${u.name} is left alone")
    return
  }
  def token = file.text.trim()

  // If Jenkins keeps the accounts itself, an unknown user cannot log in: make the
  // account, with a random password. LDAP and the like have to know the user already.
  def realm = jenkins.securityRealm
  if (realm instanceof HudsonPrivateSecurityRealm && User.getById(u.name, false) == null) {
    realm.createAccount(u.name, "${UUID.randomUUID()}${UUID.randomUUID()}".toString())
  }
  def user = User.getById(u.name, true)
  def tokens = user.getProperty(ApiTokenProperty)
  if (tokens == null) {
    tokens = new ApiTokenProperty()
    user.addProperty(tokens)
  }
  // An older token stays valid until a person revokes it. So a new token replaces the
  // old one without a gap.
  if (!tokens.matchesPassword(token)) {
    tokens.addFixedNewToken("from the Secret, ${java.time.LocalDate.now()}".toString(), token)
    user.save()
    log.info("user ${u.name} has a new API token")
  }

  // Only if permissions are a matrix. The classes are looked up by name, since the
  // plugin may be missing. Configuration as code sets the whole matrix at each start
  // and reload: then its file has to have these permissions too (jcasc.yaml).
  def matrix = ['hudson.security.GlobalMatrixAuthorizationStrategy', 'hudson.security.ProjectMatrixAuthorizationStrategy']
  def strategy = jenkins.authorizationStrategy
  if (!(strategy.getClass().name in matrix)) {
    log.warning("permissions are no matrix: give user ${u.name} these by hand: ${u.may*.id.join(', ')}")
    return
  }
  def entries = jenkins.pluginManager.uberClassLoader.loadClass('org.jenkinsci.plugins.matrixauth.PermissionEntry')
  def entry = entries.getMethod('user', String).invoke(null, u.name)
  // With a global matrix a user has no rights on a node that the user makes, and Swarm
  // sets labels on its own node.
  def may = u.file == 'swarm-token' && strategy.getClass().name.contains('GlobalMatrix') ? u.may + Computer.CONFIGURE : u.may
  def missing = may.findAll { p -> !strategy.getGrantedPermissionEntries().get(p)?.contains(entry) }
  missing.each { p -> strategy.add(p, entry) }
  if (missing) {
    jenkins.save()
    log.info("user ${u.name} may now: ${missing*.id.join(', ')}")
  }
}
