# bash completion of mvm; made by `mvm completion bash`.
_mvm_ask() {  # what, key
  case "$1" in
    jobs) mvm job list --all --timeout 2s -o jsonl 2>/dev/null ;;
    labs) mvm lab list --timeout 2s -o jsonl 2>/dev/null ;;
    nodes) mvm vm list --timeout 2s -o jsonl 2>/dev/null ;;
  esac | sed -n "s/.*\"$2\":\"\([A-Za-z0-9._-]*\)\".*/\1/p"
}

_mvm() {
  local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}"
  local path="" word i skip=0 words="" kind="" leaf=0
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="${COMP_WORDS[i]}"
    if ((skip)); then skip=0; continue; fi
    case "$word" in
      -o|--output|--broker|--token-file|--ca|--timeout) skip=1; continue ;;
      -*) continue ;;
    esac
    ((leaf)) && continue
    path="${path:+$path }$word"
    case "$path" in
      'validate') leaf=1 ;;
      'plan') leaf=1 ;;
      'graph') leaf=1 ;;
      'submit') leaf=1 ;;
      'lab create') leaf=1 ;;
      'lab apply') leaf=1 ;;
      'lab list') leaf=1 ;;
      'lab inspect') leaf=1 ;;
      'lab graph') leaf=1 ;;
      'lab destroy') leaf=1 ;;
      'job list') leaf=1 ;;
      'job status') leaf=1 ;;
      'job why') leaf=1 ;;
      'job logs') leaf=1 ;;
      'job cancel') leaf=1 ;;
      'job result') leaf=1 ;;
      'job history') leaf=1 ;;
      'job remove') leaf=1 ;;
      'vm list') leaf=1 ;;
      'vm console') leaf=1 ;;
      'vm exec') leaf=1 ;;
      'vm suspend') leaf=1 ;;
      'vm resume') leaf=1 ;;
      'link list') leaf=1 ;;
      'link connect') leaf=1 ;;
      'link disconnect') leaf=1 ;;
      'link set') leaf=1 ;;
      'queue top') leaf=1 ;;
      'queue peek') leaf=1 ;;
      'queue drain') leaf=1 ;;
      'queue put') leaf=1 ;;
      'queue get') leaf=1 ;;
      'build status') leaf=1 ;;
      'build logs') leaf=1 ;;
      'build cache') leaf=1 ;;
      'plugin list') leaf=1 ;;
      'plugin tree') leaf=1 ;;
      'plugin keygen') leaf=1 ;;
      'plugin publish') leaf=1 ;;
      'kernel load') leaf=1 ;;
      'kernel unload') leaf=1 ;;
      'kernel run') leaf=1 ;;
      'kernel stop') leaf=1 ;;
      'kernel runs') leaf=1 ;;
      'kernel pool') leaf=1 ;;
      'reg put') leaf=1 ;;
      'reg get') leaf=1 ;;
      'reg del') leaf=1 ;;
      'reg ls') leaf=1 ;;
      'reg watch') leaf=1 ;;
      'reg members') leaf=1 ;;
      'reg serve') leaf=1 ;;
      'reg leave') leaf=1 ;;
      'reg confirm-lost') leaf=1 ;;
      'dvm conf') leaf=1 ;;
      'dvm create') leaf=1 ;;
      'dvm add') leaf=1 ;;
      'dvm remove') leaf=1 ;;
      'dvm halt') leaf=1 ;;
      'host list') leaf=1 ;;
      'host invite') leaf=1 ;;
      'host drain') leaf=1 ;;
      'host enable') leaf=1 ;;
      'host remove') leaf=1 ;;
      'events') leaf=1 ;;
      'whoami') leaf=1 ;;
      'doctor') leaf=1 ;;
      'completion') leaf=1 ;;
    esac
  done
  case "$previous" in
    -o|--output) COMPREPLY=($(compgen -W 'table json jsonl' -- "$current")); return ;;
    --lab) kind=labs ;;
    --out) kind=files ;;
    --job) kind=jobs ;;
    --key) kind=files ;;
    --on) kind=nodes ;;
    --qemu-image) kind=files ;;
    --state) kind=files ;;
    --token-file) kind=files ;;
    --ca) kind=files ;;
  esac
  if [[ -z "$kind" ]]; then
    case "$path" in
      '') words='validate plan graph submit lab job vm link queue build plugin kernel reg dvm host events whoami doctor completion --help --version --output --broker --token-file --ca --timeout' ;;
      'lab') words='create apply list inspect graph destroy' ;;
      'job') words='list status why logs cancel result history remove' ;;
      'vm') words='list console exec suspend resume' ;;
      'link') words='list connect disconnect set' ;;
      'queue') words='top peek drain put get' ;;
      'build') words='status logs cache' ;;
      'plugin') words='list tree keygen publish' ;;
      'kernel') words='load unload run stop runs pool' ;;
      'reg') words='put get del ls watch members serve leave confirm-lost' ;;
      'dvm') words='conf create add remove halt' ;;
      'host') words='list invite drain enable remove' ;;
      'validate') words='--help --set --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=files ;;
      'plan') words='--help --set --offline --links --lab --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=files ;;
      'graph') words='--help --set --format --out --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=files ;;
      'submit') words='--help --set --wait --detach --parsable --lab --out --retry-for --dry-run --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=files ;;
      'lab create') words='--help --set --parsable --dry-run --detach --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=files ;;
      'lab apply') words='--help --set --parsable --deadline --dry-run --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=files ;;
      'lab list') words='--help --watch --output --broker --token-file --ca --timeout' ;;
      'lab inspect') words='--help --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=labs ;;
      'lab graph') words='--help --format --out --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=labs ;;
      'lab destroy') words='--help --dry-run --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=labs ;;
      'job list') words='--help --all --lab --user --watch --output --broker --token-file --ca --timeout' ;;
      'job status') words='--help --watch --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=jobs ;;
      'job why') words='--help --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=jobs ;;
      'job logs') words='--help --follow --process --retry-for --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=jobs ;;
      'job cancel') words='--help --dry-run --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=jobs ;;
      'job result') words='--help --out --list --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=jobs ;;
      'job history') words='--help --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=jobs ;;
      'job remove') words='--help --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=jobs ;;
      'vm list') words='--help --lab --watch --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=labs ;;
      'vm console') words='--help --lab --follow --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=nodes ;;
      'vm exec') words='--help --lab --interactive --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=nodes ;;
      'vm suspend') words='--help --lab --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=nodes ;;
      'vm resume') words='--help --lab --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=nodes ;;
      'link list') words='--help --lab --watch --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=labs ;;
      'link connect') words='--help --job --name --type --capacity --bytes --when-full --block-for --ttl --deliver --codec --transport --deadline --dry-run --output --broker --token-file --ca --timeout' ;;
      'link disconnect') words='--help --job --deadline --dry-run --output --broker --token-file --ca --timeout' ;;
      'link set') words='--help --job --deadline --dry-run --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=jobs ;;
      'queue top') words='--help --lab --watch --count --rates --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=labs ;;
      'queue peek') words='--help --count --bytes --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=jobs ;;
      'queue drain') words='--help --count --to --print --size --whole --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=jobs ;;
      'queue put') words='--help --size --whole --key --priority --done --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=jobs ;;
      'queue get') words='--help --size --whole --count --follow --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=jobs ;;
      'build status') words='--help --watch --output --broker --token-file --ca --timeout' ;;
      'build logs') words='--help --follow --output --broker --token-file --ca --timeout' ;;
      'build cache') words='--help --clear --dry-run --output --broker --token-file --ca --timeout' ;;
      'plugin list') words='--help --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=labs ;;
      'plugin tree') words='--help --form --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=labs ;;
      'plugin keygen') words='--help --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=files ;;
      'plugin publish') words='--help --key --builds --command --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=files ;;
      'kernel load') words='--help --on --qos --deadline --for --output --broker --token-file --ca --timeout' ;;
      'kernel unload') words='--help --on --qos --deadline --output --broker --token-file --ca --timeout' ;;
      'kernel run') words='--help --on --qos --deadline --function --name --output --broker --token-file --ca --timeout' ;;
      'kernel stop') words='--help --on --qos --deadline --plugin --output --broker --token-file --ca --timeout' ;;
      'kernel runs') words='--help --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=labs ;;
      'kernel pool') words='--help --min --max --queue --idle --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=labs ;;
      'reg put') words='--help --encoding --multiple --anyone --overwrite --index --with-kernel --lease --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=labs ;;
      'reg get') words='--help --index --first --delete --wait --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=labs ;;
      'reg del') words='--help --index --first --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=labs ;;
      'reg ls') words='--help --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=labs ;;
      'reg watch') words='--help --after --once --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=labs ;;
      'reg members') words='--help --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=labs ;;
      'reg serve') words='--help --provider --etcd --prefix --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=labs ;;
      'reg leave') words='--help --force --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=labs ;;
      'reg confirm-lost') words='--help --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=labs ;;
      'dvm conf') words='--help --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=labs ;;
      'dvm create') words='--help --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=labs ;;
      'dvm add') words='--help --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=labs ;;
      'dvm remove') words='--help --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=labs ;;
      'dvm halt') words='--help --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || kind=labs ;;
      'host list') words='--help --watch --output --broker --token-file --ca --timeout' ;;
      'host invite') words='--help --valid --output --broker --token-file --ca --timeout' ;;
      'host drain') words='--help --output --broker --token-file --ca --timeout' ;;
      'host enable') words='--help --output --broker --token-file --ca --timeout' ;;
      'host remove') words='--help --force --output --broker --token-file --ca --timeout' ;;
      'events') words='--help --follow --lab --job --since --retry-for --output --broker --token-file --ca --timeout' ;;
      'whoami') words='--help --output --broker --token-file --ca --timeout' ;;
      'doctor') words='--help --quiet --quick --libvirt-lxc --libvirt-qemu --qemu-image --state --output --broker --token-file --ca --timeout' ;;
      'completion') words='--help --output --broker --token-file --ca --timeout'; [[ "$current" == -* ]] || words='bash zsh fish' ;;
    esac
  fi
  case "$kind" in
    files) COMPREPLY=($(compgen -f -- "$current")); compopt -o filenames 2>/dev/null; return ;;
    jobs) words="$(_mvm_ask jobs id)" ;;
    labs) words="$(_mvm_ask labs id)" ;;
    nodes) words="$(_mvm_ask nodes node)" ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _mvm mvm
