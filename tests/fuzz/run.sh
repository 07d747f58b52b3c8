#!/bin/sh
# Fuzz each target for so many seconds, one after the other: run.sh PYTHON FOLDER SECONDS [ROUNDS].
# What was found is kept in FOLDER/*-found, the inputs that led somewhere in FOLDER/{conversation,settings,proxies}.
set -eu
python=$1 folder=$2 seconds=$3 rounds=${4:-1}
"$python" -m tests.fuzz.seeds "$folder"
status=0
while [ "$rounds" -gt 0 ]; do
  for target in conversation settings proxies; do
    mkdir -p "$folder/$target" "$folder/$target-found"
    "$python" -m "tests.fuzz.fuzz_$target" -max_total_time="$seconds" -max_len=4096 -timeout=30 -rss_limit_mb=1024 \
      -artifact_prefix="$folder/$target-found/" -print_final_stats=1 "$folder/$target" || status=1
  done
  rounds=$((rounds - 1))
done
exit "$status"
