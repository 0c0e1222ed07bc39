#!/usr/bin/env bash
# Runs the unit tests of the log under miri, as far as miri can: no threads that wait for time, no files of the system.
#
# The crate has one `unsafe` block, `RealFile::map`, and nothing in the log calls it. Miri has no file maps, so that block is
# held by `disk::real::tests::a_map_shows_the_range_and_outlives_the_file` alone; what miri sees here is what the log does with
# bytes that others own: buffers given back when the last slice of them goes, bodies, blocks, indexes, caches.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if ! cargo +nightly miri --version >/dev/null 2>&1; then
    echo "SKIPPED: no nightly toolchain with miri (rustup component add miri --toolchain nightly)"
    exit 0
fi
# The clock is asked, and the source of random identities.
export MIRIFLAGS="-Zmiri-disable-isolation ${MIRIFLAGS:-}"
# Left out: loops over every bit and over random bytes, which take miri hours and are not about memory.
cargo +nightly miri test --locked -p posthaste-storage --lib -- \
    body:: block:: tail:: footer:: segment:: superblock:: \
    --skip random --skip every_ --skip footer_answers --skip index_finds --skip writer:: --skip recovery::
