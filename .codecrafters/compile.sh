#!/bin/sh
# Compiles the server where run.sh looks for it.
set -e
here=$(cd "$(dirname "$0")/.." && pwd)
cargo build --release --quiet --config "$here/.cargo/config.toml" --target-dir "${TMPDIR:-/tmp}/russet-target" \
    --manifest-path "$here/Cargo.toml"
