/* SPDX-License-Identifier: Apache-2.0 */
/* emu/amx_emu: plain C in place of the AMX tile intrinsics; aborts on use without a configuration, as the CPU would
 * fault. */
#ifndef TKR_TESTS_AMX_EMU_H
#define TKR_TESTS_AMX_EMU_H

#include "avx512_emu.h"

void emu_tile_loadconfig(const void *config);
void emu_tile_release(void);
void emu_tile_zero(int tile);
void emu_tile_loadd(int tile, const void *base, size_t stride);
void emu_tile_stored(int tile, void *base, size_t stride);
void emu_tile_dpbf16ps(int c, int a, int b);
void emu_tile_dpbusd(int c, int a, int b);

#define _tile_loadconfig(config) emu_tile_loadconfig(config)
#define _tile_release() emu_tile_release()
#define _tile_zero(tile) emu_tile_zero(tile)
#define _tile_loadd(tile, base, stride) emu_tile_loadd(tile, base, stride)
#define _tile_stored(tile, base, stride) emu_tile_stored(tile, base, stride)
#define _tile_dpbf16ps(c, a, b) emu_tile_dpbf16ps(c, a, b)
#define _tile_dpbusd(c, a, b) emu_tile_dpbusd(c, a, b)

#endif
