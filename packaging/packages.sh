#!/bin/bash
# The one list of Debian packages that MVM needs, by purpose, and the one way to install them.
#
#   packaging/packages.sh list    PURPOSE...    their names, one a line
#   packaging/packages.sh missing PURPOSE...    those not installed here
#   packaging/packages.sh install PURPOSE...    installs those (root; asks the registry only when something is missing)
#
# PURPOSE: build   compile the programs and their tests
#          run     run labs on this machine: libvirt, QEMU, what containers and guests need
#          test    what the tests use besides
#          full    what ./check --full uses besides: the other compiler, sanitizers, linters
#          package what makes the Debian package of the build
#          bench   the peers that bench/all measures beside us
#
# ./quickstart and ./check source this file. docs/dependencies.md says why each of them is here.

mvm_packages_build=(
  g++ make cmake ninja-build pkg-config ccache mold
  gsoap libgsoap-dev                      # SOAP services and their generator
  libvirt-dev                             # OS-level VMs
  libxml2-dev libtinyxml2-dev             # the gate and the model of the XML files
  libboost-dev                            # Asio
  libsqlite3-dev                          # the embedded store
  libarchive-dev libzstd-dev zlib1g-dev   # sources and results; messages
  libxxhash-dev                           # checksums of messages
  libssl-dev                              # digests, TLS
  libraft-dev libuv1-dev                  # replicated state
  libcurl4-openssl-dev
  libtirpc-dev                            # ONC RPC
  libseccomp-dev libcap-dev               # the builder's sandbox
  libcli11-dev libspdlog-dev nlohmann-json3-dev libexpected-dev
  libgtest-dev libgmock-dev
)

mvm_packages_run=(
  g++ make pkg-config                     # jobs are compiled inside containers on the host's /usr
  libvirt-daemon libvirt-daemon-system libvirt-daemon-driver-lxc libvirt-daemon-driver-qemu libvirt-clients
  qemu-system-x86 qemu-utils
  linux-image-cloud-amd64 busybox-static cpio zstd kmod   # the QEMU image: Debian's kernel and an initramfs
  tini                                    # reaps for libvirtd where PID 1 does not
  iproute2 util-linux procps dnsmasq-base
  graphviz                                # mvm lab graph -o svg
  python3
)

mvm_packages_test=(
  python3 python3-zeep python3-libvirt libxml2-utils
  zip unzip xz-utils bzip2
  curl
  rpcsvc-proto                            # rpcgen: a stock peer of ONC RPC
  etcd-server                             # the registry's provider for several hosts, three members of it
  spin gcc                                # the models of docs/formats/ring.md
  g++-aarch64-linux-gnu g++-s390x-linux-gnu qemu-user-static   # packed messages on other architectures (163 MB to fetch)
)

mvm_packages_full=(
  clang clang-tidy clang-format llvm libclang-rt-dev lld
  shellcheck
)

mvm_packages_package=(
  dpkg-dev                                # which libraries' packages the programs need
)

mvm_packages_bench=(
  openmpi-bin libopenmpi-dev mpich libmpich-dev   # message passing
  libzmq3-dev                             # ZeroMQ
  pvm pvm-dev                             # Parallel Virtual Machine
  libboost-dev                            # its message queue
  etcd-server                             # a registry
  libgrpc++-dev libprotobuf-dev protobuf-compiler-grpc   # remote procedure calls
  python3-libvirt
)

# Prints the names of all given purposes, each once. Fails on a purpose it does not know.
mvm_packages_list() {
  local purpose names=()
  for purpose in "$@"; do
    case $purpose in
      build) names+=("${mvm_packages_build[@]}") ;;
      run) names+=("${mvm_packages_run[@]}") ;;
      test) names+=("${mvm_packages_test[@]}") ;;
      full) names+=("${mvm_packages_full[@]}") ;;
      package) names+=("${mvm_packages_package[@]}") ;;
      bench) names+=("${mvm_packages_bench[@]}") ;;
      *) echo "packages.sh: unknown purpose '$purpose' (build, run, test, full, package, bench)" >&2; return 2 ;;
    esac
  done
  printf '%s\n' "${names[@]}" | awk '!seen[$0]++'
}

# Prints the names of those that are not installed.
mvm_packages_missing() {
  local wanted installed
  wanted=$(mvm_packages_list "$@") || return
  installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' 2>/dev/null | awk '$1 == "installed" { print $2 }')
  awk 'NR == FNR { have[$0]; next } !($0 in have)' <(printf '%s\n' "$installed") <(printf '%s\n' "$wanted")
}

# apt-get without a terminal, and without starting daemons: labs bring their own libvirtd where none runs.
mvm_apt_get() {
  DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 \
    -o Acquire::Retries=3 "$@" </dev/null
}

# Installs what is missing of the given purposes. Says what it does on standard error, and one sentence when it cannot.
mvm_packages_install() {
  local missing log
  missing=$(mvm_packages_missing "$@") || return
  [ -n "$missing" ] || return 0
  # shellcheck disable=SC2086  # a list of package names, split on purpose
  set -- $missing
  echo "Installing $# Debian packages: $*" >&2
  log=$(mktemp) || return
  if ! mvm_apt_get install --no-install-recommends -y "$@" >"$log" 2>&1; then
    # The list of packages may be absent or old: fetch it once, then try again.
    if ! mvm_apt_get update >"$log" 2>&1 || ! mvm_apt_get install --no-install-recommends -y "$@" >>"$log" 2>&1; then
      tail -n 15 "$log" >&2
      rm -f "$log"
      echo "Cannot install these Debian packages: $*" >&2
      echo "Check that this is Debian 12 and that /etc/apt/sources.list* names a package registry it can reach," \
        "then run 'apt-get update' by hand to see its own words." >&2
      return 1
    fi
  fi
  rm -f "$log"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  set -u
  verb=${1:-}
  [ $# -gt 1 ] || { sed -n '4,6p' "$0" | cut -c3- >&2; exit 2; }
  shift
  case $verb in
    list | missing | install) "mvm_packages_$verb" "$@" ;;
    *) sed -n '4,6p' "$0" | cut -c3- >&2; exit 2 ;;
  esac
fi
