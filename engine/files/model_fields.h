/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The table of what model.json may hold, for model_config.c, which reads it, and
 * model_config_write.c.
 */
#ifndef LF_FILES_MODEL_FIELDS_H
#define LF_FILES_MODEL_FIELDS_H

#include "model_config.h"

typedef enum { TEXT, WHOLE, REAL, FLAG, STEPS, RATE, POSITIONS, ORDER, WORD, LORAS, FAMILY } Kind;

typedef struct {
    const char *section, *key;
    Kind kind;
    size_t offset;      /* in LfModelConfig */
    double least, most; /* of WHOLE and REAL */
    double normal;      /* default; 0 where a tensor's shape tells the value */
} Field;

/* The fields of a section stand together. Ends with a row without a key. */
extern const Field lf_model_fields[];

#endif
