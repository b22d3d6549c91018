#!/bin/sh
# Starts a daemon that is not root by what $run says, after daemon.sh. The network that the daemon
# makes for itself has an MTU of its own, which must not be larger than the pod's. The daemon makes
# the directory of its data itself, since it sets rights on it that only an owner may set. The
# files in there belong to users of its own.
# shellcheck disable=SC2154 # run, store

mtu="$(cat /sys/class/net/eth0/mtu 2>/dev/null || echo 1500)"
export DOCKERD_ROOTLESS_ROOTLESSKIT_MTU="$mtu"
$run dockerd-entrypoint.sh dockerd \
  --host="$DOCKER_HOST" --data-root="$store/data" \
  --mtu="$mtu" --default-network-opt=bridge=com.docker.network.driver.mtu="$mtu" \
  ${REGISTRY_MIRROR:+"--registry-mirror=$REGISTRY_MIRROR"}
