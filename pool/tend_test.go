package pool

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"

	"bellboard/scaler"
)

// A tended is a run of the daemon's container with stand-ins. The daemon comes up unless its store is broken
// or nothing helps. Each pruning frees a step of the volume. The clock moves on by five seconds at each
// reading.
type tended struct {
	t     *testing.T
	dir   string // of the volume, and of what the stand-ins know
	used  string // percent of the volume's space at first
	files string // and of its files
	step  string // what each pruning frees
	disk  string // the file system's size, in KiB
	sizes string // what Docker has, in its words: each pruning takes the last line
	spec  Spec
	env   []string
	said  string
}

func newTended(t *testing.T) *tended {
	d := &tended{t: t, dir: t.TempDir(), used: "40", files: "3", step: "5", disk: "100", spec: specOf(scaler.Persistent, scaler.Inbound, DockerDind)}
	for _, sub := range []string{"store/overlay2", "run"} {
		if err := os.MkdirAll(filepath.Join(d.dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	d.write("store/overlay2/layer", "an image")
	return d
}

func (d *tended) write(name, text string) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o644); err != nil {
		d.t.Fatal(err)
	}
}

// read returns a file's text, or "" if there is no such file.
func (d *tended) read(name string) string {
	b, err := os.ReadFile(filepath.Join(d.dir, name))
	if err != nil && !os.IsNotExist(err) {
		d.t.Fatal(err)
	}
	return string(b)
}

func (d *tended) has(name string) bool {
	_, err := os.Stat(filepath.Join(d.dir, name))
	return err == nil
}

// run runs the container until its daemon ends. The daemon ends when the start-up probe would have passed.
// run returns what was done, in order.
func (d *tended) run() (done []string, err error) {
	d.t.Helper()
	sh := shell(d.t)
	bin := standIns(d.t, sh, map[string]string{
		// The daemon comes up unless its store is broken, and ends after its first use.
		"dockerd-entrypoint.sh": `echo daemon >> "$DIR/done"
printf '%s\n' "$@" > "$DIR/told"
trap 'echo told to end >> "$DIR/done"; exit 0' TERM
[ -z "$HOPELESS" ] || exit 1
if [ -n "$ONCE" ] && [ ! -e "$DIR/tried" ]; then
  touch "$DIR/tried"
  exit 1
fi
pid="$DIR/run/containerd/containerd.pid"
[ ! -e "$pid" ] || exit 1 # the process of that number runs
mkdir -p "$DIR/run/containerd"
touch "$pid"
if [ -e "$DIR/store/broken" ]; then
  [ -n "$HANGS" ] || exit 1
  while :; do /bin/sleep 0.01; done
fi
touch "$DIR/store/new" "$DIR/answers"
while [ -z "$ALONE" ] && [ ! -e "$DIR/run/ready" ]; do /bin/sleep 0.01; done
[ -z "$STAYS" ] || { kill -TERM "$PPID"; while :; do /bin/sleep 0.01; done; }
exit 7`,
		"docker": `case "$1 $2" in
"info ") [ -e "$DIR/answers" ] ;;
"system df") cat "$DIR/sizes" ;;
*)
  echo "docker $*" >> "$DIR/done"
  echo "$(($(cat "$DIR/used") - $(cat "$DIR/step")))" > "$DIR/used"
  sed -i '$d' "$DIR/sizes"
  [ -z "$SLOW" ] || echo "$(($(cat "$DIR/clock") + 80))" > "$DIR/clock"
  ;;
esac`,
		"df": `of=used
[ "$1" = -P ] || of=files
printf 'Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/sda %s 1 1 %s%% %s\n' "$(cat "$DIR/disk")" "$(cat "$DIR/$of")" "$2"`,
		"date":    `now="$(($(cat "$DIR/clock") + 5))"; echo "$now" > "$DIR/clock"; echo "$now"`,
		"timeout": `shift; exec "$@"`,
		"sleep":   `/bin/sleep 0.02`,
		"umount":  `:`,
		// A process joins the cgroup while the script moves the others.
		"sed": `case "$*" in *' +'*)
  if [ -e "$DIR/joins" ]; then
    mv "$DIR/joins" "$DIR/cgroup$(cut -d : -f 3 "$DIR/self")/cgroup.procs"
    exit 4
  fi ;;
esac
exec /bin/sed "$@"`,
	})
	d.write("used", d.used)
	d.write("files", d.files)
	d.write("step", d.step)
	d.write("disk", d.disk)
	d.write("sizes", d.sizes)
	d.write("clock", "1000")
	d.write("done", "")
	if !d.has("self") {
		d.write("self", "4:memory:/pod\n0::/pod\n")
	}
	c := Build(d.spec, "web-p-1").Spec.InitContainers[1]
	script := strings.NewReplacer("/var/lib/docker", d.dir+"/store", rootlessData, d.dir+"/store", "/run/docker", d.dir+"/run", "/sys/fs/cgroup", d.dir+"/cgroup", "/proc/self/cgroup", d.dir+"/self").Replace(c.Args[0])
	cmd := exec.CommandContext(d.t.Context(), sh, append(slices.Clone(c.Command[1:]), script)...)
	cmd.Env = append([]string{"PATH=" + bin + ":/usr/bin:/bin", "DIR=" + d.dir, "DOCKER_HOST=unix:///nowhere"}, d.env...)
	out, err := cmd.CombinedOutput()
	d.t.Logf("%s", out)
	d.said = string(out)
	b, readErr := os.ReadFile(filepath.Join(d.dir, "done"))
	if readErr != nil {
		d.t.Fatal(readErr)
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n"), err
}

func code(err error) int {
	if e, ok := err.(*exec.ExitError); ok { //nolint:errorlint // it is what Run gives
		return e.ExitCode()
	}
	return 0
}

func TestASlotWithRoomIsLeftAsItIs(t *testing.T) {
	d := newTended(t)
	d.used = "80"
	d.write("run/ready", "an earlier container's")
	done, err := d.run()
	if !slices.Equal(done, []string{"daemon"}) || !d.has("store/overlay2/layer") || !d.has("run/ready") {
		t.Errorf("the container did %q", done)
	}
	if code(err) != 7 {
		t.Errorf("the container ended with %v, want the daemon's exit code", err)
	}
}

func TestAFullSlotIsPrunedBeforeAnybodyBuilds(t *testing.T) {
	dangling := []string{"daemon", "docker container prune -f", "docker image prune -f"}
	for name, c := range map[string]struct {
		set  func(*tended)
		want []string
	}{
		"until it is below": {func(d *tended) { d.used = "90" }, dangling},
		"by what it has of files, too": {func(d *tended) { d.files = "99" }, append(slices.Clone(dangling), "docker volume prune -f", "docker builder prune -f --filter until=168h",
			"docker image prune -af --filter until=720h", "docker image prune -af --filter until=168h", "docker image prune -af --filter until=24h", "docker image prune -af --filter until=4h", "docker builder prune -af", "docker image prune -af")},
		"the oldest images first": {func(d *tended) { d.used, d.step = "90", "2" }, append(slices.Clone(dangling), "docker volume prune -f", "docker builder prune -f --filter until=168h",
			"docker image prune -af --filter until=720h")},
		"for no longer than there is time": {func(d *tended) { d.used, d.step, d.env = "99", "1", []string{"SLOW=1"} }, dangling[:2]},
	} {
		t.Run(name, func(t *testing.T) {
			d := newTended(t)
			c.set(d)
			done, err := d.run()
			if !slices.Equal(done, c.want) || code(err) != 7 || !d.has("run/ready") {
				t.Errorf("the container did %q, and ended with %v; want %q", done, err, c.want)
			}
		})
	}
}

// If the volume is a directory of the Kubernetes node's disk, the store's size tells how full the volume is.
func TestASlotOnTheMachinesDiskIsMeasuredByItsStore(t *testing.T) {
	pruned := []string{"daemon", "docker container prune -f", "docker image prune -f"}
	for name, c := range map[string]struct {
		size, disk, used, sizes string
		want                    []string
	}{
		"the disk is full of others'": {"20Gi", "900000000", "99", "3.5GB\n0B\n12.34kB\n0B\n", pruned[:1]},
		"the store is large":          {"20Gi", "900000000", "40", "15.5GB\n901.4MB\n1.034GB\n12.34kB\n", pruned},
		"in other units":              {"2Ti", "900000000000", "40", "1.7TB\n0B\n100GB\n5B\n", pruned},
		"Docker does not say":         {"20Gi", "900000000", "90", "", pruned},
		"a volume of its own":         {"20Gi", "20000000", "90", "1GB\n0B\n0B\n0B\n", pruned},
	} {
		t.Run(name, func(t *testing.T) {
			d := newTended(t)
			d.spec.CacheSize, d.disk, d.used, d.sizes = resource.MustParse(c.size), c.disk, c.used, c.sizes
			if done, err := d.run(); !slices.Equal(done, c.want) || code(err) != 7 || !d.has("run/ready") {
				t.Errorf("the container did %q, and ended with %v; want %q", done, err, c.want)
			}
		})
	}
}

func TestABrokenStoreIsReplacedOnce(t *testing.T) {
	for name, c := range map[string]struct {
		env  []string
		runs int
	}{"its daemon dies": {nil, 3}, "its daemon hangs": {[]string{"HANGS=1"}, 2}} {
		t.Run(name, func(t *testing.T) {
			d := newTended(t)
			d.env = c.env
			d.write("store/broken", "")
			done, err := d.run()
			if n := strings.Count(strings.Join(done, "\n"), "daemon"); n != c.runs || code(err) != 7 || !d.has("run/ready") {
				t.Errorf("the container did %q, and ended with %v", done, err)
			}
			if d.has("store/overlay2/layer") || d.has("store/broken") || !d.has("store/new") {
				t.Error("the daemon uses the broken store")
			}
		})
	}
}

// The Kubernetes node may be the reason why the daemon does not come up. Then the cache stays.
func TestAStoreThatIsNotToBlameIsPutBack(t *testing.T) {
	d := newTended(t)
	d.env = []string{"HOPELESS=1"}
	d.write("store/.hidden", "")
	done, err := d.run()
	if !slices.Equal(done, []string{"daemon", "daemon", "daemon"}) || code(err) != 1 || d.has("run/ready") {
		t.Errorf("the container did %q, and ended with %v", done, err)
	}
	if !d.has("store/overlay2/layer") || !d.has("store/.hidden") {
		t.Error("the cache is lost")
	}
}

// If a daemon comes up at the second try, its store is not broken.
func TestADaemonThatEndsIsTriedTwice(t *testing.T) {
	d := newTended(t)
	d.env = []string{"ONCE=1"}
	if done, err := d.run(); !slices.Equal(done, []string{"daemon", "daemon"}) || code(err) != 7 || !d.has("run/ready") || !d.has("store/overlay2/layer") {
		t.Errorf("the container did %q, and ended with %v; the store is there: %v", done, err, d.has("store/overlay2/layer"))
	}
}

// A killed daemon leaves the process number of its containerd in the pod. In the new container another
// process has that number, and the next daemon would not come up.
func TestADaemonThatWasKilledComesBack(t *testing.T) {
	for name, d := range map[string]*tended{"on a slot": newTended(t), "without one": newTended(t)} {
		t.Run(name, func(t *testing.T) {
			if name == "without one" {
				d.spec, d.env = specOf(scaler.Ephemeral, scaler.Inbound, DockerDind), []string{"ALONE=1"}
			}
			if err := os.Mkdir(filepath.Join(d.dir, "run/containerd"), 0o755); err != nil {
				t.Fatal(err)
			}
			d.write("run/containerd/containerd.pid", "35")
			if done, err := d.run(); !slices.Equal(done, []string{"daemon"}) || code(err) != 7 || !d.has("store/overlay2/layer") {
				t.Errorf("the container did %q, and ended with %v", done, err)
			}
		})
	}
}

func TestTheDaemonIsToldToEnd(t *testing.T) {
	d := newTended(t)
	d.env = []string{"STAYS=1"}
	done, err := d.run()
	if !slices.Equal(done, []string{"daemon", "told to end"}) || err != nil {
		t.Errorf("the container did %q, and ended with %v", done, err)
	}
}

// A rootless daemon's store belongs to other users. The script prunes the store, but neither moves nor
// removes it, and waits for a slow daemon.
func TestARootlessDaemonsSlotIsOnlyPruned(t *testing.T) {
	d := newTended(t)
	d.spec, d.used = specOf(scaler.Persistent, scaler.Inbound, DockerRootless), "90"
	if done, err := d.run(); !slices.Equal(done, []string{"daemon", "docker container prune -f", "docker image prune -f"}) || code(err) != 7 || !d.has("run/ready") {
		t.Errorf("the container did %q, and ended with %v", done, err)
	}
	d = newTended(t)
	d.spec, d.env = specOf(scaler.Persistent, scaler.Inbound, DockerRootless), []string{"HOPELESS=1"}
	if done, err := d.run(); !slices.Equal(done, []string{"daemon"}) || code(err) != 1 || d.has("run/ready") || !d.has("store/overlay2/layer") {
		t.Errorf("with a daemon that does not come up, the container did %q, and ended with %v", done, err)
	}
}

// The script tend.sh does not run for a daemon without a cache slot.
func TestADaemonWithoutASlotIsNotTended(t *testing.T) {
	d := newTended(t)
	d.spec, d.used, d.env = specOf(scaler.Ephemeral, scaler.Inbound, DockerDind), "99", []string{"ALONE=1"}
	if done, err := d.run(); !slices.Equal(done, []string{"daemon"}) || code(err) != 7 || d.has("run/ready") {
		t.Errorf("the container did %q, and ended with %v", done, err)
	}
	c := Build(d.spec, "web-e-1").Spec.InitContainers[1]
	if !slices.Equal(c.StartupProbe.Exec.Command, []string{"docker", "info"}) {
		t.Errorf("the start-up probe is %s", c.StartupProbe.Exec.Command)
	}
}

// The containers of builds count to the pod, whatever the Kubernetes node's cgroups look like.
func TestContainersStayInThePodsCgroup(t *testing.T) {
	const own = "/kubepods.slice/pod1.slice/dind.scope"
	tree := func(d *tended) {
		if err := os.MkdirAll(filepath.Join(d.dir, "cgroup", own), 0o755); err != nil {
			d.t.Fatal(err)
		}
		d.write("self", "0::"+own+"\n")
		d.write("cgroup/cgroup.controllers", "cpuset cpu io memory pids\n")
		d.write("cgroup/cgroup.procs", "2\n")
		d.write("cgroup"+own+"/cgroup.controllers", "cpu memory pids\n")
		d.write("cgroup"+own+"/cgroup.procs", "1\n7\n")
	}
	for name, c := range map[string]struct {
		set                  func(*tended)
		parent, moved, given string
	}{
		"all cgroups of the Kubernetes node are seen": {tree, own + "/dind", "1\n7\n", "+cpu +memory +pids\n"},
		"a probe begins meanwhile":                    {func(d *tended) { tree(d); d.write("joins", "1\n7\n9\n") }, own + "/dind", "1\n7\n9\n", "+cpu +memory +pids\n"},
		"its own is all that is seen":                 {func(d *tended) { tree(d); d.write("self", "0::/\n") }, "/docker", "", ""},
		"its own is not seen":                         {func(d *tended) { tree(d); d.write("self", "0::/../other\n") }, "/docker", "", ""},
		"version 1":                                   {func(d *tended) { tree(d); d.write("self", "4:memory:"+own+"\n") }, "/docker", "", ""},
		"both versions": {func(d *tended) {
			tree(d)
			if err := os.Remove(filepath.Join(d.dir, "cgroup/cgroup.controllers")); err != nil {
				d.t.Fatal(err)
			}
		}, "/docker", "", ""},
	} {
		for kind, env := range map[scaler.Kind][]string{scaler.Persistent: nil, scaler.Ephemeral: {"ALONE=1"}} {
			t.Run(name+", "+string(kind), func(t *testing.T) {
				d := newTended(t)
				d.spec, d.env = specOf(kind, scaler.Inbound, DockerDind), env
				c.set(d)
				if done, err := d.run(); !slices.Equal(done, []string{"daemon"}) || code(err) != 7 {
					t.Errorf("the container did %q, and ended with %v", done, err)
				}
				if told := strings.Fields(d.read("told")); !slices.Contains(told, "--cgroup-parent="+c.parent) {
					t.Errorf("the daemon is told %q, want the parent %s", told, c.parent)
				}
				moved, given := d.read("cgroup"+own+"/init/cgroup.procs"), d.read("cgroup"+own+"/cgroup.subtree_control")
				if moved != c.moved || given != c.given || d.has("cgroup/init") || d.has("cgroup/cgroup.subtree_control") {
					t.Errorf("%q is moved and %q passed on; want %q and %q, and the Kubernetes node's own cgroup unchanged", moved, given, c.moved, c.given)
				}
			})
		}
	}
	t.Run("it cannot be written", func(t *testing.T) {
		d := newTended(t)
		tree(d)
		d.write("cgroup"+own+"/init", "") // this makes mkdir fail even for root
		if done, err := d.run(); !slices.Equal(done, []string{""}) || code(err) != 1 || !strings.Contains(d.said, d.dir+"/cgroup"+own+"/init") {
			t.Errorf("the container did %q, said %q, and ended with %v", done, d.said, err)
		}
	})
}
