#!/bin/sh
# Brings Redis' own test suite, which is part of Debian's source package of redis 7.0, and prints its folder.
# Only apt is asked, with lists of its own: the system's package sources stay as they are.
set -e
version=7.0.15
home="${RUSSET_CONFORMANCE_DIR:-${TMPDIR:-/tmp}/russet-conformance}"
suite="$home/redis-$version"

if [ ! -f "$suite/tests/test_helper.tcl" ]; then
    rm -rf "$home/new"
    mkdir -p "$home/lists/partial" "$home/new"
    sources=/etc/apt/sources.list.d/debian.sources
    if [ -f "$sources" ]; then
        list="$home/source.sources"
        sed 's/^Types:.*/Types: deb-src/' "$sources" >"$list"
    else
        list="$home/source.list"
        sed -n 's/^deb /deb-src /p' /etc/apt/sources.list >"$list"
    fi
    cd "$home/new"
    for step in update "source redis"; do
        # shellcheck disable=SC2086 # a step is several words
        apt-get -qq -o Dir::Etc::sourcelist="$list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$home/lists" \
            -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root $step >&2
    done
    if [ ! -d "redis-$version" ]; then
        echo "Debian's redis is not $version here; the tests' names are that version's" >&2
        exit 1
    fi
    # A test client reads our overlay before it starts to work.
    # shellcheck disable=SC2016 # these are Tcl's variables
    sed -i 's|^if {$::client} {$|if {[info exists ::env(OVERLAY)]} {source $::env(OVERLAY)}\n&|' \
        "redis-$version/tests/test_helper.tcl"
    mkdir -p "redis-$version/tests/tmp"
    rm -rf "$suite"
    mv "redis-$version" "$suite"
    rm -rf "$home/new"
fi
printf '%s\n' "$suite"
