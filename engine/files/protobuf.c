/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "protobuf.h"

#include <string.h>

static bool take_varint(LfSpan *rest, uint64_t *value)
{
    *value = 0;
    for (int shift = 0; shift < 64 && rest->size > 0; shift += 7) {
        uint8_t byte = *rest->data++;
        rest->size--;
        *value |= (uint64_t) (byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return true;
    }
    return false;
}

static bool take_content(LfSpan *rest, LfWireField *field)
{
    uint64_t size = 0, value;
    switch (field->type) {
    case LF_WIRE_VARINT:
        return take_varint(rest, &value);
    case LF_WIRE_FIXED64:
        size = 8;
        break;
    case LF_WIRE_FIXED32:
        size = 4;
        break;
    case LF_WIRE_BYTES:
        if (!take_varint(rest, &size))
            return false;
        break;
    default:
        return false;
    }
    if (size > rest->size)
        return false;
    if (field->type == LF_WIRE_BYTES)
        field->content = (LfSpan){rest->data, size};
    rest->data += size;
    rest->size -= size;
    return true;
}

bool lf_wire_take(LfSpan *rest, LfWireField *field)
{
    const uint8_t *begin = rest->data;
    uint64_t tag;
    if (!take_varint(rest, &tag) || tag > UINT32_MAX || tag >> 3 == 0)
        return false;
    *field = (LfWireField){.number = (uint32_t) tag >> 3, .type = (LfWireType) (tag & 7)};
    if (!take_content(rest, field))
        return false;
    field->whole = (LfSpan){begin, (size_t) (rest->data - begin)};
    return true;
}

static void put_varint(GByteArray *out, uint64_t value)
{
    uint8_t bytes[10];
    guint n = 0;
    for (; value > 0x7f; value >>= 7)
        bytes[n++] = (uint8_t) (value | 0x80);
    bytes[n++] = (uint8_t) value;
    g_byte_array_append(out, bytes, n);
}

static void put_tag(GByteArray *out, uint32_t number, LfWireType type)
{
    put_varint(out, (uint64_t) number << 3 | type);
}

void lf_wire_put_varint(GByteArray *out, uint32_t number, uint64_t value)
{
    put_tag(out, number, LF_WIRE_VARINT);
    put_varint(out, value);
}

void lf_wire_put_float(GByteArray *out, uint32_t number, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    bits = GUINT32_TO_LE(bits);
    put_tag(out, number, LF_WIRE_FIXED32);
    g_byte_array_append(out, (const guint8 *) &bits, 4);
}

void lf_wire_put_bytes(GByteArray *out, uint32_t number, const void *data, size_t size)
{
    put_tag(out, number, LF_WIRE_BYTES);
    put_varint(out, size);
    if (size > 0)
        g_byte_array_append(out, data, (guint) size);
}
