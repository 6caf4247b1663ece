/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "published.h"

#define WAN    "Wan-AI/Wan2.1-T2V-1.3B"
#define COMFY  "Comfy-Org/Wan_2.1_ComfyUI_repackaged"
#define APACHE "Apache-2.0"

const LfPublished lf_published[] = {
    {LF_PART_TEXT_ENCODER, WAN, "models_t5_umt5-xxl-enc-bf16.pth", 11362, APACHE, "bf16"},
    {LF_PART_TEXT_ENCODER, COMFY,
     "split_files/text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors", 6736, APACHE,
     "fp8, with its tokenizer"},
    {LF_PART_TOKENIZER, WAN, "google/umt5-xxl/spiece.model", 4.55, APACHE, "SentencePiece"},
    {LF_PART_DECODER, "lightx2v/Autoencoders", "taew2_1.safetensors", 22.7, "MIT", "TAEHV"},
    {0},
};

char *lf_published_sources(LfPart part)
{
    GString *text = g_string_new(NULL);
    for (const LfPublished *p = lf_published; p->file; p++) {
        if (p->part != part)
            continue;
        g_string_append_printf(text, "%s%s (%s, %.3g %s, %s) of %s", text->len ? ", or " : "",
                               p->file, p->note,
                               p->megabytes < 1000 ? p->megabytes : p->megabytes / 1000,
                               p->megabytes < 1000 ? "MB" : "GB", p->licence, p->repository);
    }
    return g_string_free(text, FALSE);
}
