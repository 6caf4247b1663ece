/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The memory of a device is planned before it is taken: what does not fit is an error that names
 * the settings with which it would.
 */
#ifndef LF_ENGINE_MEMORY_PLAN_H
#define LF_ENGINE_MEMORY_PLAN_H

#include "worker.h"

/* Before a session allocates anything: LF_ERROR_MEMORY when it needs more than the device of the
 * loaded model has free. The table goes to `log`, or to the model's. */
bool lf_memory_check_session(const LfModel *model, const LfWorkerConfig *config, const LfLog *log,
                             GError **error);

/* Before weights are loaded: `model` has its configuration, backend and text_device, and no parts.
 * The sources are of the parts that it will have, or NULL. The session that is planned for it counts,
 * unless that is NULL or not possible. */
bool lf_memory_check_model(const LfModel *model, LfWeightSource *transformer,
                           LfWeightSource *text_encoder, LfWeightSource *decoder,
                           const LfSessionOptions *planned, GError **error);

/* The plan of such a model with a session. */
bool lf_memory_plan_model(const LfModel *model, LfWeightSource *transformer,
                          LfWeightSource *text_encoder, LfWeightSource *decoder,
                          const LfSessionOptions *session, LfMemoryPlan *plan, GError **error);

#endif
