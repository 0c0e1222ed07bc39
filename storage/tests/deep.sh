#!/usr/bin/env bash
# Runs rigs of the log with one seed after another and adds up what they print, until enough was tried.
#
#   storage/tests/deep.sh images 20000000                  crash images, of all rigs that have some
#   storage/tests/deep.sh images 20000000 p35_recovery     of one rig
#   FIRST_SEED=1000 DEPTH=16 storage/tests/deep.sh histories 100000 many_lives
#
# Prints a line for each seed and stops at the first failure, which names its seed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

kind=${1:-images} wanted=${2:-20000000} only=${3:-}
seed=${FIRST_SEED:-1} depth=${DEPTH:-8} total=0
rigs=(p01_ p02_ p07_ p08_ p12_damage_beside p20_ p35_)
[ -z "$only" ] || rigs=("$only")

cargo test --quiet --locked --release -p posthaste-storage --test it --no-run
while [ "$total" -lt "$wanted" ]; do
    out=$(SEED=$seed POSTHASTE_DEPTH=$depth cargo test --quiet --locked --release -p posthaste-storage --test it -- \
        --nocapture --test-threads "${THREADS:-1}" "${rigs[@]}" 2>&1) || { echo "$out"; echo "FAILED with SEED=$seed"; exit 1; }
    # Without a match there is nothing to count, and this ends.
    more=$(grep -o "[0-9]* $kind\b" <<<"$(grep TALLY <<<"$out")" | awk '{ sum += $1 } END { print sum + 0 }')
    [ "$more" -gt 0 ] || { echo "no rig of: ${rigs[*]} counts $kind"; exit 1; }
    total=$((total + more))
    echo "seed $seed: $more $kind, $total in all after ${SECONDS} s, 0 failures"
    seed=$((seed + 1))
done
