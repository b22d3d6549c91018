// Makes and starts a first job once, which shows that Bellboard works. The script does
// so only if BELLBOARD_HELLO=true. You may remove the job and the variable.
import java.util.concurrent.TimeUnit
import jenkins.model.Jenkins
import jenkins.util.Timer

def name = 'bellboard-hello'
def jenkins = Jenkins.get()
if (System.getenv('BELLBOARD_HELLO') == 'true' && jenkins.getItem(name) == null) {
  def xml = '''<project>
  <description>Runs on an agent that Bellboard makes for it.</description>
  <assignedNode>linux</assignedNode>
  <canRoam>false</canRoam>
  <builders>
    <hudson.tasks.Shell>
      <command>echo "Hello from $NODE_NAME"; sleep 20</command>
    </hudson.tasks.Shell>
  </builders>
</project>
'''
  def job = jenkins.createProjectFromXML(name, new ByteArrayInputStream(xml.getBytes('UTF-8')))
  // Jenkins reads its saved queue at the end of its start, and forgets earlier items.
  Timer.get().schedule({ job.scheduleBuild2(0) } as Runnable, 30, TimeUnit.SECONDS)
}
