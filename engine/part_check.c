/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Each part is loaded on the plan backend, which has shapes and no numbers.
 */
#include "part_check.h"

#include "files/weights.h"
#include "models/decoder.h"
#include "models/text_encoder.h"
#include "models/transformer.h"

static bool check_transformer(const LfModelConfig *c, LfWeightSource *source, GError **error)
{
    LfTransformer *t = lf_transformer_new(lf_backend_plan(NULL), &c->transformer, source, error);
    lf_transformer_free(t);
    return t != NULL;
}

static bool check_text_encoder(const LfModelConfig *c, LfWeightSource *source, GError **error)
{
    LfTextEncoder *t = lf_text_encoder_new(lf_backend_plan(NULL), &c->text_encoder, source, error);
    lf_text_encoder_free(t);
    return t != NULL;
}

static bool check_decoder(const LfModelConfig *c, LfWeightSource *source, GError **error)
{
    const LfDecoderClass *class = lf_decoder_class(c->decoder.type, source, error);
    LfDecoder *decoder =
        class ? class->create(lf_backend_plan(NULL), &c->decoder, source, error) : NULL;
    lf_decoder_free(decoder);
    return decoder != NULL;
}

bool lf_part_check(LfFileKind kind, const LfModelConfig *config, LfWeightSource *source,
                   GError **error)
{
    bool bound = kind == LF_FILE_TRANSFORMER    ? check_transformer(config, source, error)
                 : kind == LF_FILE_TEXT_ENCODER ? check_text_encoder(config, source, error)
                                                : check_decoder(config, source, error);
    return bound && lf_weight_source_check_unused(source, error);
}
