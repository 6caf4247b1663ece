/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What a file is said to be, from lists of tensors: "name:TYPE:2x3", F32 of one number where no more
 * is said. The numbers are zeros.
 */
#include "engine/files/base_models.h"
#include "engine/files/recognise.h"
#include "engine/files/weights.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

static char *dir;

static LfType type_of(const char *name)
{
    for (int type = 0; type < LF_N_TYPES; type++)
        if (strcmp(lf_type_name((LfType) type), name) == 0)
            return (LfType) type;
    g_error("no type %s", name);
}

static LfFileTensor tensor_of(char **fields)
{
    LfFileTensor t = {.name = fields[0], .n_dims = 1, .shape = {1}};
    t.type = fields[1] ? type_of(fields[1]) : LF_F32;
    g_auto(GStrv) shape = g_strsplit(fields[1] && fields[2] ? fields[2] : "1", "x", 8);
    t.size = lf_type_size(t.type);
    for (t.n_dims = 0; shape[t.n_dims]; t.n_dims++) {
        t.shape[t.n_dims] = atoi(shape[t.n_dims]);
        t.size *= (size_t) t.shape[t.n_dims];
    }
    t.data = g_malloc0(t.size);
    return t;
}

/* The file of a list of tensors between blanks. */
static LfTensorFile *file_named(const char *name, const char *list)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = g_build_filename(dir, name, NULL);
    g_auto(GStrv) words = g_strsplit(list, " ", -1);
    GArray *tensors = g_array_new(FALSE, FALSE, sizeof(LfFileTensor));
    GPtrArray *fields = g_ptr_array_new_with_free_func((GDestroyNotify) g_strfreev);
    for (char **word = words; *word; word++) {
        if (!**word)
            continue;
        g_ptr_array_add(fields, g_strsplit(*word, ":", 3));
        LfFileTensor t = tensor_of(fields->pdata[fields->len - 1]);
        g_array_append_val(tensors, t);
    }
    const LfFileTensor *all = (const LfFileTensor *) (void *) tensors->data;
    lf_safetensors_write(path, all, tensors->len, &error);
    g_assert_no_error(error);
    for (guint i = 0; i < tensors->len; i++)
        g_free((void *) all[i].data);
    g_array_unref(tensors);
    g_ptr_array_unref(fields);
    LfTensorFile *file = lf_tensor_file_open(path, &error);
    g_assert_no_error(error);
    g_remove(path);
    return file;
}

static LfRecognised *recognise(const char *list, LfFileKind part, const char *copy)
{
    LfTensorFile *file = file_named("x.safetensors", list);
    LfRecognised *r = lf_recognise(file, part, copy);
    lf_tensor_file_unref(file);
    if (r->problem)
        g_test_message("%s", r->problem);
    if (r->notice)
        g_test_message("%s", r->notice);
    return r;
}

#define WAN                                                                                        \
    "patch_embedding.weight:BF16:8x4x1x2x2 head.head.weight:BF16:16x8 head.modulation:F32:1x2x8 "

/* ---- what it is ------------------------------------------------------------------------------ */

