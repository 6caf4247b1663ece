/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A decoder: latents to pixels, streaming. The chunk loop, the model and the tools know decoders by
 * this interface alone. A new one is a file with a class and a row in LF_DECODERS.
 *
 * Weights are immutable (any thread); the state belongs to one session.
 */
#ifndef LF_MODELS_DECODER_H
#define LF_MODELS_DECODER_H

#include "engine/files/model_config.h"
#include "engine/files/weights.h"
#include "engine/geometry.h"

/* model.json's "type", then the class is lf_decoder_<type>. In the order in which a file without a
 * type is tried. */
#define LF_DECODERS(X) X(tiny)

typedef struct LfDecoderClass LfDecoderClass;

/* Every decoder's object begins with this. */
typedef struct {
    const LfDecoderClass *class;
} LfDecoder;

enum { LF_MAX_DECODER_STATE = 64 };

/* What a decoder remembers of the frames before, in its class's own order; all zero in the first
 * chunk of a scene. */
typedef struct {
    int n;
    LfTensor past[LF_MAX_DECODER_STATE];
} LfDecoderState;

struct LfDecoderClass {
    const char *type;      /* in model.json, and on the command line */
    const char *title;     /* for people */
    const char *sign;      /* a tensor that its files have and others do not */
    LfLatentFormat format; /* pixels and frames of a latent, and the rule of the first one */

    /* Fills what model.json left open from the shapes; an error names what does not agree. */
    bool (*complete)(LfDecoderConfig *config, LfWeightSource *source, GError **error);
    /* "256/128/64/64 channels": what tells two decoders of the class apart. Transfer full. */
    char *(*describe)(const LfDecoderConfig *config);

    /* On the plan backend the weights are checked and not loaded. The backend and the source
     * outlive the decoder. */
    LfDecoder *(*create)(LfBackend *be, const LfDecoderConfig *config, LfWeightSource *source,
                         GError **error);
    void (*destroy)(LfDecoder *decoder);
    size_t (*memory)(const LfDecoder *decoder); /* bytes */

    /* Room for the state of a stream of this geometry. */
    LfDecoderState (*state)(const LfDecoder *decoder, const LfGeometry *geometry, LfArena *arena);

    /* rgb U8 [format.frames·n, H, W, 3] = decoder(latents F32 [n, C, h, w]); an F32 rgb gets the
     * colours before they are limited to 0…1 and rounded to bytes. All frames are written; dropping
     * format.trimmed of a scene's first chunk is up to the caller. Advances the state at the very
     * end: when `cancelled` (or NULL; read before every layer) was set, it returns false and the
     * state is as before. */
    bool (*forward)(const LfDecoder *decoder, LfBackend *be, LfArena *scratch, LfTensor rgb,
                    LfTensor latents, LfDecoderState *state, const int *cancelled);
};

#define LF_DECLARE_DECODER(type) extern const LfDecoderClass lf_decoder_##type;
LF_DECODERS(LF_DECLARE_DECODER)
#undef LF_DECLARE_DECODER

/* The class of a type; with "" the one whose sign `source` has, or, for a source of NULL, the first
 * one. LF_ERROR_CONFIG for a type that there is not, LF_ERROR_SHAPE when no sign is there. */
const LfDecoderClass *lf_decoder_class(const char *type, LfWeightSource *source, GError **error);

void lf_decoder_free(LfDecoder *decoder); /* NULL is fine */
void lf_decoder_state_reset(LfBackend *be, LfDecoderState *state);

#endif
