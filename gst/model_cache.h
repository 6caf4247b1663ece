/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The models of this process. Elements with the same model and backend share its weights; the
 * weights stay as long as one of them claims the model, loaded or not.
 */
#ifndef GST_LIGHT_FORCING_MODEL_CACHE_H
#define GST_LIGHT_FORCING_MODEL_CACHE_H

#include "engine/lightforcing.h"

G_BEGIN_DECLS

typedef struct GstLightForcingModel GstLightForcingModel;

/* The place of a model in the process; nothing is loaded by this. Of `options`, backend,
 * precision and locations are copied. Thread-safety: any thread, as for all of this file. */
GstLightForcingModel *gst_light_forcing_model_claim(const char *location,
                                                    const LfModelOptions *options);
void gst_light_forcing_model_release(GstLightForcingModel *claim); /* NULL is fine */

/* Whether this is the place that gst_light_forcing_model_claim would give for these. */
gboolean gst_light_forcing_model_is(const GstLightForcingModel *claim, const char *location,
                                    const LfModelOptions *options);

const char *gst_light_forcing_model_location(const GstLightForcingModel *claim);

/* The loaded model; loads it unless somebody did, and waits while somebody does. Blocks; `progress`
 * is called on this thread and may stop the loading, which then goes on for others that wait.
 * Transfer none: valid while the model is claimed. */
LfModel *gst_light_forcing_model_load(GstLightForcingModel *claim, LfProgress progress,
                                      gpointer progress_data, GError **error);

G_END_DECLS

#endif
