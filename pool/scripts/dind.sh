#!/bin/sh
# Starts the daemon by what $run says, after daemon.sh. The daemon's containers are put under the
# pod's own cgroup: a privileged container would otherwise put them beside all pods, out of the
# reach of the pod's limits. Networks get the MTU of the pod's interface: with a larger one, small
# requests work and large ones hang.
#
# Under cgroup v2 a container that is not privileged sees its own cgroup as the root, and the
# image's own way is right. A privileged one sees all of the machine's, and has to find its own. A
# cgroup hands controllers to others only while it holds no process itself, and the process of a
# start-up probe may come in between: so it is tried again. A cgroup that cannot be written ends
# the daemon: no limit would hold.
# shellcheck disable=SC2154 # run

cg="$(sed -n 's/^0:://p' /proc/self/cgroup)"
parent=/docker
if [ -f /sys/fs/cgroup/cgroup.controllers ] && [ "${cg:-/}" != / ] && [ -d "/sys/fs/cgroup$cg" ]; then
  mkdir -p "/sys/fs/cgroup$cg/init"
  for _ in 1 2 3 4 5; do
    xargs -rn1 < "/sys/fs/cgroup$cg/cgroup.procs" > "/sys/fs/cgroup$cg/init/cgroup.procs" || :
    if sed -e 's/ / +/g' -e 's/^/+/' < "/sys/fs/cgroup$cg/cgroup.controllers" > "/sys/fs/cgroup$cg/cgroup.subtree_control"; then
      break
    fi
  done
  parent="$cg/dind"
fi
mtu="$(cat /sys/class/net/eth0/mtu 2>/dev/null || echo 1500)"
$run dockerd-entrypoint.sh dockerd \
  --host="$DOCKER_HOST" --group=1000 \
  --mtu="$mtu" --default-network-opt=bridge=com.docker.network.driver.mtu="$mtu" \
  --cgroup-parent="$parent" \
  ${REGISTRY_MIRROR:+"--registry-mirror=$REGISTRY_MIRROR"}
