/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The plugin: one element. Nothing is opened or computed here: the registry scan is quick and works
 * on every machine.
 */
#include "gstlightforcingsrc.h"

static gboolean plugin_init(GstPlugin *plugin)
{
    return GST_ELEMENT_REGISTER(lightforcingsrc, plugin);
}

GST_PLUGIN_DEFINE(GST_VERSION_MAJOR, GST_VERSION_MINOR, lightforcing,
                  "Video from text prompts in real time, by autoregressive video diffusion",
                  plugin_init, VERSION, "LGPL", PACKAGE, PACKAGE_ORIGIN)
