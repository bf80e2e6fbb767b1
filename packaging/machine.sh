# shellcheck shell=bash
# What ./quickstart and ./check ask of the machine before they begin. Sourced, not run.
# Each function says one clear sentence on standard error and fails when its condition does not hold.

# need_root WHO
need_root() {
  [ "$(id -u)" = 0 ] && return 0
  echo "$1: run this as root: it installs packages and starts containers and virtual machines (sudo $1)." >&2
  return 1
}

# need_debian WHO
need_debian() {
  command -v apt-get >/dev/null && command -v dpkg-query >/dev/null && return 0
  echo "$1: this needs Debian 12 (or a system with its packages): apt-get is not here." >&2
  return 1
}

# need_disk WHO DIRECTORY MEBIBYTES WHAT-FOR
need_disk() {
  local free
  free=$(df -Pm "$2" | awk 'NR == 2 { print $4 }')
  [ "${free:-0}" -ge "$3" ] && return 0
  echo "$1: $4 needs $3 MiB free in $2, and there are ${free:-0}." >&2
  return 1
}

# need_shared_memory WHO
need_shared_memory() {
  local kind
  kind=$(stat -f -c %T /dev/shm 2>/dev/null)
  if [ "$kind" != tmpfs ] || ! [ -w /dev/shm ]; then
    echo "$1: /dev/shm is no writable tmpfs; queues live there (mount -t tmpfs tmpfs /dev/shm)." >&2
    return 1
  fi
  need_disk "$1" /dev/shm 256 "the queues' shared memory"
}
