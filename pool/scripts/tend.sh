#!/bin/sh
# Precedes the daemon's own script if the daemon uses a cache slot. The script starts the daemon, and makes
# room on the volume before any build. Then the script makes the file "ready", for which the start-up probe
# waits.
#
# If the daemon ends, the script tries a second time, since the Kubernetes node may be the cause. If the
# daemon does not come up then either, the script tries once with an empty store. If the daemon comes up with
# the empty store, the old store was broken, and the script removes it. Otherwise the script puts the old
# store back. Store and trash are directories of one volume, so both moves are quick. The script removes the
# trash in the background. All of this takes less than four minutes.
#
# A file system over twice as large as CACHE_SIZE ($size, in MB) is not the volume's own. The volume is then a
# directory of the Kubernetes node's disk, which others fill too. So the script compares the sizes that Docker
# counts with CACHE_SIZE.
#
# If the script cannot move the store ($mine is empty), the script leaves the store as it is, and waits for
# the daemon.
# shellcheck disable=SC2086,SC2154 # the words of $what; pid, store, size, mine

ready=/run/docker/ready
say() { echo "bellboard: $*"; }
rm -f "$ready"

up() {
  while kill -0 "$pid" 2>/dev/null; do
    if timeout 5 docker info >/dev/null 2>&1; then
      return 0
    fi
    [ "$(date +%s)" -lt "$end" ] || return 1
    sleep 1
  done
  return 1
}

again() {
  [ "$(date +%s)" -lt "$end" ] || return 1
  say "the daemon has ended; trying again"
  stop
  begin "$@"
  up
}

stop() {
  kill -TERM "$pid" 2>/dev/null || :
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    kill -0 "$pid" 2>/dev/null || break
    sleep 1
  done
  kill -KILL "$pid" 2>/dev/null || :
  wait "$pid" 2>/dev/null || :
  cut -d ' ' -f 2 /proc/mounts | grep "^$store/" | sort -r | while read -r at; do umount "$at" || :; done
}

move() {
  mkdir -p "$2"
  for f in "$1"/* "$1"/.[!.]*; do
    case "${f#"$1"/}" in .bellboard-*) continue ;; esac
    [ ! -e "$f" ] || mv "$f" "$2/"
  done
}

stored() {
  mb=0
  for s in $(timeout 5 docker system df --format '{{.Size}}' 2>/dev/null); do
    unit="${s##*[0-9.]}" n="${s%%[!0-9.]*}"
    case "$n" in *.*) part="${n#*.}000" ;; *) part=000 ;; esac
    milli="${n%%.*}${part%"${part#???}"}"
    case "$unit" in
    MB) mb="$((mb + milli / 1000))" ;;
    GB) mb="$((mb + milli))" ;;
    TB) mb="$((mb + milli * 1000))" ;;
    esac
  done
  [ "$mb" -gt 0 ] && echo "$((mb * 100 / size))"
}

full() {
  kib="$(df -P "$store" 2>/dev/null | sed -n '2s/^[^ ]* *\([0-9][0-9]*\) .*/\1/p')"
  if [ "${kib:-0}" -gt "$((size * 2000))" ] && stored; then
    return
  fi
  most=0
  for of in -P -Pi; do
    used="$(df "$of" "$store" 2>/dev/null | sed -n '2s/.* \([0-9][0-9]*\)% .*/\1/p')"
    if [ "${used:-0}" -gt "$most" ]; then
      most="$used"
    fi
  done
  echo "$most"
}

prune() {
  end="$(($(date +%s) + 90))"
  for what in "container prune -f" "image prune -f" "volume prune -f" "builder prune -f --filter until=168h" \
    "image prune -af --filter until=720h" "image prune -af --filter until=168h" "image prune -af --filter until=24h" "image prune -af --filter until=4h" \
    "builder prune -af" "image prune -af"; do
    now="$(full)"
    [ "$now" -gt 80 ] || return 0
    left="$((end - $(date +%s)))"
    if [ "$left" -le 0 ]; then
      break
    fi
    say "the volume is $now % full: docker $what"
    timeout "$left" docker $what >/dev/null 2>&1 || say "docker $what did not work"
  done
  now="$(full)"
  [ "$now" -le 80 ] || say "the volume is still $now % full; raise CACHE_SIZE"
}

tend() {
  rm -rf "$store"/.bellboard-* &
  trap 'exit 143' TERM INT
  begin "$@"
  end="$(($(date +%s) + 70))"
  if [ -z "$mine" ]; then
    until up; do kill -0 "$pid" 2>/dev/null || exit 1; done
  elif ! up && ! again "$@"; then
    say "the daemon does not come up; trying with an empty store"
    aside="$store/.bellboard-$(date +%s)"
    stop
    move "$store" "$aside/store"
    begin "$@"
    end="$(($(date +%s) + 40))"
    if ! up; then
      say "nor does it with an empty store: the store is put back"
      stop
      move "$store" "$aside/trash"
      move "$aside/store" "$store"
      exit 1
    fi
    say "the store was broken, and is removed"
    rm -rf "$aside" &
  fi
  prune
  touch "$ready"
  finish
}
