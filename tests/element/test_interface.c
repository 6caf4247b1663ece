/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Names, flags and defaults of the element's properties, on which applications rely: a change here
 * breaks pipelines. A new property needs no row.
 */
#include "source.h"

#include "engine/lightforcing.h"

#include <string.h>

#define READY   GST_PARAM_MUTABLE_READY
#define PLAYING GST_PARAM_MUTABLE_PLAYING

static const struct {
    const char *name;
    GParamFlags flags; /* beside readable, writable and static strings */
    const char *value; /* of a fresh element, as gst-launch writes it */
} properties[] = {
    {"prompt", PLAYING, NULL},
    {"prompt-location", PLAYING, NULL},
    {"prompt-cache", READY, "true"},
    {"seed", PLAYING, "-1"},
    {"model-location", READY | GST_PARAM_DOC_SHOW_DEFAULT, NULL},
    {"text-encoder-location", READY, NULL},
    {"tokenizer-location", READY, NULL},
    {"decoder-location", READY, NULL},
    {"model-family", READY, NULL},
    {"model-copy", READY, NULL},
    {"lora", READY, NULL},
    {"backend", READY, "auto"},
    {"cuda-device-id", READY, "-1"},
    {"precision", READY, "auto"},
    {"text-encoder-device", READY, "auto"},
    {"attention", PLAYING, "auto"},
    {"sparsity", PLAYING | GST_PARAM_CONTROLLABLE, "-1"},
    {"sparsity-growth", READY, "true"},
    {"attention-window", READY, "-1"},
    {"attention-sink", READY, "-1"},
    {"chunk-size", READY, "0"},
    {"steps", READY, NULL},
    {"first-steps", READY, NULL},
    {"shift", READY, "0"},
    {"prompt-transition", PLAYING, "continue"},
    {"keyframe-requests", PLAYING, "cut"},
    {"is-live", READY, "false"},
    {"on-underrun", PLAYING, "shift"},
    {"prefetch", PLAYING, "1"},
    {"timestamp-offset", PLAYING, "0"},
    {"messages", PLAYING, "prompt"},
    {"send-prompt-tags", PLAYING, "false"},
};

static const struct {
    const char *name;
    double min, max;
} ranges[] = {
    {"seed", -1, (double) G_MAXINT64},
    {"cuda-device-id", -1, 1023},
    {"sparsity", -1, 0.999},
    {"attention-window", -1, LF_MAX_WINDOW},
    {"attention-sink", -1, LF_MAX_WINDOW},
    {"chunk-size", 0, 64},
    {"shift", 0, 100},
    {"prefetch", 1, 16},
    {"timestamp-offset", 0, (double) G_MAXINT64},
};

static void assert_value(GObject *object, GParamSpec *spec, const char *wanted)
{
    GValue value = G_VALUE_INIT, parsed = G_VALUE_INIT;
    g_value_init(&value, spec->value_type);
    g_value_init(&parsed, spec->value_type);
    g_object_get_property(object, spec->name, &value);
    g_assert_true(g_param_value_defaults(spec, &value));
    if (wanted) {
        g_assert_true(gst_value_deserialize(&parsed, wanted));
        g_assert_cmpint(g_param_values_cmp(spec, &value, &parsed), ==, 0);
    } else {
        g_assert_null(g_value_get_string(&value));
    }
    g_value_unset(&value);
    g_value_unset(&parsed);
}

static void assert_range(GParamSpec *spec, double min, double max)
{
    double found[2] = {0, 0};
    if (G_IS_PARAM_SPEC_INT(spec)) {
        found[0] = G_PARAM_SPEC_INT(spec)->minimum;
        found[1] = G_PARAM_SPEC_INT(spec)->maximum;
    } else if (G_IS_PARAM_SPEC_UINT(spec)) {
        found[0] = G_PARAM_SPEC_UINT(spec)->minimum;
        found[1] = G_PARAM_SPEC_UINT(spec)->maximum;
    } else if (G_IS_PARAM_SPEC_INT64(spec)) {
        found[0] = (double) G_PARAM_SPEC_INT64(spec)->minimum;
        found[1] = (double) G_PARAM_SPEC_INT64(spec)->maximum;
    } else if (G_IS_PARAM_SPEC_DOUBLE(spec)) {
        found[0] = G_PARAM_SPEC_DOUBLE(spec)->minimum;
        found[1] = G_PARAM_SPEC_DOUBLE(spec)->maximum;
    }
    g_assert_cmpfloat(found[0], ==, min);
    g_assert_cmpfloat(found[1], ==, max);
}

