#!/bin/sh
# Splice in one file: this header, then a compressed archive of the program, its models and pictures, and Deno. The first start unpacks it into the cache folder, aside and
# then under its final name, so that what is found there is whole; every start then becomes Deno with the permissions of the command. Nothing else is needed or touched.
set -eu
id=@ID@ version=@VERSION@ archive_line=@LINE@ bytes=@BYTES@ files=@FILES@ megabytes=@MEGABYTES@

say() { printf 'splice: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

whole() { [ "$(find "$1" -type f -size +0 | wc -l)" -eq "$files" ]; } 2>/dev/null # temporary folders are swept file by file

cache=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}
temporary=${TMPDIR:-/tmp}/splice-$(id -u)
safe() { [ -d "$temporary" ] && [ -O "$temporary" ] && [ ! -L "$temporary" ]; } # anyone may have made a folder of this name

make_room() { # a fresh folder beside the final one
  base=$cache/splice
  [ "$cache" ] && mkdir -p "$base" && fresh=$(mktemp -d "$base/.unpack.XXXXXX") && return
  base=$temporary
  mkdir -m 700 "$base" || :
  safe && fresh=$(mktemp -d "$base/.unpack.XXXXXX") && return
  return 1
} 2>/dev/null

extract() { { tail -n "+$archive_line" "$0" | gzip -dc | tar -xmof - -C "$fresh"; } 2>&1; } # silent if all went well
first_line_of() { printf '%s\n' "$1" | head -n 1; }

unpack() {
  [ "$(uname -sm)" = "Linux x86_64" ] || fail "Cannot start: this file is for Linux on x86-64, and this is $(uname -sm)."
  [ "$(wc -c <"$0")" -eq "$bytes" ] || fail "Cannot unpack $0: it has $(wc -c <"$0") of $bytes bytes. Fetch it again."
  make_room || fail "Cannot unpack: neither ${cache:-a cache folder}/splice nor $temporary can be written. Set XDG_CACHE_HOME to a folder of yours."
  trap 'rm -rf "$fresh"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  say "unpacking $version into $base (once, $megabytes MB)"
  find "$base" -maxdepth 1 -name '.unpack.*' -mtime +0 -exec rm -rf {} + 2>/dev/null || : # of starts that were killed; those of others may go while it looks
  why=$(extract) && [ -z "$why" ] && whole "$fresh" || case $why in
    *gzip:* | *header* | *archive*) fail "Cannot unpack $0: it is damaged. Fetch it again." ;;
    *' space '* | *' quota '*) fail "Cannot unpack into $base: it is full. $megabytes MB are needed: make room there, or set XDG_CACHE_HOME to another folder." ;;
    *) fail "Cannot unpack into $base: $(first_line_of "$why"). $megabytes MB are needed there; XDG_CACHE_HOME can name another folder." ;;
  esac
  why=$("$fresh/deno" --version 2>&1) ||
    fail "Cannot start Deno from $base: $(first_line_of "$why"). If programs may not be started from there, set XDG_CACHE_HOME to another folder; else this system's C library is not one that Deno runs on (glibc 2.27 or later)."
  home=$base/$id
  if ! mv -T "$fresh" "$home" 2>/dev/null && ! whole "$home"; then # else another first start was quicker
    mv -T "$home" "$fresh/swept" && rm -rf "$fresh/swept" && mv -T "$fresh" "$home" || fail "Cannot unpack into $home: something else is there. Remove it."
  fi
  rm -rf "$fresh"
  trap - EXIT INT TERM HUP
}

home=$cache/splice/$id
if [ -z "$cache" ] || ! whole "$home"; then
  home=$temporary/$id
  safe && whole "$home" || unpack
fi
case $home in "$temporary"/*) export XDG_CACHE_HOME="$temporary" ;; esac # drivers keep compiled shaders there

program=$home deno=$home/deno
. "$program/src/cli/launch.sh"
export DENO_DIR="$home.cache" # Deno keeps compiled code there
case ${1:-help} in help | models | -*) ;; *) has_vulkan || say_drivers ;; esac
launch "$@"
exit 1 # the archive begins on the next line
