/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "refusals.h"

#include "quantised.h"

#include <string.h>

#define TEXT_TO_VIDEO "use a checkpoint for text to video"
#define OTHER_TYPE    "use the same model in BF16, FP16 or FP8 (e4m3)"

/* Beginnings of components of names, between the dots, that only such files have. */
typedef struct {
    const char *beginning;
    const char *what;
} Row;

static const Row rows[] = {
    {"base_layer", "it has an unmerged LoRA of PEFT (base_layer): merge it with "
                   "merge_and_unload() and save it again"},
    {"far_patch_embedding", "it is a FAR model (AnyFlow), which compresses its context by layers "
                            "of its own: " TEXT_TO_VIDEO},
    {"vace_", "it is VACE, for editing video: " TEXT_TO_VIDEO},
    {"img_emb", "it is an image-to-video model: " TEXT_TO_VIDEO},
    {"k_img", "it is an image-to-video model: " TEXT_TO_VIDEO},
    {"v_img", "it is an image-to-video model: " TEXT_TO_VIDEO},
    {"norm_k_img", "it is an image-to-video model: " TEXT_TO_VIDEO},
    {"image_embedder", "it is an image-to-video model: " TEXT_TO_VIDEO},
    {"add_k_proj", "it is an image-to-video model: " TEXT_TO_VIDEO},
    {"add_v_proj", "it is an image-to-video model: " TEXT_TO_VIDEO},
    {"control_adapter", "it is a model with a camera control (Fun): " TEXT_TO_VIDEO},
    {"ref_conv", "it is a model with a reference picture (Fun Control): " TEXT_TO_VIDEO},
    {"face_adapter", "it is a model that animates characters (Animate): " TEXT_TO_VIDEO},
    {"face_encoder", "it is a model that animates characters (Animate): " TEXT_TO_VIDEO},
    {"pose_patch_embedding", "it is a model that animates characters (Animate): " TEXT_TO_VIDEO},
    {"audio_proj", "it is a model that follows speech: " TEXT_TO_VIDEO},
    {"audio_injector", "it is a model that follows speech: " TEXT_TO_VIDEO},
    {"casual_audio_encoder", "it is a model that follows speech: " TEXT_TO_VIDEO},
    {"qweight", "it is quantised (GPTQ, AWQ or SVDQuant), which is not supported: " OTHER_TYPE},
    {"_data", "it is quantised by Quanto, which is not supported: " OTHER_TYPE},
    {"absmax", "it is quantised by bitsandbytes, which is not supported: " OTHER_TYPE},
};

/* Of files of which nothing is known. */
static const Row others[] = {
    {"double_blocks", "it is a FLUX or HunyuanVideo model, no Wan 2.1"},
    {"single_transformer_blocks", "it is a FLUX model, no Wan 2.1"},
    {"joint_blocks", "it is a Stable Diffusion 3 model, no Wan 2.1"},
    {"input_blocks", "it is a Stable Diffusion model, no Wan 2.1"},
    {"text_model", "it is CLIP, no part of Wan 2.1 for text to video: the text encoder is umT5"},
    {"visual", "it is CLIP, no part of Wan 2.1 for text to video"},
    {"q_proj", "it is a language model: the text encoder is umT5"},
};

/* ---- by names -------------------------------------------------------------------------------- */

static const char *by_component(const char *name, const Row *table, gsize n)
{
    for (const char *at = name; at; at = strchr(at, '.'), at += at != NULL)
        for (gsize i = 0; i < n; i++)
            if (g_str_has_prefix(at, table[i].beginning))
                return table[i].what;
    return NULL;
}

/* The name within the copy, or NULL for a tensor of something else. */
static const char *name_at(const LfRefusalInput *in, size_t i)
{
    return lf_recognised_name(in->recognised, in->names[i]);
}

/* The row that comes first of all that some tensor is in. */
static const char *by_names(const LfRefusalInput *in, const Row *table, gsize n)
{
    const char *found = NULL;
    for (size_t i = 0; i < lf_tensor_file_count(in->file) && n > 0; i++) {
        const char *name = name_at(in, i), *what = name ? by_component(name, table, n) : NULL;
        for (gsize row = 0; what && row < n; row++)
            if (table[row].what == what) {
                found = what;
                n = row; /* only better ones from now on */
            }
    }
    return found;
}

/* ---- by shapes ------------------------------------------------------------------------------- */

static const LfFileTensor *find(const LfRefusalInput *in, const char *name)
{
    for (size_t i = 0; i < lf_tensor_file_count(in->file); i++)
        if (g_strcmp0(name_at(in, i), name) == 0)
            return lf_tensor_file_nth(in->file, i);
    return NULL;
}

