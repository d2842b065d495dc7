#!/bin/sh
# Installs what the tests need and the machine lacks, then runs all checks and tests.
set -e
cd "$(dirname "$0")"

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

has() {
    command -v "$1" >/dev/null 2>&1
}

# The real server and its tools are the yardstick of the wire tests; jemalloc is built with make and a C compiler.
packages=""
has redis-server || packages="$packages redis-server"
{ has redis-cli && has redis-benchmark; } || packages="$packages redis-tools"
has make || packages="$packages make"
has cc || packages="$packages gcc libc6-dev"
{ has python3 && python3 -c 'import ensurepip' 2>/dev/null; } || packages="$packages python3-venv"
if [ -n "$packages" ]; then
    # No service is to be started on this machine's port 6379.
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    as_root apt-get update -qq
    # shellcheck disable=SC2086 # the list is meant to be split
    as_root apt-get install -qq -y --no-install-recommends $packages
fi

# Real clients speak to the server from a virtual environment outside the working copy.
RUSSET_TEST_VENV="${TMPDIR:-/tmp}/russet-test-venv"
export RUSSET_TEST_VENV
if ! "$RUSSET_TEST_VENV/bin/python" -c 'import redis' 2>/dev/null; then
    python3 -m venv --clear "$RUSSET_TEST_VENV"
    "$RUSSET_TEST_VENV/bin/pip" install --quiet --disable-pip-version-check 'redis>=5,<8'
fi

cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
cargo clippy --version >/dev/null 2>&1 || rustup component add clippy

cargo fmt --check
cargo clippy --all-targets -- -D warnings
cargo test
