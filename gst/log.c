/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "log.h"

GST_DEBUG_CATEGORY(gst_light_forcing_debug);

void gst_light_forcing_log_init(void)
{
    GST_DEBUG_CATEGORY_INIT(gst_light_forcing_debug, "lightforcingsrc", 0,
                            "Light Forcing video generator");
}

static void write_line(LfLogLevel level, const char *message, gpointer data)
{
    static const GstDebugLevel levels[] = {
        [LF_LOG_NONE] = GST_LEVEL_NONE,       [LF_LOG_ERROR] = GST_LEVEL_ERROR,
        [LF_LOG_WARNING] = GST_LEVEL_WARNING, [LF_LOG_INFO] = GST_LEVEL_INFO,
        [LF_LOG_DEBUG] = GST_LEVEL_DEBUG,     [LF_LOG_TRACE] = GST_LEVEL_TRACE};
    GST_CAT_LEVEL_LOG(gst_light_forcing_debug, levels[level], NULL, "%s", message);
}

LfLog gst_light_forcing_log(void)
{
    GstDebugLevel threshold = gst_debug_category_get_threshold(gst_light_forcing_debug);
    LfLogLevel level = threshold >= GST_LEVEL_TRACE     ? LF_LOG_TRACE
                       : threshold >= GST_LEVEL_DEBUG   ? LF_LOG_DEBUG
                       : threshold >= GST_LEVEL_INFO    ? LF_LOG_INFO
                       : threshold >= GST_LEVEL_WARNING ? LF_LOG_WARNING
                       : threshold >= GST_LEVEL_ERROR   ? LF_LOG_ERROR
                                                        : LF_LOG_NONE;
    return (LfLog){.write = write_line, .level = level};
}
