#!/bin/sh
# Starts a daemon that is not root as $run says, after daemon.sh. The daemon's own network has an MTU, which
# must not be larger than the pod's. The daemon makes the directory of its data itself, since only the owner
# may set the rights that the daemon sets. The files in that directory belong to users of the daemon's own
# namespace.
# shellcheck disable=SC2154 # run, store

mtu="$(cat /sys/class/net/eth0/mtu 2>/dev/null || echo 1500)"
export DOCKERD_ROOTLESS_ROOTLESSKIT_MTU="$mtu"
$run dockerd-entrypoint.sh dockerd \
  --host="$DOCKER_HOST" --data-root="$store/data" \
  --mtu="$mtu" --default-network-opt=bridge=com.docker.network.driver.mtu="$mtu" \
  ${REGISTRY_MIRROR:+"--registry-mirror=$REGISTRY_MIRROR"}
