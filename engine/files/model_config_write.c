/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A configuration as model.json, with every value that it has, so that no default, family or path
 * decides anything any more.
 */
#include "family.h"
#include "model_fields.h"

#include <json-glib/json-glib.h>
#include <string.h>

static void add_steps(JsonBuilder *json, const LfSteps *steps)
{
    json_builder_begin_array(json);
    for (int i = 0; i < steps->n; i++)
        json_builder_add_double_value(json, steps->at[i]);
    json_builder_end_array(json);
}

static void add_text(JsonBuilder *json, char *text)
{
    json_builder_add_string_value(json, text);
    g_free(text);
}

static void add_loras(JsonBuilder *json, const LfModelConfig *c)
{
    json_builder_begin_array(json);
    for (int i = 0; i < c->n_loras; i++) {
        json_builder_begin_object(json);
        json_builder_set_member_name(json, "file");
        json_builder_add_string_value(json, c->loras[i].file);
        json_builder_set_member_name(json, "strength");
        json_builder_add_double_value(json, c->loras[i].strength);
        json_builder_end_object(json);
    }
    json_builder_end_array(json);
}

/* Whether the configuration has a value for the field; it has none where a shape is to tell it. */
static bool is_known(const LfModelConfig *c, const Field *field)
{
    const char *at = (const char *) c + field->offset;
    switch (field->kind) {
    case TEXT:
        return *(char *const *) (const void *) at != NULL;
    case WORD:
        return *at != 0;
    case WHOLE:
        return *(const int *) (const void *) at >= field->least;
    case STEPS:
        return ((const LfSteps *) (const void *) at)->n > 0;
    case LORAS:
        return c->n_loras > 0;
    case FAMILY:
        return c->family != NULL;
    default:
        return true;
    }
}

static void add_value(JsonBuilder *json, const LfModelConfig *c, const Field *field)
{
    const void *at = (const char *) c + field->offset;
    switch (field->kind) {
    case TEXT:
        json_builder_add_string_value(json, *(char *const *) at);
        break;
    case WORD:
        json_builder_add_string_value(json, at);
        break;
    case WHOLE:
        json_builder_add_int_value(json, *(const int *) at);
        break;
    case REAL:
        json_builder_add_double_value(json, *(const double *) at);
        break;
    case FLAG:
        json_builder_add_boolean_value(json, *(const bool *) at);
        break;
    case STEPS:
        add_steps(json, at);
        break;
    case RATE:
        add_text(json, g_strdup_printf("%d/%d", c->video.fps_n, c->video.fps_d));
        break;
    case POSITIONS:
        json_builder_add_string_value(json, c->cache.relative ? "relative" : "absolute");
        break;
    case ORDER:
        add_text(json, c->sparse.tile_rows > 0
                           ? g_strdup_printf("%dx%d", c->sparse.tile_rows, c->sparse.tile_cols)
                           : g_strdup("raster"));
        break;
    case LORAS:
        add_loras(json, c);
        break;
    case FAMILY:
        json_builder_add_string_value(json, c->family->name);
        break;
    }
}

/* Sections without a file that would describe one, and "sparse" where it is not given, are left
 * out. */
static bool has_section(const LfModelConfig *c, const char *section)
{
    const struct {
        const char *name;
        bool there;
    } optional[] = {{"transformer", c->files.transformer != NULL},
                    {"text_encoder", c->files.text_encoder != NULL},
                    {"tokenizer", c->files.tokenizer != NULL},
                    {"decoder", c->files.decoder != NULL},
                    {"sparse", c->sparse.given}};
    for (gsize i = 0; i < G_N_ELEMENTS(optional); i++)
        if (strcmp(optional[i].name, section) == 0)
            return optional[i].there;
    return true;
}

/* The fields of the section that begins with `first`; returns the one behind it. */
static const Field *add_section(JsonBuilder *json, const LfModelConfig *c, const Field *first)
{
    const char *section = first->section;
    bool there = has_section(c, section);
    if (there) {
        json_builder_set_member_name(json, section);
        json_builder_begin_object(json);
    }
    const Field *field = first;
    for (; field->key && strcmp(field->section, section) == 0; field++) {
        if (!there || !is_known(c, field))
            continue;
        json_builder_set_member_name(json, field->key);
        add_value(json, c, field);
    }
    if (there)
        json_builder_end_object(json);
    return field;
}

char *lf_model_config_text(const LfModelConfig *config)
{
    g_autoptr(JsonBuilder) json = json_builder_new();
    g_autoptr(JsonGenerator) generator = json_generator_new();
    json_builder_begin_object(json);
    for (const Field *field = lf_model_fields; field->key;)
        field = add_section(json, config, field);
    json_builder_end_object(json);
    JsonNode *root = json_builder_get_root(json);
    json_generator_set_root(generator, root);
    json_generator_set_pretty(generator, TRUE);
    json_node_unref(root);
    g_autofree char *text = json_generator_to_data(generator, NULL);
    return g_strconcat(text, "\n", NULL);
}