/* Dimension `axis` of a tensor, or 0. */
static int64_t dimension(const LfRefusalInput *in, const char *name, int axis)
{
    const LfFileTensor *t = find(in, name);
    return t && t->n_dims > axis ? t->shape[axis] : 0;
}

enum { PATCH = 4 }; /* pixels of a latent in a token */

/* Channels of the latents that a patch embedding takes, whatever its dimensions were folded into;
 * `unknown` where nothing tells. */
static int64_t channels_taken(const LfRefusalInput *in, const LfFileTensor *patch, int64_t unknown)
{
    int64_t dim = dimension(in, "patch_embedding.bias", 0);
    if (patch && patch->n_dims == 5)
        return patch->shape[1];
    return patch && dim > 0 ? lf_file_tensor_count(patch) / dim / PATCH : unknown;
}

static char *transformer(const LfRefusalInput *in)
{
    enum { CHANNELS_OF_2_2 = 48 };
    bool diffusers = in->recognised->layout == &lf_layout_diffusers;
    int64_t made = dimension(in, diffusers ? "proj_out.weight" : "head.head.weight", 0) / PATCH;
    const LfFileTensor *patch = find(in, "patch_embedding.weight");
    int64_t taken = channels_taken(in, patch, made);
    if (taken == CHANNELS_OF_2_2 && made == CHANNELS_OF_2_2)
        return g_strdup("it is Wan 2.2 5B, whose latents have 48 channels: use a model of Wan 2.1");
    if (taken > made && made > 0)
        return g_strdup_printf("it is an image-to-video or control model (it takes latents of "
                               "%" G_GINT64_FORMAT " channels and makes %" G_GINT64_FORMAT
                               "): " TEXT_TO_VIDEO,
                               taken, made);
    if (!patch && g_strcmp0(lf_tensor_file_format(in->file), "GGUF") == 0)
        return g_strdup("patch_embedding.weight is missing: its conversion to GGUF was not "
                        "finished");
    return NULL;
}

/* T5 has the table of position biases in its first layer alone. */
static char *text_encoder(const LfRefusalInput *in)
{
    static const char *const names[][2] = {
        {"encoder.block.1.layer.0.SelfAttention.q.weight",
         "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight"},
        {"enc.blk.1.attn_q.weight", "enc.blk.1.attn_rel_b.weight"}};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
        if (find(in, names[i][0]) && !find(in, names[i][1]))
            return g_strdup("it is T5: the text encoder of Wan 2.1 is umT5-xxl");
    return NULL;
}

/* Whether the VAE's convolutions are no plain ones: the tensor is not there, but others of its name
 * are, or it has other dimensions. */
static bool is_factored(const LfRefusalInput *in)
{
    static const char module[] = "decoder.middle.0.residual.2.";
    bool parts = false;
    for (size_t i = 0; i < lf_tensor_file_count(in->file); i++) {
        const char *name = name_at(in, i);
        if (!name || !g_str_has_prefix(name, module))
            continue;
        if (g_str_equal(name + strlen(module), "weight"))
            return lf_tensor_file_nth(in->file, i)->n_dims != 5;
        parts |= !g_str_equal(name + strlen(module), "bias");
    }
    return parts;
}

static char *decoder(const LfRefusalInput *in)
{
    enum { CHANNELS_OF_2_2 = 48, ROWS_OF_2_2 = 12 };
    if (find(in, "decoder.7.weight"))
        return g_strdup("it is TAESD, a decoder of pictures: use taew2_1");
    if (dimension(in, "decoder.1.weight", 1) == CHANNELS_OF_2_2 ||
        dimension(in, "decoder.22.weight", 0) == ROWS_OF_2_2)
        return g_strdup("it is taew2_2, the decoder of Wan 2.2: use taew2_1");
    if (dimension(in, "decoder.conv1.weight", 1) == CHANNELS_OF_2_2 ||
        dimension(in, "decoder.conv_in.weight", 1) == CHANNELS_OF_2_2 ||
        find(in, "decoder.upsamples.0.upsamples.0.residual.2.weight"))
        return g_strdup("it is the VAE of Wan 2.2: use that of Wan 2.1, or taew2_1");
    if (is_factored(in))
        return g_strdup("its convolutions are stored as factors, as those of LightVAE Pro and Lite "
                        "are, which is not supported: use Wan2.1_VAE, lightvaew2_1 or taew2_1");
    return NULL;
}

