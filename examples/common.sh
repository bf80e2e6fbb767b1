# shellcheck shell=sh
# What the examples' run scripts share. Sourced with the example's folder as the working directory.
#
# MVM        the command line; default: the one of this checkout's build, else mvm in the PATH
# MVM_OUT    folder for results; default: a new one below /tmp
# mvm itself reads MVM_BROKER, the broker's URL, and MVM_TOKEN_FILE, the file with your token.

if [ -z "${MVM:-}" ]; then
  MVM=mvm
  for build in release dev; do
    if [ -x "../../build/$build/bin/mvm" ]; then
      MVM=$(cd "../../build/$build/bin" && pwd)/mvm
      break
    fi
  done
fi
MVM_OUT=${MVM_OUT:-$(mktemp -d /tmp/mvm-results.XXXXXX)}

# run_job FILE [OPTION OF mvm submit]...: submits it, shows what its processes say, fetches its results.
run_job() {
  "$MVM" submit --wait --out "$MVM_OUT" "$@"
}

# expect FILE: the result must be what expected/ holds.
expect() {
  if cmp "expected/$1" "$MVM_OUT/$1"; then
    echo "$1 is as expected; the results are in $MVM_OUT"
  else
    echo "$1 differs from expected/$1" >&2
    return 1
  fi
}
