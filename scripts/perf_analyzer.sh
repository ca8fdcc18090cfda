#!/usr/bin/env bash
# NVIDIA's perf_analyzer into the cache folder where `trident bench` looks for it; called by `make perf-analyzer`.
# It comes in a wheel for glibc 2.38. An older Debian starts it by the loader of a newer Debian, whose libraries are
# unpacked beside it: from the mirror of this machine's own apt sources, checked by apt against Debian's keys.
set -euo pipefail

version=2.60.0
wheel_sha256=23ef56b107ae9233e5cf09fbdf508dd9b936a52f1bae2f63f53c8117087b3f25
suite=trixie # the first Debian with glibc 2.38 or newer
packages=(libc6 libstdc++6 libgcc-s1 libssl3t64 zlib1g libzstd1)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
python="${PYTHON:-python3}"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/trident"
target="$cache/perf-analyzer-$version"

fail() {
    echo "perf-analyzer: $*" >&2
    exit 1
}

run() { # DIR OPTION…: the program of a folder
    local loader="$1/lib/ld-linux-x86-64.so.2"
    if [[ -e "$loader" ]]; then
        "$loader" --library-path "$1/lib" "$1/perf_analyzer" "${@:2}"
    else
        "$1/perf_analyzer" "${@:2}"
    fi
}

fetch_wheel() { # DIR
    echo "perf-analyzer==$version --hash=sha256:$wheel_sha256" >"$1/requirements.txt"
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        --platform manylinux_2_38_x86_64 --require-hashes -r "$1/requirements.txt" -d "$1" 2>"$1/pip.log" ||
        fail "the wheel perf-analyzer $version cannot be had: $(grep -v ^WARNING "$1/pip.log" | tail -n 1)"
    "$python" -m zipfile -e "$1"/*.whl "$1/wheel"
    mv "$1/wheel/perf_analyzer/bin/perf_analyzer" "$1/perf_analyzer"
    chmod 755 "$1/perf_analyzer"
}

fetch_libraries() { # DIR
    local mirror
    for needed in apt-get dpkg-deb; do
        command -v "$needed" >/dev/null || fail "glibc here is older than 2.38 and $needed is missing: take a newer" \
            "system, or put a perf_analyzer that runs on PATH (NVIDIA's Triton SDK image has one)"
    done
    [[ -e "$keyring" ]] || fail "Debian's keys are missing ($keyring): apt-get install debian-archive-keyring"
    # shellcheck disable=SC2016,SC1091 # apt fills these in; what the system says of itself
    mirror="$(. /etc/os-release && apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(REPO_URI)' \
        'Created-By: Packages' | awk -v suite="${VERSION_CODENAME:-}" '$1 == suite && $2 == "main" { print $3; exit }')"
    [[ -n "$mirror" ]] || fail "apt's sources name no Debian mirror: run apt-get update, or put a perf_analyzer on PATH"
    mkdir -p "$1/apt/lists/partial" "$1/apt/cache/archives/partial" "$1/debs"
    echo "deb [signed-by=$keyring] $mirror $suite main" >"$1/apt/sources.list"
    apt=(apt-get -q -o "Dir::State=$1/apt" -o "Dir::State::lists=$1/apt/lists" -o Dir::State::status=/dev/null
        -o "Dir::Cache=$1/apt/cache" -o "Dir::Etc::sourcelist=$1/apt/sources.list" -o Dir::Etc::sourceparts=-
        -o "APT::Sandbox::User=$(id -un)" -o APT::Update::Error-Mode=any -o Acquire::Languages=none)
    "${apt[@]}" update >"$1/apt.log" 2>&1 || fail "Debian $suite cannot be read: $(grep -m 1 '^[EW]:' "$1/apt.log")"
    (cd "$1/debs" && "${apt[@]}" download "${packages[@]}") >"$1/apt.log" 2>&1 ||
        fail "the libraries of Debian $suite cannot be had: $(grep -m 1 '^[EW]:' "$1/apt.log")"
    for deb in "$1"/debs/*.deb; do dpkg-deb -x "$deb" "$1/root"; done
    mkdir "$1/lib"
    cp -P "$1"/root/usr/lib/x86_64-linux-gnu/*.so* "$1/lib/"
}

if [[ -x "$target/perf_analyzer" ]] && run "$target" --version >/dev/null 2>&1; then
    echo "$target/perf_analyzer is there" >&2
    exit
fi
[[ "$(uname -sm)" == "Linux x86_64" ]] || fail "it runs on Linux x86-64 only, this is $(uname -sm)"
mkdir -p "$cache"
staging="$(mktemp -d "$cache/.perf-analyzer.XXXXXX")"
trap 'rm -rf "$staging"' EXIT
fetch_wheel "$staging"
run "$staging" --version >/dev/null 2>&1 || fetch_libraries "$staging"
run "$staging" --version >"$staging/run.log" 2>&1 || fail "what was fetched does not run: $(tail -n 1 "$staging/run.log")"
mkdir "$staging/kept"
mv "$staging/perf_analyzer" "$staging/kept/"
[[ ! -d "$staging/lib" ]] || mv "$staging/lib" "$staging/kept/"
chmod 755 "$staging/kept"
rm -rf "$target"
mv -T "$staging/kept" "$target" 2>/dev/null || [[ -x "$target/perf_analyzer" ]] || fail "$target cannot be written"
echo "$target/perf_analyzer $version" >&2
