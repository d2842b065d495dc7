#!/bin/sh
# Other people's scripts, through their own client libraries, against a server. On demand: it takes them from PyPI and npm.
#
#   tests/clients/run.sh [PROGRAM]             PROGRAM is target/release/russet, or redis-server to see what it answers
#
# The libraries stay in $TMPDIR/russet-clients for the next time. Needs python3 with venv, node and npm.
set -e
here=$(cd "$(dirname "$0")" && pwd)
program=${1:-$here/../../target/release/russet}
place=${TMPDIR:-/tmp}/russet-clients
mkdir -p "$place"

if [ ! -x "$place/venv/bin/huey_consumer" ]; then
    python3 -m venv "$place/venv"
    "$place/venv/bin/pip" install --quiet redis rq limits pyrate-limiter pottery redlock-py huey
fi
if [ ! -d "$place/node_modules/bullmq" ]; then
    npm install --silent --no-audit --no-fund --prefix "$place" bullmq redlock rate-limiter-flexible ioredis
fi

port=$("$place/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
folder=$(mktemp -d)
"$program" --port "$port" --dir "$folder" --save "" >"$folder/log" 2>&1 &
server=$!
trap 'kill "$server"; wait "$server" 2>/dev/null; rm -r "$folder"' EXIT
until redis-cli -p "$port" ping >/dev/null 2>&1; do sleep 0.1; done

failed=0
"$place/venv/bin/python" "$here/scripted.py" "$port" || failed=1
RUSSET_NODE_MODULES=$place node "$here/scripted.mjs" "$port" || failed=1
exit $failed