static void test_properties(void)
{
    GstElement *element = gst_element_factory_make("lightforcingsrc", NULL);
    for (guint i = 0; i < G_N_ELEMENTS(properties); i++) {
        GParamSpec *spec =
            g_object_class_find_property(G_OBJECT_GET_CLASS(element), properties[i].name);
        g_assert_nonnull(spec);
        g_assert_cmphex(spec->flags & ~(GParamFlags) G_PARAM_EXPLICIT_NOTIFY, ==,
                        G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | properties[i].flags);
        g_assert_cmpuint(strlen(g_param_spec_get_blurb(spec)), >, 0);
        assert_value(G_OBJECT(element), spec, properties[i].value);
    }
    for (guint i = 0; i < G_N_ELEMENTS(ranges); i++)
        assert_range(g_object_class_find_property(G_OBJECT_GET_CLASS(element), ranges[i].name),
                     ranges[i].min, ranges[i].max);
    gst_object_unref(element);
}

/* Another value than `value`, in the range of the property. */
static void change(GValue *value, GParamSpec *spec)
{
    if (G_IS_PARAM_SPEC_STRING(spec))
        g_value_set_static_string(value, "/no/such/file");
    else if (G_IS_PARAM_SPEC_BOOLEAN(spec))
        g_value_set_boolean(value, !g_value_get_boolean(value));
    else if (G_IS_PARAM_SPEC_INT(spec))
        g_value_set_int(value, G_PARAM_SPEC_INT(spec)->maximum);
    else if (G_IS_PARAM_SPEC_UINT(spec))
        g_value_set_uint(value, G_PARAM_SPEC_UINT(spec)->maximum);
    else if (G_IS_PARAM_SPEC_INT64(spec))
        g_value_set_int64(value, G_PARAM_SPEC_INT64(spec)->maximum);
    else if (G_IS_PARAM_SPEC_DOUBLE(spec))
        g_value_set_double(value, G_PARAM_SPEC_DOUBLE(spec)->maximum);
    else if (G_IS_PARAM_SPEC_ENUM(spec))
        g_value_set_enum(value, G_PARAM_SPEC_ENUM(spec)->enum_class->maximum);
    else
        g_value_set_flags(value, G_PARAM_SPEC_FLAGS(spec)->flags_class->mask);
}

static void get(GstElement *element, GParamSpec *spec, GValue *value)
{
    g_value_unset(value);
    g_value_init(value, spec->value_type);
    g_object_get_property(G_OBJECT(element), spec->name, value);
}

/* All properties but the `changed` first ones still have their defaults. */
static void assert_others(GstElement *element, GParamSpec **specs, guint changed, guint n)
{
    GValue value = G_VALUE_INIT;
    g_value_init(&value, G_TYPE_INT);
    for (guint i = changed; i < n; i++)
        if (specs[i]->owner_type == G_OBJECT_TYPE(element) && specs[i]->flags & G_PARAM_WRITABLE) {
            get(element, specs[i], &value);
            g_assert_true(g_param_value_defaults(specs[i], &value));
        }
    g_value_unset(&value);
}

/* Every property, also one that is not in the list above, starts with its default and keeps what is
 * set; setting one of them changes no other. */
static void test_values(void)
{
    guint n;
    GstElement *element = gst_element_factory_make("lightforcingsrc", NULL);
    GParamSpec **specs = g_object_class_list_properties(G_OBJECT_GET_CLASS(element), &n);
    GValue wanted = G_VALUE_INIT, value = G_VALUE_INIT;
    g_value_init(&value, G_TYPE_INT);
    g_value_init(&wanted, G_TYPE_INT);
    for (guint i = 0; i < n; i++) {
        if (specs[i]->owner_type != G_OBJECT_TYPE(element) || !(specs[i]->flags & G_PARAM_WRITABLE))
            continue;
        g_test_message("%s", specs[i]->name);
        get(element, specs[i], &wanted);
        g_assert_true(g_param_value_defaults(specs[i], &wanted));
        change(&wanted, specs[i]);
        g_assert_false(g_param_value_defaults(specs[i], &wanted));
        g_object_set_property(G_OBJECT(element), specs[i]->name, &wanted);
        get(element, specs[i], &value);
        g_assert_cmpint(g_param_values_cmp(specs[i], &wanted, &value), ==, 0);
        assert_others(element, specs, i + 1, n);
    }
    g_value_unset(&wanted);
    g_value_unset(&value);
    g_free(specs);
    gst_object_unref(element);
}

/* Every enumeration and flags type shows in the plugin's documentation. */
static void test_types(void)
{
    guint n;
    GstElement *element = gst_element_factory_make("lightforcingsrc", NULL);
    GParamSpec **specs = g_object_class_list_properties(G_OBJECT_GET_CLASS(element), &n);
    for (guint i = 0; i < n; i++) {
        GstPluginAPIFlags flags;
        if (specs[i]->owner_type == G_OBJECT_TYPE(element) &&
            (G_TYPE_IS_ENUM(specs[i]->value_type) || G_TYPE_IS_FLAGS(specs[i]->value_type)))
            g_assert_true(gst_type_is_plugin_api(specs[i]->value_type, &flags));
    }
    g_free(specs);
    gst_object_unref(element);
}

