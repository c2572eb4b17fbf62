#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# scripts/: the rule checkers find what they are for; deps is silent and quick when nothing lacks, and otherwise says
# what it would do without doing it.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$TKR_SOURCE_DIR"
fail() { echo "FAILED: $*" >&2; exit 1; }

# The checkers on a small tree with one fault of each kind.
tree=$scratch/tree
mkdir -p "$tree"/{scripts,src/{core,quant,engine},include/tkr}
cp scripts/check-includes scripts/check-sizes "$tree/scripts/"
cp include/tkr/embed.h "$tree/include/tkr/"
git -C "$tree" init -q
spdx='/* SPDX-License-Identifier: Apache-2.0 */'
printf '%s\n#include <stddef.h>\n#include "core/a.h"\n' "$spdx" > "$tree/src/quant/good.c"
printf '%s\n' "$spdx" > "$tree/src/core/a.h"
printf '%s\n' "$spdx" > "$tree/src/engine/b.h"
"$tree/scripts/check-includes" || fail "check-includes refuses a good tree"
"$tree/scripts/check-sizes" || fail "check-sizes refuses a good tree"

expect() { # checker, pattern, file, text
    printf '%b' "$4" > "$tree/$3"
    local out
    if out=$("$tree/scripts/$1"); then fail "$1 accepts $3 ($2)"; fi
    grep -q -- "$2" <<< "$out" || fail "$1 doesn't say '$2': $out"
    rm "$tree/$3"
}
expect check-includes 'quant may not know engine' src/quant/x.c "$spdx\n#include \"engine/b.h\"\n"
expect check-includes 'write the path from src/' src/core/x.c "$spdx\n#include \"a.h\"\n"
expect check-includes '<unistd.h> belongs to core' src/quant/x.c "$spdx\n#include <unistd.h>\n"
expect check-includes 'malloc() belongs to core' src/quant/x.c "$spdx\nvoid *f(void) { return malloc(1); }\n"
expect check-includes 'the library never prints' src/quant/x.c "$spdx\nvoid f(void) { puts(\"x\"); }\n"
expect check-includes 'no such room' src/misc.c "$spdx\n"
expect check-sizes 'without the SPDX line' src/core/x.c "int x;\n"
repeated() { for ((i = 0; i < $1; i++)); do printf '%s\\n' "$2"; done; }
expect check-sizes '601 lines' src/core/x.c "$spdx\n$(repeated 600 'int x;')"
expect check-sizes 'f has 81 lines' src/core/x.c "$spdx\nint f(void) {\n$(repeated 79 '    x();')}\n"
expect check-sizes 'one machine only' src/core/x.c "$spdx\n/* see ../""shared/x */\n"
expect check-sizes 'one machine only' src/core/x.c "$spdx\n/* see /""work/main */\n"

# deps: a dpkg-query that knows everything, then one that knows nothing beside an apt-get that tells if it is run.
bin=$scratch/bin
mkdir "$bin"
printf '#!/bin/sh\nshift 2\nfor p; do echo "$p ii "; done\n' > "$bin/dpkg-query"
chmod +x "$bin/dpkg-query"
if [[ -f /etc/debian_version ]]; then
    out=$(PATH=$bin:$PATH scripts/deps 2>&1) || fail "deps fails though nothing is missing: $out"
    [[ -z $out ]] || fail "deps speaks though nothing is missing: $out"
    # Processor time, so that a busy machine doesn't fail it: user and system, 20 runs.
    TIMEFORMAT='%3U %3S'
    read -r user system < <({ time for _ in {1..20}; do PATH=$bin:$PATH scripts/deps; done; } 2>&1)
    took=$((10#${user/./} + 10#${system/./}))
    ((took < 20 * 50)) || fail "20 runs of deps take $took ms when nothing is missing, 50 ms each are allowed"

    printf '#!/bin/sh\nexit 1\n' > "$bin/dpkg-query"
    printf '#!/bin/sh\nexit 1\n' > "$bin/pkg-config"
    printf '#!/bin/sh\ntouch "%s/ran"\n' "$scratch" > "$bin/apt-get"
    printf '#!/bin/sh\nexec "$@"\n' > "$bin/sudo"
    chmod +x "$bin"/*
    if out=$(PATH=$bin:$PATH scripts/deps 2>&1 < /dev/null); then fail "deps succeeds with nobody to ask"; fi
    [[ ! -e $scratch/ran ]] || fail "deps ran apt-get without being told"
    grep -q 'apt-get install .*libjansson-dev' <<< "$out" || fail "deps doesn't print its command: $out"
    grep -q '^Missing packages: .*cmake' <<< "$out" || fail "deps doesn't name what is missing: $out"
    PATH=$bin:$PATH scripts/deps --yes > "$scratch/out" 2>&1 || fail "deps --yes fails: $(cat "$scratch/out")"
    [[ -e $scratch/ran ]] || fail "deps --yes doesn't run apt-get"
fi
scripts/deps --nonsense 2> /dev/null && fail "deps accepts a wrong flag"

# make help names every target of the Makefile that a person calls.
for target in build help run test test-long test-arm64 bench lint fuzz install clean; do
    make -s help | grep -q "make $target " || fail "make help lacks $target"
done
echo ok
