#!/bin/sh
# Runs the server that compile.sh has built.
exec "${TMPDIR:-/tmp}/russet-target/release/russet" "$@"
