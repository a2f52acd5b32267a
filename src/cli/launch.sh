# Sourced by ./splice and by the package's header, after they have set `program` (the folder of the program's own files) and `deno` (the binary): sees to
# what a driver needs, and starts Deno with exactly the flags that launch.txt lists for a command. It decides nothing else, and says what it says on stderr.

say() { printf 'splice: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

has_vulkan() { # a loader, and at least one driver's manifest
  [ "$(uname -s)" = Linux ] && [ -z "${VK_DRIVER_FILES:-}" ] || return 0
  PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null | grep -q 'libvulkan\.so\.1' || return 1
  [ "$(find /usr/share/vulkan/icd.d /usr/local/share/vulkan/icd.d /etc/vulkan/icd.d "${HOME:-/root}/.local/share/vulkan/icd.d" -name '*.json' 2>/dev/null)" ]
}

say_drivers() { say "no Vulkan driver found. On Debian and Ubuntu this installs one: sudo apt-get install mesa-vulkan-drivers libvulkan1"; }

see_to_runtime_folder() { # Mesa complains without one
  [ -z "${XDG_RUNTIME_DIR:-}" ] || return 0
  XDG_RUNTIME_DIR=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/splice-runtime
  (umask 077 && mkdir -p "$XDG_RUNTIME_DIR") 2>/dev/null || XDG_RUNTIME_DIR=$(mktemp -d)
  export XDG_RUNTIME_DIR
}

line_of() { sed -n "s/^$1 \{1,\}//p" "$program/src/cli/launch.txt"; } # what stands behind the name, a command's or one in braces

value_of() { # value_of OPTION DEFAULT ARGUMENT...: what the option is given among the arguments, or the default
  option=$1 value=$2
  shift 2
  before=
  for argument do
    case $before,$argument in
      "$option",*) value=$argument ;;
      *,"$option="*) value=${argument#"$option="} ;;
      *) before=$argument && continue ;;
    esac
    before=
  done
  echo "$value"
}

folder_of() { # folder_of OPTION DEFAULT ARGUMENT...: the folder or file that the option names among the arguments, absolute, or the default
  value=$(value_of "$@")
  case $value in /*) echo "$value" ;; "$2") echo "$value" ;; *) echo "$PWD/$value" ;; esac
}

servers_of() { # servers_of ADDRESSES: nats://user:password@a,tls://b:1 are a:4222,b:1
  servers=
  while :; do
    address=${1%%,*}
    address=${address#*://} && address=${address##*@} && address=${address%%/*}
    case $address in *]:* | [!\[]*:*) ;; *) address=$address:4222 ;; esac
    servers=${servers:+$servers,}$address
    case $1 in *,*) set -- "${1#*,}" ;; *) break ;; esac
  done
  echo "$servers"
}

fill() { # a flag of launch.txt: its {names} become folders
  flag=$1
  while :; do
    case $flag in
      *'{env}'*) name={env} value=$(line_of '{env}') ;;
      *'{keys}'*) name={keys} value=$(line_of '{keys}') ;;
      *'{cluster}'*) name={cluster} value=$cluster ;;
      *'{secrets}'*) name={secrets} value=$credentials,$authority ;;
      *'{program}'*) name={program} value=$program ;;
      *'{deno}'*) name={deno} value=$(readlink -f "$deno") ;; # Deno knows itself by this path
      *'{models}'*) name={models} value=$models ;;
      *'{data}'*) name={data} value=$data ;;
      *) echo "$flag" && return ;;
    esac
    case $name,$value in
      '{env},'* | '{keys},'* | '{cluster},'* | '{secrets},'*) ;;
      *,*[,{]*) # Deno takes lists with commas, and knows no way to write one that is part of a name
        fail "Cannot use the folder $value: permissions cannot name a folder with a comma or a brace. Rename it." ;;
    esac
    flag=${flag%%"$name"*}$value${flag#*"$name"}
  done
}

with_flags() { # with_flags USE NAME ARGUMENT...: calls USE with the flags of that line, or of help's where there is none, then the arguments
  use=$1 granted=$(line_of "$2")
  [ "$granted" ] || granted=$(line_of help)
  shift 2
  user_data=${XDG_DATA_HOME:-${HOME:+$HOME/.local/share}}
  data=$(folder_of --data "${user_data:-$PWD}/splice/server" "$@")
  case $data in /*) ;; *) data=$PWD/$data ;; esac
  models=$(folder_of --models "${SPLICE_MODELS:-${user_data:-$program}${user_data:+/splice}/models}" "$@")
  cluster=$(servers_of "$(value_of --cluster 127.0.0.1 "$@")")
  credentials=$(folder_of --cluster-credentials "$program" "$@") authority=$(folder_of --cluster-ca "$program" "$@")
  count=$#
  if [ -e "$program/main.ts" ]; then shape='{checkout}'; else shape='{package}'; fi
  for flag in $(line_of "$shape") $granted; do
    filled=$(fill "$flag") || exit
    set -- "$@" "$filled"
  done
  while [ "$count" -gt 0 ]; do # the arguments go behind the flags
    set -- "$@" "$1"
    shift
    count=$((count - 1))
  done
  "$use" "$@"
}

hangup_ignored() { [ -z "$(sh -c 'trap "echo heard" HUP; kill -HUP $$')" ]; } # as under nohup: what a shell finds ignored it cannot trap

become_deno() { exec "$deno" run --quiet "$@"; }

launch() { # launch ARGUMENT...: becomes the program
  if hangup_ignored; then export SPLICE_NOHUP=1; else unset SPLICE_NOHUP; fi # Deno itself forgets it
  see_to_runtime_folder
  export DENO_NO_UPDATE_CHECK=1
  if [ -e "$program/main.ts" ]; then entry=$program/main.ts; else entry=$program/splice.js; fi
  case ${1:-help} in *[!a-z]*) name=help ;; *) name=${1:-help} ;; esac
  with_flags become_deno "$name" "$entry" "$@"
}