/* The names of the values, for gst-launch and for applications, in the order of their numbers. */
static void test_nicks(void)
{
    static const struct {
        const char *property, *type, *nicks;
    } types[] = {{"backend", "GstLightForcingBackend", "0 auto, 1 cpu, 2 cuda"},
                 {"precision", "GstLightForcingPrecision", "0 auto, 1 fp32, 2 bf16, 3 fp8"},
                 {"text-encoder-device", "GstLightForcingTextEncoderDevice",
                  "0 auto, 1 device, 2 stream, 3 cpu"},
                 {"attention", "GstLightForcingAttention", "0 auto, 1 dense, 2 sparse"},
                 {"prompt-transition", "GstLightForcingTransition", "0 continue, 1 recache, 2 cut"},
                 {"on-underrun", "GstLightForcingUnderrun", "0 shift, 1 repeat, 2 none"},
                 {"keyframe-requests", "GstLightForcingKeyframes", "0 none, 1 cut, 2 prompt"},
                 {"messages", "GstLightForcingMessages", "0 none, 1 prompt, 2 chunk"}};
    GstElement *element = gst_element_factory_make("lightforcingsrc", NULL);
    for (guint i = 0; i < G_N_ELEMENTS(types); i++) {
        GParamSpec *spec =
            g_object_class_find_property(G_OBJECT_GET_CLASS(element), types[i].property);
        GString *nicks = g_string_new(NULL);
        if (G_IS_PARAM_SPEC_ENUM(spec)) {
            const GEnumClass *class = G_PARAM_SPEC_ENUM(spec)->enum_class;
            for (guint v = 0; v < class->n_values; v++)
                g_string_append_printf(nicks, "%s%d %s", v ? ", " : "", class->values[v].value,
                                       class->values[v].value_nick);
        } else {
            const GFlagsClass *class = G_PARAM_SPEC_FLAGS(spec)->flags_class;
            for (guint v = 0; v < class->n_values; v++)
                g_string_append_printf(nicks, "%s%u %s", v ? ", " : "", class->values[v].value,
                                       class->values[v].value_nick);
        }
        g_assert_cmpstr(g_type_name(spec->value_type), ==, types[i].type);
        g_assert_cmpstr(nicks->str, ==, types[i].nicks);
        g_string_free(nicks, TRUE);
    }
    gst_object_unref(element);
}

/* A restart of an element that has no stream does nothing. */
static void test_restart(void)
{
    GstElement *element = gst_element_factory_make("lightforcingsrc", NULL);
    g_signal_emit_by_name(element, "restart", (gint64) 1);
    gst_object_unref(element);
}

static void test_stats(void)
{
    static const char *const fields[] = {"frames",
                                         "chunks",
                                         "chunk-frames",
                                         "generate-time-avg",
                                         "generate-time-max",
                                         "decode-time-avg",
                                         "text-encode-time",
                                         "fps-potential",
                                         "queue-level",
                                         "underruns",
                                         "repeated",
                                         "shifted-time",
                                         "prompts",
                                         "prompt-latency-last",
                                         "prompt-latency-max",
                                         "seed",
                                         "model",
                                         "device-name",
                                         "text-encoder-device",
                                         "sparsity-effective",
                                         "load-time",
                                         "qos-proportion"};
    GstElement *element = gst_element_factory_make("lightforcingsrc", NULL);
    GstStructure *stats = NULL;
    g_object_get(element, "stats", &stats, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(fields); i++)
        g_assert_true(gst_structure_has_field(stats, fields[i]));
    g_assert_cmpint(gst_structure_n_fields(stats), ==, G_N_ELEMENTS(fields));
    gst_structure_free(stats);
    gst_object_unref(element);
}

static void test_factory(void)
{
    GstElementFactory *factory = gst_element_factory_find("lightforcingsrc");
    g_assert_nonnull(factory);
    g_assert_cmpstr(gst_element_factory_get_metadata(factory, GST_ELEMENT_METADATA_KLASS), ==,
                    "Source/Video");
    g_assert_cmpuint(gst_plugin_feature_get_rank(GST_PLUGIN_FEATURE(factory)), ==, GST_RANK_NONE);
    g_assert_cmpuint(gst_element_factory_get_num_pad_templates(factory), ==, 1);
    gst_object_unref(factory);
}

/* None of this needs a model. */
int main(int argc, char **argv)
{
    g_unsetenv("LIGHTFORCING_MODEL");
    tests_init(&argc, &argv);
    g_test_add_func("/interface/properties", test_properties);
    g_test_add_func("/interface/values", test_values);
    g_test_add_func("/interface/types", test_types);
    g_test_add_func("/interface/nicks", test_nicks);
    g_test_add_func("/interface/restart", test_restart);
    g_test_add_func("/interface/stats", test_stats);
    g_test_add_func("/interface/factory", test_factory);
    return tests_run();
}
