/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Where frames come from: the engine, in one of several settings, or the world's own renderer.
 */
#ifndef LF_QUALITY_STREAM_H
#define LF_QUALITY_STREAM_H

#include "score.h"

#include "engine/lightforcing.h"

typedef struct {
    char *name;
    gboolean drawn; /* by the renderer, not by the engine */
    LfSessionOptions options;
} Setting;

/* Words joined by "+": "drawn"; "dense"; "sparse", and with it "uniform" (no growth), "all-frames"
 * (no choice among frames) or "keep=N" (past frames to choose among), "block=N" or, apart,
 * "query-block=N" and "key-block=N" (tokens), "tile=HxW" (tokens in tiles), "one-map" (one
 * selection for all steps of a chunk), a number (the target sparsity); "window=N"; and how a new
 * prompt comes in, "recache" or "cut", or else it continues. */
gboolean setting_parse(const char *text, Setting *setting, GError **error);
void setting_clear(Setting *setting);

/* What is to be seen: from chunk `change` on, the second. */
typedef struct {
    Scene scenes[2];
    char *captions[2];
    int n_chunks, change; /* change: 0: never */
    guint32 seed;
} Script;

typedef struct Stream Stream;

/* The model may be NULL for what is drawn. */
Stream *stream_new(LfModel *model, const Setting *setting, GError **error);
void stream_free(Stream *stream); /* NULL is fine */

/* From the first frame to the last; adds to the score how fast that was. */
gboolean stream_run(Stream *stream, const Script *script, Footage *footage, Score *score,
                    GError **error);

#endif
