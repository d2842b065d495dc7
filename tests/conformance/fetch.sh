#!/bin/sh
# Brings Redis' own test suite from Debian's source packages, and prints its folder.
#
#   fetch.sh          that of Redis 7.0.15, by apt-get source of Debian 12
#   fetch.sh newer    that of Redis 8.0.2, the archive that Debian 13 builds from
#
# Only apt is asked, with lists of its own: the system's package sources stay as they are.
set -e
version=7.0.15
if [ "$1" = newer ]; then version=8.0.2; fi
home="${RUSSET_CONFORMANCE_DIR:-${TMPDIR:-/tmp}/russet-conformance}"
suite="$home/redis-$version"
archive=redis_8.0.2.orig.tar.gz
archive_sha256=caf3c0069f06fc84c5153bd2a348b204c578de80490c73857bee01d9b5d7401f

# Leaves redis-7.0.15 in the current folder.
fetch_package() {
    mkdir -p "$home/lists/partial"
    sources=/etc/apt/sources.list.d/debian.sources
    if [ -f "$sources" ]; then
        list="$home/source.sources"
        sed 's/^Types:.*/Types: deb-src/' "$sources" >"$list"
    else
        list="$home/source.list"
        sed -n 's/^deb /deb-src /p' /etc/apt/sources.list >"$list"
    fi
    for step in update "source redis"; do
        # shellcheck disable=SC2086 # a step is several words
        apt-get -qq -o Dir::Etc::sourcelist="$list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$home/lists" \
            -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root $step >&2
    done
}

# Leaves redis-8.0.2 in the current folder.
fetch_archive() {
    /usr/lib/apt/apt-helper download-file "http://deb.debian.org/debian/pool/main/r/redis/$archive" "$archive" \
        "SHA256:$archive_sha256" >&2
    tar -xzf "$archive"
    # Its tests need no more than DEBUG.
    sed -i 's/external:skip //' "redis-$version/tests/unit/type/hash-field-expire.tcl"
}

if [ ! -f "$suite/tests/test_helper.tcl" ]; then
    rm -rf "$home/new"
    mkdir -p "$home/new"
    cd "$home/new"
    if [ "$version" = 8.0.2 ]; then fetch_archive; else fetch_package; fi
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
