/* SPDX-License-Identifier: Apache-2.0 */
/* tools/make_checkpoint: lists of tensors under construction; shapes.c and shapes_vl.c fill them. */
#ifndef TOOLS_MAKE_CHECKPOINT_BUILDER_H
#define TOOLS_MAKE_CHECKPOINT_BUILDER_H

#include "shapes.h"

typedef struct builder {
    tensor_list *list;
    const char *prefix; /* of all names */
    bool failed;
} builder;

/* Appends a tensor; the name is printed. Returns it, valid until the next call. */
__attribute__((format(printf, 6, 7))) tensor *add(builder *b, size_t rows, size_t cols, fill how, plant planted,
                                                  const char *format, ...);
/* "<name>.weight" and "<name>.bias". */
void add_norm(builder *b, size_t h, const char *name, plant planted);
void add_dense(builder *b, size_t rows, size_t cols, const char *name, plant planted);

/* Qwen-VL shapes (shapes_vl.c): the vision part beside the text model, config.json behind its model_type,
 * and preprocessor_config.json. */
bool shape_is_vl(const shape *s);
const char *vl_text_prefix(const shape *s);
void vl_tensors(builder *b, const shape *s);
void vl_config(FILE *f, const shape *s, const char *dtype);
void vl_processor(FILE *f, const shape *s);

#endif
