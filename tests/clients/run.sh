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

if [ ! -x "$place/venv/bin/celery" ]; then
    python3 -m venv "$place/venv"
    "$place/venv/bin/pip" install --quiet redis rq limits pyrate-limiter pottery redlock-py huey celery packaging
fi
# arq wants an older redis-py than the others, and fastapi-limiter has no script of its own from 0.2 on.
if [ ! -x "$place/queues/bin/arq" ]; then
    python3 -m venv "$place/queues"
    "$place/queues/bin/pip" install --quiet arq dramatiq django-redis python-redis-lock 'fastapi-limiter<0.2'
fi
if [ ! -d "$place/node_modules/rate-limit-redis" ]; then
    npm install --silent --no-audit --no-fund --prefix "$place" bullmq bull bee-queue redlock redis-semaphore \
        rate-limiter-flexible rate-limit-redis express-rate-limit ioredis redis
fi

port=$("$place/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
folder=$(mktemp -d)
"$program" --port "$port" --dir "$folder" --save "" >"$folder/log" 2>&1 &
server=$!
trap 'kill "$server"; wait "$server" 2>/dev/null; rm -r "$folder"' EXIT
until redis-cli -p "$port" ping >/dev/null 2>&1; do sleep 0.1; done

failed=0
"$place/venv/bin/python" "$here/scripted.py" "$port" || failed=1
"$place/queues/bin/python" "$here/queues.py" "$port" || failed=1
RUSSET_NODE_MODULES=$place node "$here/scripted.mjs" "$port" || failed=1
exit $failed
