#!/bin/sh
# Compiles the server and runs it with the given arguments, in the caller's working directory.
set -e
here=$(cd "$(dirname "$0")" && pwd)
target="${TMPDIR:-/tmp}/russet-target"
# The settings of the project, wherever this is called from.
cargo build --release --quiet --config "$here/.cargo/config.toml" --target-dir "$target" \
    --manifest-path "$here/Cargo.toml"
exec "$target/release/russet" "$@"
