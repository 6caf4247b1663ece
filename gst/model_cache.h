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

/* A claim on a model of the process; loads nothing. `options` are copied; elements whose options
 * are equal (lf_model_options_equal) and whose location is the same share one claim.
 * Thread-safety: any thread, as for every function here. */
GstLightForcingModel *gst_light_forcing_model_claim(const char *location,
                                                    const LfModelOptions *options);
void gst_light_forcing_model_release(GstLightForcingModel *claim); /* NULL is fine */

/* Whether gst_light_forcing_model_claim would return this claim. */
gboolean gst_light_forcing_model_is(const GstLightForcingModel *claim, const char *location,
                                    const LfModelOptions *options);

/* The loaded model; `planned` as in LfModelOptions. Blocks while this or another thread loads it.
 * `progress` is called on this thread and may stop the load or the wait; if other threads wait, one
 * of them loads it then. Transfer none: valid while the model is claimed. */
LfModel *gst_light_forcing_model_load(GstLightForcingModel *claim, const LfSessionOptions *planned,
                                      LfProgress progress, gpointer progress_data, GError **error);

G_END_DECLS

#endif
