#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Installs into a temporary prefix and builds examples/embed.c against it, as others would: through CMake's package
# (shared and static) and through pkg-config. All must run on a tiny checkpoint and print the same.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }
example=$TKR_SOURCE_DIR/examples/embed.c
model=$TKR_TEST_DIR/golden/bert/bert-mean/model
[[ -f $example && -d $model ]] || fail "$example or $model is missing"

prefix=$scratch/prefix
cmake --install "$TKR_BUILD_DIR" --prefix "$prefix" > "$scratch/log" || fail "install: $(tail -5 "$scratch/log")"
for file in bin/tkr-embed include/tkr/embed.h share/man/man1/tkr-embed.1 share/doc/tkr-embed/LICENSE \
    share/bash-completion/completions/tkr-embed share/zsh/site-functions/_tkr-embed; do
    [[ -s $prefix/$file ]] || fail "$file isn't installed"
done
"$prefix/bin/tkr-embed" --version > /dev/null || fail "the installed program doesn't start"
bash -n "$prefix/share/bash-completion/completions/tkr-embed" || fail "the bash completion doesn't parse"
pc=$(dirname "$(find "$prefix" -name tkr.pc)")
export PKG_CONFIG_PATH=$pc
lib=$(dirname "$pc")
[[ -L $lib/libtkr.so && -e $lib/libtkr.so.0 ]] || fail "libtkr.so.0 isn't there"

cmake -S "$TKR_TEST_DIR/consumer" -B "$scratch/cmake" -DCMAKE_PREFIX_PATH="$prefix" -DEXAMPLE="$example" \
    -DCMAKE_BUILD_TYPE=Release > "$scratch/log" 2>&1 || fail "cmake: $(cat "$scratch/log")"
cmake --build "$scratch/cmake" > "$scratch/log" 2>&1 || fail "cmake build: $(cat "$scratch/log")"
read -ra flags <<< "$(pkg-config --cflags --libs tkr)"
cc -std=c17 -Wall -Wextra -Werror "$example" "${flags[@]}" -lm -o "$scratch/pkgconfig" || fail "cc with pkg-config"
printf '#include <tkr/embed.h>\nint main() { return tkr_version()[0] == 0; }\n' > "$scratch/plus.cpp"
if command -v c++ > /dev/null; then
    c++ -std=c++11 -Wall -Werror "$scratch/plus.cpp" "${flags[@]}" -o "$scratch/plus" || fail "the header in C++"
    LD_LIBRARY_PATH=$lib "$scratch/plus" || fail "a C++ program doesn't run"
fi

"$scratch/cmake/embed_shared" "$model" > "$scratch/shared" || fail "embed_shared"
"$scratch/cmake/embed_static" "$model" > "$scratch/static" || fail "embed_static"
LD_LIBRARY_PATH=$lib "$scratch/pkgconfig" "$model" > "$scratch/pkg" || fail "pkg-config's program"
[[ -s $scratch/shared ]] || fail "the example prints nothing"
cmp "$scratch/shared" "$scratch/static" || fail "static and shared differ"
cmp "$scratch/shared" "$scratch/pkg" || fail "pkg-config's and CMake's differ"
version=$("$prefix/bin/tkr-embed" --version | grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | head -1)
[[ $(pkg-config --modversion tkr) == "$version" ]] || fail "tkr.pc and tkr-embed --version disagree: $version"
ldd "$scratch/cmake/embed_static" | grep -q libtkr && fail "embed_static needs libtkr.so"
echo ok
