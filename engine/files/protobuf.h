/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The wire format of protocol buffers, as far as SentencePiece's models need it.
 */
#ifndef LF_FILES_PROTOBUF_H
#define LF_FILES_PROTOBUF_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

G_BEGIN_DECLS

typedef struct {
    const uint8_t *data;
    size_t size;
} LfSpan;

typedef enum {
    LF_WIRE_VARINT = 0,
    LF_WIRE_FIXED64 = 1,
    LF_WIRE_BYTES = 2,
    LF_WIRE_FIXED32 = 5
} LfWireType;

typedef struct {
    uint32_t number;
    LfWireType type;
    LfSpan content; /* of a string, bytes or message (LF_WIRE_BYTES), without the length */
    LfSpan whole;   /* with tag and length */
} LfWireField;

/* Takes the next field off `rest`; false when it is not whole, or is written in a way that readers
 * may read differently: groups, and tags of more than 32 bits, of which the protobuf library keeps
 * only 32. */
bool lf_wire_take(LfSpan *rest, LfWireField *field);

void lf_wire_put_varint(GByteArray *out, uint32_t number, uint64_t value);
void lf_wire_put_float(GByteArray *out, uint32_t number, float value);
void lf_wire_put_bytes(GByteArray *out, uint32_t number, const void *data, size_t size);

G_END_DECLS

#endif
