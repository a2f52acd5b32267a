#!/usr/bin/env bash
# deno 2.9.6, Linux: a program that is started with SIGHUP ignored, as nohup does, dies of SIGHUP all the same (exit 129). At its start Deno leaves the inherited "ignore" in
# place (/proc/self/status, SigIgn); a moment later it has a handler of its own, and the signal ends the process. A listener of the program's, even an empty one, keeps it alive.
# Seen: "without a listener: 129", "with a listener: 0". Fails where that is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --ignore-scripts --no-audit --no-fund deno@2.9.6 >/dev/null
deno=$(ls node_modules/@deno/*/deno)
echo 'setTimeout(() => Deno.exit(0), 4000);' >plain.ts
echo 'Deno.addSignalListener("SIGHUP", () => {}); setTimeout(() => Deno.exit(0), 4000);' >listening.ts
code_of() { # code_of FILE: the exit code of a run under nohup that is sent SIGHUP after two seconds
  nohup "$deno" run --no-config "$1" >/dev/null 2>&1 </dev/null & program=$!
  sleep 2
  kill -HUP "$program"
  code=0
  wait "$program" 2>/dev/null || code=$?
  echo "$code"
}
"$deno" --version | head -n 1
without=$(code_of plain.ts 2>/dev/null) with=$(code_of listening.ts 2>/dev/null)
echo "without a listener: $without"
echo "with a listener: $with"
[ "$without" = 129 ] && [ "$with" = 0 ]
