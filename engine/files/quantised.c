/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "quantised.h"

#include "json.h"

#include <string.h>

/* Bytes: a record has some hundred at most, and metadata one for each layer. */
enum { MAX_RECORD = 4096, MAX_RECORDS = 4 << 20 };

/* FP8 with a scale, which is found where the weight is bound. */
static const char *const known[] = {"float8_e4m3fn", "float8_e5m2"};

static const char *text_of(JsonObject *record, const char *key)
{
    JsonNode *node = json_object_get_member(record, key);
    bool is_text =
        node && JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING;
    return is_text ? json_node_get_string(node) : NULL;
}

static bool is_set(JsonObject *record, const char *key)
{
    JsonNode *node = json_object_get_member(record, key);
    return node && JSON_NODE_HOLDS_VALUE(node) &&
           (json_node_get_value_type(node) != G_TYPE_BOOLEAN || json_node_get_boolean(node));
}

static char *problem_of(JsonObject *record, const char *layer)
{
    const char *format = text_of(record, "format");
    if (is_set(record, "convrot"))
        return g_strdup_printf("its weights are rotated (ConvRot, %s), which is not supported: use "
                               "the same model in BF16, FP16 or FP8 (e4m3)",
                               layer);
    for (gsize i = 0; format && i < G_N_ELEMENTS(known); i++)
        if (strcmp(format, known[i]) == 0)
            return NULL;
    return g_strdup_printf("it is quantised to %s (%s), which is not supported: use the same model "
                           "in BF16, FP16 or FP8 (e4m3)",
                           format ? format : "an unnamed format", layer);
}

static char *problem_of_text(const char *text, gsize size, const char *layer)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) node = size <= MAX_RECORD ? lf_json_parse(text, size, layer, &error) : NULL;
    if (!node)
        return g_strdup_printf("its record %s, of how a layer is quantised, cannot be read: "
                               "download the file again",
                               layer);
    return problem_of(json_node_get_object(node), layer);
}

/* {"layers": {"blocks.0.ffn.0": {"format": …}}} */
static char *problem_of_metadata(const LfTensorFile *file)
{
    static const char key[] = "_quantization_metadata";
    const char *text = lf_tensor_file_metadata(file, key);
    gsize size = text ? strlen(text) : 0;
    if (!text)
        return NULL;
    g_autoptr(JsonNode) root = size <= MAX_RECORDS ? lf_json_parse(text, size, key, NULL) : NULL;
    JsonNode *layers = root ? json_object_get_member(json_node_get_object(root), "layers") : NULL;
    if (!layers || !JSON_NODE_HOLDS_OBJECT(layers))
        return g_strdup_printf("its metadata (%s), of how layers are quantised, cannot be read: "
                               "download the file again",
                               key);
    char *problem = NULL;
    JsonObjectIter iter;
    const char *layer;
    JsonNode *record;
    json_object_iter_init(&iter, json_node_get_object(layers));
    while (!problem && json_object_iter_next(&iter, &layer, &record))
        if (JSON_NODE_HOLDS_OBJECT(record))
            problem = problem_of(json_node_get_object(record), layer);
    return problem;
}

char *lf_quantised_problem(const LfRefusalInput *in)
{
    char *problem = problem_of_metadata(in->file);
    for (size_t i = 0; i < lf_tensor_file_count(in->file) && !problem; i++) {
        const LfFileTensor *t = lf_tensor_file_nth(in->file, i);
        if (g_str_has_suffix(t->name, ".comfy_quant") && t->type == LF_U8 &&
            lf_recognised_name(in->recognised, in->names[i]))
            problem = problem_of_text(t->data, t->size, t->name);
    }
    return problem;
}
