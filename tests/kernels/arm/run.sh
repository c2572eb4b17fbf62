#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Cross-compiles the arm64 kernels with the shared checks and runs them under qemu-user. Exit status 77: cross compiler
# or qemu are missing, nothing was checked.
# usage: run.sh SOURCE_DIR BUILD_DIR
set -euo pipefail
source_dir=$1 build=$2
cc=${TKR_ARM64_CC:-aarch64-linux-gnu-gcc} qemu=${TKR_ARM64_QEMU:-qemu-aarch64}
for program in "$cc" "$qemu"; do
    if ! command -v "$program" >/dev/null; then
        echo "not run: $program is missing (scripts/deps installs it)"
        exit 77
    fi
done

mkdir -p "$build"
flags=(-std=c17 -O2 -fno-math-errno -ffp-contract=off -Wall -Wextra -Wconversion -Wshadow -Wundef -Wvla
    -Wmissing-prototypes -Wstrict-prototypes -Werror -I"$source_dir/src" -I"$source_dir/include"
    -I"$source_dir/tests/kernels/arm")
objects=()
compile() { # source, further flags
    local object
    object=$build/$(basename "$(dirname "$1")")_$(basename "$1" .c).o
    "$cc" "${flags[@]}" "${@:2}" -c "$1" -o "$object"
    objects+=("$object")
}
for file in "$source_dir"/src/kernels/*.c "$source_dir"/src/kernels/generic/*.c "$source_dir"/src/quant/*.c \
    "$source_dir"/src/core/error.c "$source_dir"/src/core/utf8*.c "$source_dir"/src/core/cpu.c \
    "$source_dir"/src/core/cpu_arm.c "$source_dir"/tests/kernels/arm/rungs.c; do
    compile "$file"
done
for file in "$source_dir"/src/kernels/arm/*.c; do # the options of cmake/TkrLibrary.cmake
    case $file in
    *_dotprod.c) compile "$file" -O3 -march=armv8.2-a+dotprod ;;
    *_i8mm.c) compile "$file" -O3 -march=armv8.6-a+i8mm ;;
    *_bf16.c) compile "$file" -O3 -march=armv8.6-a+bf16 ;;
    *) compile "$file" -O3 ;;
    esac
done
"$cc" -static -o "$build/rungs" "${objects[@]}" -lm
exec "$qemu" -cpu max "$build/rungs"
