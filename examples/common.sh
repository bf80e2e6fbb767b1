# shellcheck shell=sh
# What the examples' run scripts share. Sourced with the example's folder as the working directory.
#
# MVM        the command line; default: the one of this checkout's build, else mvm in the PATH
# MVM_OUT    folder for results; default: a new one below /tmp

root=$(cd .. && cd .. && pwd)
if [ -z "${MVM:-}" ]; then
  MVM=mvm
  for build in release dev; do
    if [ -x "$root/build/$build/programs/mvm" ]; then
      MVM=$root/build/$build/programs/mvm
      break
    fi
  done
fi
MVM_OUT=${MVM_OUT:-$(mktemp -d /tmp/mvm-results.XXXXXX)}
mkdir -p "$MVM_OUT"

# run_job FILE [OPTION...]: submits it, shows what its processes say, and fetches its results. The id is in $job.
run_job() {
  job=$("$MVM" submit "$@" --parsable) || exit
  echo "submitted $job" >&2
  "$MVM" job logs -f "$job" || exit
  "$MVM" job result "$job" --out "$MVM_OUT" >/dev/null || exit
  state=$("$MVM" job status "$job" -o json | sed -n 's/.*"state": *"\([A-Z]*\)".*/\1/p' | head -n 1)
  if [ "$state" != DONE ]; then
    "$MVM" job why "$job" >&2
    exit 1
  fi
}

# expect FILE: the result must be what expected/ holds.
expect() {
  if cmp "expected/$1" "$MVM_OUT/$1"; then
    echo "$1 is as expected; the results are in $MVM_OUT"
  else
    echo "$1 differs from expected/$1" >&2
    exit 1
  fi
}