static char *by_shapes(const LfRefusalInput *in)
{
    switch (in->recognised->kind) {
    case LF_FILE_TRANSFORMER:
        return transformer(in);
    case LF_FILE_TEXT_ENCODER:
        return text_encoder(in);
    case LF_FILE_DECODER:
        return decoder(in);
    default:
        return NULL;
    }
}

/* ---- by what cannot be read ------------------------------------------------------------------ */

static bool is_wanted(const LfRefusalInput *in, const char *name)
{
    const LfLayout *layout = in->recognised->layout;
    for (const LfLayoutName *row = layout ? layout->names : NULL; row && row->theirs; row++)
        if (!row->ours && lf_layout_matches(name, row->theirs))
            return false;
    return !lf_layout_ignores(name);
}

static char *by_unreadable(const LfRefusalInput *in)
{
    for (size_t i = 0; i < lf_tensor_file_count(in->file); i++) {
        const LfFileTensor *t = lf_tensor_file_nth(in->file, i);
        const char *what = lf_tensor_file_unreadable(in->file, t->name);
        const char *name = what ? name_at(in, i) : NULL;
        if (name && is_wanted(in, name))
            return g_strdup_printf("%s cannot be read: it is %s", t->name, what);
    }
    return NULL;
}

/* ---- by the file's name ---------------------------------------------------------------------- */

/* "model-00001-of-00002.safetensors" alone is not a model, whatever its tensors are. The index has
 * the name without numbers. */
static char *by_shard(const LfRefusalInput *in)
{
    static const char pattern[] = "^(.*)-[0-9]{5}-of-([0-9]{5})(\\.[a-z]+)$";
    g_autoptr(GRegex) regex = g_regex_new(pattern, 0, 0, NULL);
    g_autoptr(GMatchInfo) match = NULL;
    g_autofree char *name = g_path_get_basename(lf_tensor_file_path(in->file));
    if (g_str_has_suffix(name, ".gguf") || !g_regex_match(regex, name, 0, &match))
        return NULL;
    g_autofree char *count = g_match_info_fetch(match, 2);
    g_autofree char *stem = g_match_info_fetch(match, 1);
    g_autofree char *ending = g_match_info_fetch(match, 3);
    int n = (int) g_ascii_strtoll(count, NULL, 10);
    return n < 2 ? NULL
                 : g_strdup_printf("it is one of %d shards: give the folder or the index "
                                   "(%s%s.index.json), which names them all",
                                   n, stem, ending);
}

/* ---- by types -------------------------------------------------------------------------------- */

static bool is_fp8(LfType type)
{
    return type == LF_F8_E4M3 || type == LF_F8_E5M2;
}

/* A matrix of integers is quantised. One of FP8 is, in blocks, where its scales are bytes: exponents
 * of two. */
static char *by_types(const LfRefusalInput *in)
{
    for (size_t i = 0; i < lf_tensor_file_count(in->file); i++) {
        const LfFileTensor *t = lf_tensor_file_nth(in->file, i);
        const char *name = name_at(in, i);
        if (!name || t->n_dims < 2)
            continue;
        if (g_str_has_suffix(name, ".weight") && t->type == LF_I8)
            return g_strdup_printf(
                "it is quantised to int8 (%s), which is not supported: " OTHER_TYPE, name);
        if (g_str_has_suffix(name, ".weight_scale") && is_fp8(t->type))
            return g_strdup_printf(
                "it is quantised to NVFP4 (%s), which is not supported: " OTHER_TYPE, name);
        if (g_str_has_suffix(name, ".weight_scale") && t->type == LF_U8 && !t->coding)
            return g_strdup_printf("it is quantised to MXFP8 or MXFP4 (%s), which is not "
                                   "supported: " OTHER_TYPE,
                                   name);
    }
    return NULL;
}

char *lf_refusal(const LfRefusalInput *in)
{
    bool known = in->recognised->kind != LF_FILE_UNKNOWN;
    char *found = by_shard(in);
    if (!found && known)
        found = by_unreadable(in);
    if (found || in->recognised->kind == LF_FILE_LORA) /* it may be for more layers than are used */
        return found;
    const char *what = by_names(in, rows, G_N_ELEMENTS(rows));
    if (!what && !known)
        what = by_names(in, others, G_N_ELEMENTS(others));
    found = what ? g_strdup(what) : by_shapes(in);
    if (!found)
        found = lf_quantised_problem(in);
    if (!found)
        found = by_types(in);
    return found || known ? found : by_unreadable(in);
}
