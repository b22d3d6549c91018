#!/bin/sh
# Starts the daemon as $run says, after daemon.sh. The daemon's containers get a cgroup below the pod's own. A
# privileged container would otherwise put them beside all pods, where the pod's limits do not reach them.
# Docker networks get the MTU of the pod's interface. With a larger MTU, small requests work and large
# requests hang.
#
# Under cgroup v2 an unprivileged container sees its own cgroup as the root, and the image's own way is right.
# A privileged container sees all cgroups of the Kubernetes node, and has to find its own. A cgroup passes
# controllers on only while no process is in it. The process of a start-up probe may come in between, so this
# script tries again. If the cgroup cannot be written, the daemon ends, since no limit would hold.
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
