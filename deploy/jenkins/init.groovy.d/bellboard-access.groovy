// Bellboard's user in Jenkins, its API token and its permissions, and the same for
// the user of the Swarm agents. Runs at every start of Jenkins, and changes
// nothing that is as it should be.
//
// The tokens come from files, which a Secret is mounted as: "11" and 32 hexadecimal
// digits each (deploy/jenkins/prepare makes such ones). A user without a file is
// left out.
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

// All that each user may do; the permissions that these imply come on top.
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

  // Where Jenkins keeps the accounts itself, an unknown user could not log in. Its
  // password is known to nobody. LDAP and the like have to know the user already.
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
  // A token that was there before stays until somebody revokes it: so one can be
  // put in the place of another without a gap.
  if (!tokens.matchesPassword(token)) {
    tokens.addFixedNewToken("from the Secret, ${java.time.LocalDate.now()}".toString(), token)
    user.save()
    log.info("user ${u.name} has a new API token")
  }

  // Only where permissions are a matrix. They are looked up by name, since the
  // plugin may not be there. Jenkins' configuration as code sets the whole matrix
  // at each start and reload: then it has to name them too (jcasc.yaml).
  def matrix = ['hudson.security.GlobalMatrixAuthorizationStrategy', 'hudson.security.ProjectMatrixAuthorizationStrategy']
  def strategy = jenkins.authorizationStrategy
  if (!(strategy.getClass().name in matrix)) {
    log.warning("permissions are no matrix: give user ${u.name} these by hand: ${u.may*.id.join(', ')}")
    return
  }
  def entries = jenkins.pluginManager.uberClassLoader.loadClass('org.jenkinsci.plugins.matrixauth.PermissionEntry')
  def entry = entries.getMethod('user', String).invoke(null, u.name)
  // A global matrix gives nobody rights on the node that he makes, and Swarm sets labels on its own.
  def may = u.file == 'swarm-token' && strategy.getClass().name.contains('GlobalMatrix') ? u.may + Computer.CONFIGURE : u.may
  def missing = may.findAll { p -> !strategy.getGrantedPermissionEntries().get(p)?.contains(entry) }
  missing.each { p -> strategy.add(p, entry) }
  if (missing) {
    jenkins.save()
    log.info("user ${u.name} may now: ${missing*.id.join(', ')}")
  }
}
