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

/* A row for each "type" of model.json; its class is lf_decoder_<type>. A file without a type is
 * tried as each of them, in this order. */
#define LF_DECODERS(X) X(tiny) X(wan)

typedef struct LfDecoderClass LfDecoderClass;

/* Every decoder's object begins with this. */
typedef struct {
    const LfDecoderClass *class;
} LfDecoder;

enum { LF_MAX_DECODER_STATE = 64 };

/* A decoder's state between chunks, in an order of its class; all zero at the start of a scene. */
typedef struct {
    int n;
    bool begun; /* latents of the scene were decoded; for classes that treat its first one apart */
    LfTensor past[LF_MAX_DECODER_STATE];
} LfDecoderState;

struct LfDecoderClass {
    const char *type;      /* in model.json, and on the command line */
    const char *title;     /* for people */
    const char *sign;      /* the name of a tensor that only its files have */
    LfLatentFormat format; /* pixels and frames of a latent, and the rule of the first one */

    /* Fills dimensions that model.json leaves out from the shapes; an error names the mismatch. */
    bool (*complete)(LfDecoderConfig *config, LfWeightSource *source, GError **error);
    /* How decoders of the class differ, as "256/128/64/64 channels". Transfer full. */
    char *(*describe)(const LfDecoderConfig *config);

    /* On the plan backend the weights are checked and not loaded. The backend and the source
     * outlive the decoder. */
    LfDecoder *(*create)(LfBackend *be, const LfDecoderConfig *config, LfWeightSource *source,
                         GError **error);
    void (*destroy)(LfDecoder *decoder);
    size_t (*memory)(const LfDecoder *decoder); /* bytes; of a plan's, about those of a real one */

    /* Allocates the state of a stream of this geometry. */
    LfDecoderState (*state)(const LfDecoder *decoder, const LfGeometry *geometry, LfArena *arena);

    /* rgb U8 [format.frames·n, H, W, 3] = decoder(latents F32 [n, C, h, w]); an F32 rgb gets the
     * colours before they are clamped to 0…1 and rounded to bytes. All frames are written; the
     * caller drops format.trimmed of a scene's first chunk, which may be black. `cancelled`, or
     * NULL, is read before every layer; false when it was set. The state advances at the very end,
     * so a cancelled call leaves it unchanged. */
    bool (*forward)(const LfDecoder *decoder, LfBackend *be, LfArena *scratch, LfTensor rgb,
                    LfTensor latents, LfDecoderState *state, const int *cancelled);
};

/* The published statistics of the latents of Wan 2.1: the transformer's are normalised, z = (μ −
 * mean) / deviation in each channel. */
enum { LF_WAN21_CHANNELS = 16 };
extern const float lf_wan21_means[LF_WAN21_CHANNELS], lf_wan21_deviations[LF_WAN21_CHANNELS];

#define LF_DECLARE_DECODER(type) extern const LfDecoderClass lf_decoder_##type;
LF_DECODERS(LF_DECLARE_DECODER)
#undef LF_DECLARE_DECODER

/* The class of a type. For "" the class whose sign `source` has, or the first class if `source` is
 * NULL. LF_ERROR_CONFIG for an unknown type, LF_ERROR_SHAPE when `source` has no class's sign. */
const LfDecoderClass *lf_decoder_class(const char *type, LfWeightSource *source, GError **error);

void lf_decoder_free(LfDecoder *decoder); /* NULL is fine */
void lf_decoder_state_reset(LfBackend *be, LfDecoderState *state);

#endif
