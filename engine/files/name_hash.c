/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "name_hash.h"

#include <string.h>

typedef struct {
    guint64 v[4];
} State;

static guint64 key[2];

static guint64 draw(void)
{
    return (guint64) g_random_int() << 32 | g_random_int();
}

static void draw_key(void)
{
    static gsize drawn;
    if (g_once_init_enter(&drawn)) {
        key[0] = draw();
        key[1] = draw();
        g_once_init_leave(&drawn, 1);
    }
}

static guint64 rotate(guint64 x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static void mix(State *s)
{
    guint64 *v = s->v;
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

static void take(State *s, guint64 word)
{
    s->v[3] ^= word;
    mix(s);
    s->v[0] ^= word;
}

guint lf_name_hash(gconstpointer name)
{
    const char *at = name;
    gsize size = strlen(at), left = size;
    draw_key();
    State s = {{key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du,
                key[0] ^ 0x6c7967656e657261u, key[1] ^ 0x7465646279746573u}};
    for (; left >= 8; left -= 8, at += 8) {
        guint64 word;
        memcpy(&word, at, 8);
        take(&s, word);
    }
    guint64 last = (guint64) size << 56;
    for (gsize i = 0; i < left; i++)
        last |= (guint64) (guint8) at[i] << (8 * i);
    take(&s, last);
    s.v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        mix(&s);
    guint64 hash = s.v[0] ^ s.v[1] ^ s.v[2] ^ s.v[3];
    return (guint) (hash ^ hash >> 32);
}