static void test_parts(void)
{
    static const struct {
        const char *list;
        LfFileKind kind;
        const char *layout, *problem;
    } cases[] = {
        {WAN, LF_FILE_TRANSFORMER, "Wan", NULL},
        {"blocks.0.self_attn.q.weight", LF_FILE_TRANSFORMER, "Wan", NULL},
        {"net.patch_embedding.weight:BF16:8x16 net.head.modulation net.accum_iteration",
         LF_FILE_TRANSFORMER, "rCM", NULL},
        {"patch_embedding.weight:BF16:8x4x1x2x2 condition_embedder.time_proj.weight "
         "scale_shift_table",
         LF_FILE_TRANSFORMER, "diffusers", NULL},
        {"token_embedding.weight blocks.0.pos_embedding.embedding.weight", LF_FILE_TEXT_ENCODER,
         "Wan", NULL},
        {"shared.weight encoder.block.0.layer.0.SelfAttention.q.weight spiece_model:U8:9",
         LF_FILE_TEXT_ENCODER, "Hugging Face", NULL},
        {"token_embd.weight enc.blk.0.attn_q.weight enc.blk.0.attn_rel_b.weight",
         LF_FILE_TEXT_ENCODER, "llama.cpp", NULL},
        {"encoder.block.0.layer.0.SelfAttention.q.weight "
         "encoder.block.1.layer.0.SelfAttention.q.weight",
         LF_FILE_TEXT_ENCODER, "Hugging Face", "umT5-xxl"},
        {"decoder.1.weight:F16:8x16x3x3 decoder.22.weight:F16:3x8x3x3 encoder.0.weight",
         LF_FILE_DECODER, "TAEHV", NULL},
        {"decoder.1.weight:F16:8x48x3x3 decoder.22.weight:F16:12x8x3x3", LF_FILE_DECODER, "TAEHV",
         "taew2_2"},
        {"decoder.1.weight:F16:8x4x3x3 decoder.7.weight:F16:8x8x3x3", LF_FILE_DECODER, "TAEHV",
         "TAESD"},
        {"decoder.middle.0.residual.0.gamma decoder.conv1.weight:F32:8x16x3x3x3", LF_FILE_DECODER,
         "Wan VAE", NULL},
        {"decoder.middle.0.residual.0.gamma decoder.upsamples.0.upsamples.0.residual.2.weight",
         LF_FILE_DECODER, "Wan VAE", "VAE of Wan 2.2"},
        {"decoder.middle.0.residual.0.gamma decoder.middle.0.residual.2.weight:F32:8x8x3x3x3 "
         "decoder.middle.0.residual.2.bias encoder.conv1.weight conv1.weight",
         LF_FILE_DECODER, "Wan VAE", NULL},
        {"decoder.middle.0.residual.0.gamma decoder.middle.0.residual.2.spatial.weight "
         "decoder.middle.0.residual.2.bias",
         LF_FILE_DECODER, "Wan VAE", "LightVAE Pro"},
        {"decoder.middle.0.residual.0.gamma decoder.middle.0.residual.2.weight:F32:8x8x3x3",
         LF_FILE_DECODER, "Wan VAE", "LightVAE Pro"},
        {"decoder.mid_block.resnets.0.norm1.gamma", LF_FILE_DECODER, "diffusers VAE", NULL},
        {"blocks.0.self_attn.q.lora_A.weight blocks.0.self_attn.q.lora_B.weight", LF_FILE_LORA,
         NULL, NULL},
        {"lora_unet_blocks_0_ffn_0.lora_down.weight lora_unet_blocks_0_ffn_0.lora_up.weight "
         "lora_unet_blocks_0_ffn_0.alpha",
         LF_FILE_LORA, NULL, NULL},
        {"diffusion_model.blocks.0.cross_attn.k_img.lora_A.weight "
         "diffusion_model.blocks.0.cross_attn.k_img.lora_B.weight",
         LF_FILE_LORA, NULL, NULL},
        /* what cannot be used */
        {"patch_embedding.weight:F32:8x12x1x2x2 head.head.weight:F32:16x8 head.modulation",
         LF_FILE_TRANSFORMER, "Wan", "image-to-video"},
        {"patch_embedding.weight:F32:8x12x1x2x2 proj_out.weight:F32:16x8 "
         "condition_embedder.time_proj.weight",
         LF_FILE_TRANSFORMER, "diffusers", "image-to-video"},
        {"patch_embedding.weight:F32:8x48x1x2x2 head.head.weight:F32:192x8 head.modulation",
         LF_FILE_TRANSFORMER, "Wan", "Wan 2.2 5B"},
        {WAN "blocks.0.cross_attn.k_img.weight", LF_FILE_TRANSFORMER, "Wan", "image-to-video"},
        {WAN "img_emb.proj.0.weight", LF_FILE_TRANSFORMER, "Wan", "image-to-video"},
        {WAN "vace_blocks.0.ffn.0.weight", LF_FILE_TRANSFORMER, "Wan", "VACE"},
        {"vace_blocks.0.ffn.0.weight", LF_FILE_UNKNOWN, NULL, "VACE"},
        {WAN "far_patch_embedding.weight", LF_FILE_TRANSFORMER, "Wan", "FAR"},
        {WAN "control_adapter.conv.weight", LF_FILE_TRANSFORMER, "Wan", "camera control"},
        {WAN "face_adapter.x.weight", LF_FILE_TRANSFORMER, "Wan", "Animate"},
        {WAN "casual_audio_encoder.x", LF_FILE_TRANSFORMER, "Wan", "speech"},
        {WAN "blocks.0.ffn.0.lora_A.weight blocks.0.ffn.0.lora_B.weight", LF_FILE_TRANSFORMER,
         "Wan", "unmerged LoRA beside the model's weights (2 tensors, the first is blocks.0.ffn.0"},
        {"base_model.model.head.modulation base_model.model.blocks.0.ffn.0.base_layer.weight",
         LF_FILE_TRANSFORMER, "Wan", "merge_and_unload"},
        {WAN "blocks.0.ffn.0.weight:I8:3x4 blocks.0.ffn.0.weight_scale:F32:3x1",
         LF_FILE_TRANSFORMER, "Wan", "int8"},
        {WAN "blocks.0.ffn.0.weight:U8:3x2 blocks.0.ffn.0.weight_scale:F8_E4M3:3x4",
         LF_FILE_TRANSFORMER, "Wan", "NVFP4"},
        {WAN "blocks.0.ffn.0.weight:F8_E4M3:3x32 blocks.0.ffn.0.weight_scale:U8:3x1",
         LF_FILE_TRANSFORMER, "Wan", "MXFP8"},
        {WAN "blocks.0.ffn.0.qweight:I32:3x4", LF_FILE_TRANSFORMER, "Wan", "GPTQ"},
        {WAN "blocks.0.ffn.0.weight._data:I8:3x4", LF_FILE_TRANSFORMER, "Wan", "Quanto"},
        {WAN "blocks.0.ffn.0.weight.absmax:F32:3", LF_FILE_TRANSFORMER, "Wan", "bitsandbytes"},
        {"critic.head.modulation critic.x", LF_FILE_UNKNOWN, NULL, "only a critic"},
        {"double_blocks.0.img_attn.qkv.weight", LF_FILE_UNKNOWN, NULL, "FLUX"},
        {"text_model.encoder.layers.0.self_attn.q_proj.weight", LF_FILE_UNKNOWN, NULL, "CLIP"},
        {"c b a d", LF_FILE_UNKNOWN, NULL,
         "no part of a Wan 2.1 model: its first tensors are a, b, c"},
        {"", LF_FILE_UNKNOWN, NULL, "no tensors"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("%s", cases[i].list);
        g_autoptr(LfRecognised) r = recognise(cases[i].list, LF_FILE_UNKNOWN, NULL);
        g_assert_cmpint(r->kind, ==, cases[i].kind);
        g_assert_cmpstr(r->layout ? r->layout->name : NULL, ==, cases[i].layout);
        if (cases[i].problem)
            g_assert_nonnull(strstr(r->problem, cases[i].problem));
        else
            g_assert_null(r->problem);
        g_assert_null(r->notice);
    }
}

/* A file of several parts under prefixes of their own holds each of them. */
static void test_several_parts(void)
{
    static const char list[] =
        "model.diffusion_model.head.modulation model.diffusion_model.blocks.0.ffn.0.bias "
        "text_encoders.umt5.transformer.shared.weight "
        "text_encoders.umt5.transformer.encoder.final_layer_norm.weight "
        "vae.decoder.1.weight:F32:2x4x3x3";
    g_autoptr(LfRecognised) first = recognise(list, LF_FILE_TRANSFORMER, NULL);
    g_autoptr(LfRecognised) second = recognise(list, LF_FILE_TEXT_ENCODER, NULL);
    g_autoptr(LfRecognised) third = recognise(list, LF_FILE_DECODER, NULL);
    g_assert_cmpint(first->kind, ==, LF_FILE_TRANSFORMER);
    g_assert_cmpstr(first->prefix, ==, "model.diffusion_model.");
    g_assert_cmpint(second->kind, ==, LF_FILE_TEXT_ENCODER);
    g_assert_cmpstr(second->prefix, ==, "text_encoders.umt5.transformer.");
    g_assert_cmpint(third->kind, ==, LF_FILE_DECODER);
    g_assert_cmpstr(third->prefix, ==, "vae.");
    g_assert_cmpstr(lf_recognised_name(third, "vae.decoder.22.bias"), ==, "decoder.22.bias");
    g_assert_null(lf_recognised_name(third, "model.diffusion_model.head.modulation"));
}

/* ---- copies ---------------------------------------------------------------------------------- */

#define COPY(PREFIX) PREFIX "head.modulation " PREFIX "time_embedding.0.weight "

static void test_copies(void)
{
    static const struct {
        const char *list, *copy, *taken, *prefix, *notice;
    } cases[] = {
        {COPY(""), NULL, "", "", NULL},
        {COPY("model."), NULL, "model", "model.", NULL},
        {COPY("model._orig_mod."), NULL, "model", "model.", NULL},
        {COPY("_orig_mod."), NULL, "", "", NULL},
        {COPY("any.thing.at.all."), NULL, "any", "any.thing.at.all.", NULL},
        {COPY("generator.model.") COPY("generator_ema.model.") COPY("critic.model."), NULL,
         "generator_ema", "generator_ema.model.", NULL},
        {COPY("generator.model.") COPY("generator_ema.model.") COPY("critic.model."),
         "generator_ema", "generator_ema", "generator_ema.model.", NULL},
        {COPY("generator.model.") COPY("generator_ema.model.") COPY("critic.model."), "generator",
         "generator", "generator.model.", NULL},
        {COPY("generator.model.") COPY("critic.model."), NULL, "generator", "generator.model.",
         NULL},
        {COPY("generator.model."), "generator_ema", "generator", "generator.model.",
         "no generator_ema"},
        {COPY("generator_ema.model."), "generator", "generator_ema", "generator_ema.model.",
         "no generator: generator_ema"},
        {COPY("generator.") "generator_ema.head.modulation", NULL, "generator", "generator.",
         "generator_ema lacks 1 of 2 tensors"},
        {COPY("generator.") "generator_ema.head.modulation", "generator_ema", "generator",
         "generator.", "generator_ema lacks 1 of 2 tensors"},
        {COPY("generator.") "generator_ema.time_embedding.0.weight", NULL, "generator",
         "generator.", "its average lacks most tensors: generator"},
        {COPY("state_dict.ema.") COPY("state_dict.model."), NULL, "ema", "state_dict.ema.", NULL},
        {COPY("net.") COPY("net_ema.") COPY("net_teacher."), NULL, "net_ema", "net_ema.", NULL},
        {COPY("net.") COPY("net_ema.") COPY("net_teacher."), "generator", "net", "net.", NULL},
        {COPY("student.") COPY("teacher."), NULL, "student", "student.", NULL},
        {COPY("state_dict."), NULL, "state_dict", "state_dict.", NULL},
        {COPY("model.") COPY(""), NULL, "", "", NULL},
        {COPY("b.") COPY("a."), NULL, "a", "a.", NULL},
        {COPY("b.") COPY("a."), "b", "b", "b.", NULL},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("%s, %s", cases[i].list, cases[i].copy);
        g_autoptr(LfRecognised) r = recognise(cases[i].list, LF_FILE_TRANSFORMER, cases[i].copy);
        g_assert_null(r->problem);
        g_assert_cmpstr(r->copy, ==, cases[i].taken);
        g_assert_cmpstr(r->copies[0], ==, cases[i].taken);
        g_assert_cmpstr(r->prefix, ==, cases[i].prefix);
        if (cases[i].notice)
            g_assert_nonnull(strstr(r->notice, cases[i].notice));
        else
            g_assert_null(r->notice);
    }
    g_autoptr(LfRecognised) none = recognise(COPY("a."), LF_FILE_TRANSFORMER, "b");
    g_assert_nonnull(strstr(none->problem, "no copy \"b\""));
}

/* ---- records of quantised layers ------------------------------------------------------------- */

static void test_records(void)
{
    static const struct {
        const char *record, *problem;
    } cases[] = {
        {"{\"format\": \"float8_e4m3fn\"}", NULL},
        {"{\"format\": \"float8_e5m2\", \"full_precision_matrix_mult\": true}", NULL},
        {"{\"format\": \"float8_e4m3fn\", \"convrot\": false}", NULL},
        {"{\"format\": \"float8_e4m3fn\", \"convrot\": true, \"convrot_groupsize\": 256}",
         "rotated (ConvRot, blocks.0.ffn.0.comfy_quant)"},
        {"{\"format\": \"int8_tensorwise\"}", "quantised to int8_tensorwise (blocks.0.ffn.0."},
        {"{\"format\": \"nvfp4\"}", "quantised to nvfp4 (blocks.0.ffn.0."},
        {"{\"format\": \"mxfp8\"}", "quantised to mxfp8 (blocks.0.ffn.0."},
        {"{\"format\": 8}", "an unnamed format"},
        {"{}", "an unnamed format"},
        {"[]", "cannot be read"},
        {"{\"format\"", "cannot be read"},
        {"", "cannot be read"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        const gsize size = strlen(cases[i].record);
        const float sign = 1;
        const LfFileTensor tensors[] = {
            {"blocks.0.ffn.0.comfy_quant", LF_U8, 1, {(int64_t) size}, cases[i].record, size, NULL},
            {"head.modulation", LF_F32, 1, {1}, &sign, sizeof sign, NULL}};
        g_autofree char *path = g_build_filename(dir, "x.safetensors", NULL);
        g_assert_true(lf_safetensors_write(path, tensors, G_N_ELEMENTS(tensors), NULL));
        LfTensorFile *file = lf_tensor_file_open(path, NULL);
        g_autoptr(LfRecognised) r = lf_recognise(file, LF_FILE_UNKNOWN, NULL);
        g_test_message("%s: %s", cases[i].record, r->problem);
        if (cases[i].problem)
            g_assert_nonnull(strstr(r->problem, cases[i].problem));
        else
            g_assert_null(r->problem);
        lf_tensor_file_unref(file);
        g_remove(path);
    }
}

/* The same records, of all layers in the file's metadata. The header is written by hand. */
static void test_metadata(void)
{
    static const struct {
        const char *metadata, *problem;
    } cases[] = {
        {"{\"format\": \"pt\"}", NULL},
        {"{\"_quantization_metadata\": 7}", NULL},
        {"{\"_quantization_metadata\": \"{\\\"layers\\\": {}}\"}", NULL},
        {"{\"_quantization_metadata\": \"{\\\"format_version\\\": \\\"1.0\\\", \\\"layers\\\": "
         "{\\\"a.b\\\": {\\\"format\\\": \\\"float8_e4m3fn\\\"}}}\"}",
         NULL},
        {"{\"_quantization_metadata\": \"{\\\"layers\\\": {\\\"a.b\\\": {\\\"format\\\": "
         "\\\"float8_e4m3fn\\\"}, \\\"c.d\\\": {\\\"format\\\": \\\"mxfp8\\\"}}}\"}",
         "quantised to mxfp8 (c.d)"},
        {"{\"_quantization_metadata\": \"{\\\"layers\\\": {\\\"a.b\\\": {\\\"format\\\": "
         "\\\"float8_e4m3fn\\\", \\\"convrot\\\": true}}}\"}",
         "rotated (ConvRot, a.b)"},
        {"{\"_quantization_metadata\": \"{\"}", "metadata (_quantization_metadata)"},
        {"{\"_quantization_metadata\": \"{}\"}", "metadata (_quantization_metadata)"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *path = g_build_filename(dir, "x.safetensors", NULL);
        g_autofree char *header = g_strdup_printf(
            "{\"__metadata__\": %s, \"head.modulation\": {\"dtype\": \"F32\", \"shape\": [1], "
            "\"data_offsets\": [0, 4]}}",
            cases[i].metadata);
        const guint64 length = GUINT64_TO_LE(strlen(header));
        g_autoptr(GByteArray) bytes = g_byte_array_new();
        g_byte_array_append(bytes, (const guint8 *) &length, sizeof length);
        g_byte_array_append(bytes, (const guint8 *) header, (guint) strlen(header));
        g_byte_array_append(bytes, (const guint8 *) "\0\0\0", 4);
        g_assert_true(g_file_set_contents(path, (char *) bytes->data, bytes->len, NULL));
        LfTensorFile *file = lf_tensor_file_open(path, &error);
        g_assert_no_error(error);
        g_autoptr(LfRecognised) r = lf_recognise(file, LF_FILE_UNKNOWN, NULL);
        g_test_message("%s: %s", cases[i].metadata, r->problem);
        if (cases[i].problem)
            g_assert_nonnull(strstr(r->problem, cases[i].problem));
        else
            g_assert_null(r->problem);
        lf_tensor_file_unref(file);
        g_remove(path);
    }
}

/* ---- notices --------------------------------------------------------------------------------- */

static void test_notices(void)
{
    static const char *const bases[] = {"wan2.1_t2v_1.3B_bf16.safetensors",
                                        "diffusion_pytorch_model.safetensors"};
    g_autoptr(LfRecognised) second = recognise(
        WAN "blocks.0.self_attn.q.memory_weight memory_head.modulation", LF_FILE_UNKNOWN, NULL);
    g_assert_nonnull(strstr(second->notice, "second set of weights"));
    g_autoptr(LfRecognised) first_of_file =
        recognise("blocks.0.self_attn.memory_weight " WAN, LF_FILE_UNKNOWN, NULL);
    g_assert_nonnull(strstr(first_of_file->notice, "second set of weights"));
    for (gsize i = 0; i < G_N_ELEMENTS(bases); i++) {
        LfTensorFile *file = file_named(bases[i], WAN);
        g_autoptr(LfRecognised) r = lf_recognise(file, LF_FILE_TRANSFORMER, NULL);
        g_assert_null(r->problem);
        g_assert_nonnull(strstr(r->notice, "noise"));
        lf_tensor_file_unref(file);
    }
    /* One of the known size, under another name; it takes no room on the disk. */
    g_autofree char *path = g_build_filename(dir, "student.safetensors", NULL);
    int known = g_open(path, O_CREAT | O_WRONLY, 0600);
    g_assert_cmpint(ftruncate(known, 2838104528), ==, 0);
    g_close(known, NULL);
    g_assert_true(lf_is_base_model(path));
    g_assert_cmpint(truncate(path, 2838104529), ==, 0);
    g_assert_false(lf_is_base_model(path));
    g_remove(path);
}

/* GGUF files of Wan 2.1 itself have its name and a type. */
static void test_base_gguf(void)
{
    static const char *const bases[] = {"wan2.1_t2v_1.3B-Q8_0.gguf",   "Wan2.1-T2V-1.3B-F16.gguf",
                                        "wan2.1-t2v-1.3b-q4_k_m.gguf", "Wan2_1-T2V-1_3B-Q6_K.gguf",
                                        "wan2.1-t2v-1.3b-q2_k.gguf",   "wan2.1_t2v_1.3B.gguf"};
    static const char *const others[] = {
        "self_forcing_dmd-Q8_0.gguf", "wan2.1-t2v-1.3b-self-forcing-q8_0.gguf",
        "wan2.1-t2v-14b-q8_0.gguf", "causal-wan2.1-t2v-1.3b.gguf", "wan2.1-t2v-1.3b-q8_0.pt"};
    for (gsize i = 0; i < G_N_ELEMENTS(bases); i++)
        g_assert_true(lf_is_base_model(bases[i]));
    for (gsize i = 0; i < G_N_ELEMENTS(others); i++)
        g_assert_false(lf_is_base_model(others[i]));
}

/* ---- sources --------------------------------------------------------------------------------- */

static void assert_no_source(const char *list, LfFileKind part, LfError code, const char *message)
{
    g_autoptr(GError) error = NULL;
    LfTensorFile *file = file_named("x.safetensors", list);
    const LfSourceOptions options = {.kind = part};
    g_assert_null(lf_weight_source_file(file, &options, &error));
    g_test_message("%s", error->message);
    g_assert_error(error, LF_ERROR, (int) code);
    g_assert_nonnull(strstr(error->message, "x.safetensors: "));
    g_assert_nonnull(strstr(error->message, message));
    lf_tensor_file_unref(file);
}

static void test_sources(void)
{
    assert_no_source("a.lora_A.weight a.lora_B.weight", LF_FILE_TRANSFORMER, LF_ERROR_SHAPE,
                     "it is a LoRA, no transformer");
    assert_no_source(WAN, LF_FILE_DECODER, LF_ERROR_SHAPE, "it is a transformer, no decoder");
    assert_no_source("a b", LF_FILE_TEXT_ENCODER, LF_ERROR_UNSUPPORTED, "first tensors are a, b");
    assert_no_source(WAN "img_emb.x", LF_FILE_TRANSFORMER, LF_ERROR_UNSUPPORTED, "image-to-video");
}

/* What is left over is an error, except what is known to be of no use. */
static void test_left_over(void)
{
    static const char *const ignored =
        "head.modulation freqs scaled_fp8 accum_video blocks.0._extra_state "
        "optimizer.state.0.x critic.head.modulation step memory_head.modulation "
        "_gan_ca_blocks.0.x _cls_pred_branch.0.weight";
    static const char *const lists[] = {
        "head.modulation x.b x.a x.c x.d",
        "model.head.modulation model.x.b model.x.a model.x.c model.x.d other.x"};
    const LfSourceOptions options = {.kind = LF_FILE_TRANSFORMER};
    LfTensorFile *file = file_named("x.safetensors", ignored);
    LfWeightSource *source = lf_weight_source_file(file, &options, NULL);
    g_assert_nonnull(lf_weight_source_find(source, "head.modulation", NULL));
    g_assert_true(lf_weight_source_check_unused(source, NULL));
    lf_weight_source_free(source);
    lf_tensor_file_unref(file);
    for (gsize i = 0; i < G_N_ELEMENTS(lists); i++) {
        g_autoptr(GError) error = NULL;
        file = file_named("x.safetensors", lists[i]);
        source = lf_weight_source_file(file, &options, NULL);
        g_assert_nonnull(lf_weight_source_find(source, "head.modulation", NULL));
        g_assert_false(lf_weight_source_check_unused(source, &error));
        g_test_message("%s", error->message);
        g_assert_nonnull(strstr(error->message, "4 of its tensors (x.a, x.b, x.c, …)"));
        lf_weight_source_free(source);
        lf_tensor_file_unref(file);
    }
}

/* ---- anything -------------------------------------------------------------------------------- */

static const char *draw(const char *const *from, gsize n)
{
    return from[g_test_rand_int_range(0, (int) n)];
}

static void append_name(GString *list)
{
    static const char *const before[] = {
        "",           "",  "model.",  "generator_ema.",           "..", "critic.", "_orig_mod.",
        "generator.", ".", "memory_", "ema._fsdp_wrapped_module."};
    static const char *const after[] = {"head.modulation",
                                        "patch_embedding.weight",
                                        "patch_embedding.bias",
                                        "proj_out.weight",
                                        "condition_embedder.time_proj.weight",
                                        "blocks.0.self_attn.q.weight",
                                        "blocks.0.attn1.to_qkv.weight",
                                        "blocks.0.self_attn.q.lora_A.weight",
                                        "blocks..ffn.0.weight_scale",
                                        "enc.blk.0.attn_q.weight",
                                        "enc.blk.0.attn_rel_b.weight",
                                        "shared.weight",
                                        "encoder.block.0.layer.0.SelfAttention.q.weight",
                                        "blocks.0.pos_embedding.embedding.weight",
                                        "decoder.1.weight",
                                        "decoder.22.weight",
                                        "decoder.mid_block.resnets.0.norm1.gamma",
                                        "x.comfy_quant",
                                        "k_img",
                                        "."};
    static const char *const types[] = {"F32", "BF16", "I8", "U8", "F8_E4M3", "F64"};
    int n_before = g_test_rand_int_range(0, 3), n_dims = g_test_rand_int_range(0, 6);
    for (int i = 0; i < n_before; i++)
        g_string_append(list, draw(before, G_N_ELEMENTS(before)));
    g_string_append_printf(list, "%s:%s:", draw(after, G_N_ELEMENTS(after)),
                           draw(types, G_N_ELEMENTS(types)));
    for (int i = 0; i <= n_dims; i++)
        g_string_append_printf(list, "%s%d", i ? "x" : "", g_test_rand_int_range(0, 6));
}

/* Lists of names and shapes in which nothing fits: an answer or an error, and nothing else. */
static void test_anything(void)
{
    static const char *const copies[] = {NULL, "generator", "generator_ema", "model", "", "."};
    for (int round = 0; round < 300; round++) {
        g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        g_autoptr(GString) list = g_string_new(NULL);
        for (int i = g_test_rand_int_range(0, 30); i > 0; i--) {
            g_autoptr(GString) one = g_string_new(NULL);
            append_name(one);
            if (g_hash_table_add(seen, g_strndup(one->str, strcspn(one->str, ":"))))
                g_string_append_printf(list, " %s", one->str);
        }
        LfTensorFile *file = file_named("x.safetensors", list->str);
        for (LfFileKind kind = 0; kind < LF_N_FILE_KINDS; kind++) {
            g_autoptr(GError) error = NULL;
            const LfSourceOptions options = {.kind = kind,
                                             .copy = draw(copies, G_N_ELEMENTS(copies))};
            LfWeightSource *source = lf_weight_source_file(file, &options, &error);
            g_assert_true((source == NULL) == (error != NULL));
            if (source)
                lf_weight_source_check_unused(source, NULL);
            lf_weight_source_free(source);
        }
        lf_tensor_file_unref(file);
    }
}

/* A word that marks what is never to be read does so wherever it stands in a name, as a whole. */
static void test_never(void)
{
    static const char *const never[] = {"critic.blocks.0.q", "model.critic_ema.blocks.0.q",
                                        "base.model.real_score", "x.y.optimizer.state"};
    static const char *const other[] = {
        "",          "model.blocks.0.q", "critics.blocks.0.q", "my_critic.q", "generator.criti",
        "optimizers"};
    for (gsize i = 0; i < G_N_ELEMENTS(never); i++)
        g_assert_true(lf_recognise_never(never[i]));
    for (gsize i = 0; i < G_N_ELEMENTS(other); i++)
        g_assert_false(lf_recognise_never(other[i]));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    dir = g_dir_make_tmp("lightforcing-XXXXXX", NULL);
    g_test_add_func("/recognise/parts", test_parts);
    g_test_add_func("/recognise/never", test_never);
    g_test_add_func("/recognise/several-parts", test_several_parts);
    g_test_add_func("/recognise/copies", test_copies);
    g_test_add_func("/recognise/records", test_records);
    g_test_add_func("/recognise/metadata", test_metadata);
    g_test_add_func("/recognise/notices", test_notices);
    g_test_add_func("/recognise/base-gguf", test_base_gguf);
    g_test_add_func("/recognise/sources", test_sources);
    g_test_add_func("/recognise/left-over", test_left_over);
    g_test_add_func("/recognise/anything", test_anything);
    int status = g_test_run();
    g_rmdir(dir);
    g_free(dir);
    return status;
}
