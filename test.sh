#!/bin/sh
# Installs what the tests need and the machine lacks, then runs all checks and tests.
#
#   ./test.sh                                  what continuous integration runs
#   ./test.sh --conformance [FILE ...]         Redis' own test suite against a release build, which it is told to talk to
#   ./test.sh --conformance own [FILE ...]     the files of it that start and end the server themselves
#   ./test.sh --conformance newer [FILE ...]   the suite of Redis 8 against a server that it is told to talk to
#   ./test.sh --help                           this text
#
# FILE is a file of the suite, like unit/type/list. tests/conformance/known-differences.md tells what is not expected to pass.
set -e
cd "$(dirname "$0")"

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

has() {
    command -v "$1" >/dev/null 2>&1
}

install() {
    # No service is to be started on this machine's port 6379.
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    as_root apt-get update -qq
    as_root apt-get install -qq -y --no-install-recommends "$@"
}

conformance=""
case "${1:-}" in
    "") ;;
    --conformance) conformance=external; shift ;;
    --help) sed -n 's/^# \{0,1\}//p; /^set -e/q' "$0" | tail -n +2; exit 0 ;;
    *) echo "$0: unknown argument $1; --help lists what there is" >&2; exit 2 ;;
esac

# The real server and its tools are the yardstick of the wire tests; jemalloc is built with make and a C compiler.
packages=""
has redis-server || packages="$packages redis-server"
has redis-sentinel || packages="$packages redis-sentinel"
{ has redis-cli && has redis-benchmark; } || packages="$packages redis-tools"
has make || packages="$packages make"
has cc || packages="$packages gcc libc6-dev"
{ has python3 && python3 -c 'import ensurepip' 2>/dev/null; } || packages="$packages python3-venv"
if [ -n "$conformance" ]; then
    has tclsh || packages="$packages tcl"
    has dpkg-source || packages="$packages dpkg-dev"
fi
# shellcheck disable=SC2086 # the list is meant to be split
if [ -n "$packages" ]; then install $packages; fi

if [ -n "$conformance" ]; then
    case "${1:-}" in own | external | newer) conformance=$1; shift ;; esac
    suite=$(tests/conformance/fetch.sh "$conformance")
    cargo build --release
    exec tests/conformance/run.py "$conformance" "$suite" "${CARGO_TARGET_DIR:-target}/release/russet" "$@"
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
