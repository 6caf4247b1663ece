/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The engine's log in GStreamer's: levels and thresholds.
 */
#include "gst/log.h"

static const struct {
    LfLogLevel ours;
    GstDebugLevel theirs;
} levels[] = {{LF_LOG_NONE, GST_LEVEL_NONE},       {LF_LOG_ERROR, GST_LEVEL_ERROR},
              {LF_LOG_WARNING, GST_LEVEL_WARNING}, {LF_LOG_INFO, GST_LEVEL_INFO},
              {LF_LOG_DEBUG, GST_LEVEL_DEBUG},     {LF_LOG_TRACE, GST_LEVEL_TRACE}};

typedef struct {
    int n;
    GstDebugLevel level;
    char *text;
} Last;

static void keep(GstDebugCategory *category, GstDebugLevel level, const gchar *file,
                 const gchar *function, gint line, GObject *object, GstDebugMessage *message,
                 gpointer data)
{
    Last *last = data;
    if (category != gst_light_forcing_debug)
        return;
    last->n++;
    last->level = level;
    g_free(last->text);
    last->text = g_strdup(gst_debug_message_get(message));
}

static void test_levels(void)
{
    Last last = {0};
    gst_debug_add_log_function(keep, &last, NULL);
    gst_debug_category_set_threshold(gst_light_forcing_debug, GST_LEVEL_TRACE);
    LfLog log = gst_light_forcing_log();
    for (gsize i = 1; i < G_N_ELEMENTS(levels); i++) {
        lf_log(&log, levels[i].ours, "line %d, 100 %%", (int) i);
        g_autofree char *expected = g_strdup_printf("line %d, 100 %%", (int) i);
        g_assert_cmpint(last.n, ==, (int) i);
        g_assert_cmpint((gint) last.level, ==, (gint) levels[i].theirs);
        g_assert_cmpstr(last.text, ==, expected);
    }
    gst_debug_remove_log_function(keep);
    g_free(last.text);
}

/* The engine formats no line that nobody sees. */
static void test_thresholds(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(levels); i++) {
        gst_debug_category_set_threshold(gst_light_forcing_debug, levels[i].theirs);
        g_assert_cmpint(gst_light_forcing_log().level, ==, levels[i].ours);
    }
    gst_debug_category_set_threshold(gst_light_forcing_debug, GST_LEVEL_FIXME);
    g_assert_cmpint(gst_light_forcing_log().level, ==, LF_LOG_WARNING);
    gst_debug_category_set_threshold(gst_light_forcing_debug, GST_LEVEL_MEMDUMP);
    g_assert_cmpint(gst_light_forcing_log().level, ==, LF_LOG_TRACE);
}

int main(int argc, char **argv)
{
    gst_init(&argc, &argv);
    g_test_init(&argc, &argv, NULL);
    gst_light_forcing_log_init();
    g_test_add_func("/log/levels", test_levels);
    g_test_add_func("/log/thresholds", test_thresholds);
    return g_test_run();
}
