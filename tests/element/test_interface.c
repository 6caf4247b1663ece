/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What applications rely on: names, flags and defaults of the element's properties. A change here
 * breaks somebody's pipeline.
 */
#include "source.h"

#include <string.h>

#define READY   GST_PARAM_MUTABLE_READY
#define PLAYING GST_PARAM_MUTABLE_PLAYING

static const struct {
    const char *name;
    GParamFlags flags; /* beside readable, writable and static strings */
    const char *value; /* of a fresh element, as gst-launch writes it */
} properties[] = {
    {"prompt", PLAYING, NULL},
    {"prompt-file", PLAYING, NULL},
    {"seed", PLAYING, "-1"},
    {"model-location", READY | GST_PARAM_DOC_SHOW_DEFAULT, NULL},
    {"text-encoder-location", READY, NULL},
    {"decoder-location", READY, NULL},
    {"backend", READY, "auto"},
    {"cuda-device-id", READY, "0"},
    {"precision", READY, "auto"},
    {"attention", PLAYING, "auto"},
    {"sparsity", PLAYING | GST_PARAM_CONTROLLABLE, "-1"},
    {"sparsity-growth", READY, "true"},
    {"window-frames", READY, "0"},
    {"sink-frames", READY, "-1"},
    {"prompt-transition", PLAYING, "continue"},
    {"force-key-unit", PLAYING, "cut"},
    {"is-live", READY, "false"},
    {"on-underrun", PLAYING, "shift"},
    {"prefetch", PLAYING, "1"},
    {"timestamp-offset", PLAYING, "0"},
    {"post-messages", PLAYING, "prompt"},
    {"tag-prompt", PLAYING, "false"},
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
    gst_object_unref(element);
}

/* None but these, and what the base classes have. */
static void test_no_others(void)
{
    GstElement *element = gst_element_factory_make("lightforcingsrc", NULL);
    guint n, n_own = 0;
    GParamSpec **specs = g_object_class_list_properties(G_OBJECT_GET_CLASS(element), &n);
    for (guint i = 0; i < n; i++)
        n_own += specs[i]->owner_type == G_OBJECT_TYPE(element);
    g_assert_cmpuint(n_own, ==, G_N_ELEMENTS(properties) + 1); /* stats */
    g_free(specs);
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

/* All of this works, and this element can be made, where there is no model. */
int main(int argc, char **argv)
{
    g_unsetenv("LIGHTFORCING_MODEL");
    tests_init(&argc, &argv);
    g_test_add_func("/interface/properties", test_properties);
    g_test_add_func("/interface/no-others", test_no_others);
    g_test_add_func("/interface/stats", test_stats);
    g_test_add_func("/interface/factory", test_factory);
    return tests_run();
}
