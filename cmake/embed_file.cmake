# SPDX-License-Identifier: Apache-2.0
# cmake -DFROM=file -DTO=file.c -DNAME=symbol -P embed_file.cmake: a file as bytes in C, with a NUL behind them.
file(READ ${FROM} bytes HEX)
string(LENGTH "${bytes}" digits)
math(EXPR size "${digits} / 2")
string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
string(REPEAT "." 100 line)
string(REGEX REPLACE "(${line})" "\\1\n" bytes "${bytes}")
file(WRITE ${TO} "/* Made from ${FROM} by cmake/embed_file.cmake. */
#include <stddef.h>
extern const unsigned char ${NAME}[];
extern const size_t ${NAME}_size;
const unsigned char ${NAME}[] = {
${bytes}0x00};
const size_t ${NAME}_size = ${size};
")
