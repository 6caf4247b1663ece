/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model_cache.h"

/* How often an element that waits for another element's load asks whether to wait on. */
#define WAIT_STEP (20 * G_TIME_SPAN_MILLISECOND)

struct GstLightForcingModel {
    char *location;
    LfModelOptions options; /* without progress, which is that of each call that loads */

    /* Under `lock`. */
    guint n_claims;
    LfModel *model;
    gboolean loading;
    const char *part; /* being loaded; an interned string */
    double done;      /* share of all the work, 0…1 */
};

static GMutex lock;
static GCond loaded;
static GList *models; /* of GstLightForcingModel */

gboolean gst_light_forcing_model_is(const GstLightForcingModel *claim, const char *location,
                                    const LfModelOptions *options)
{
    return g_strcmp0(claim->location, location) == 0 &&
           lf_model_options_equal(&claim->options, options);
}

static GstLightForcingModel *find(const char *location, const LfModelOptions *options)
{
    for (GList *item = models; item; item = item->next)
        if (gst_light_forcing_model_is(item->data, location, options))
            return item->data;
    return NULL;
}

GstLightForcingModel *gst_light_forcing_model_claim(const char *location,
                                                    const LfModelOptions *options)
{
    g_mutex_lock(&lock);
    GstLightForcingModel *claim = find(location, options);
    if (!claim) {
        claim = g_new0(GstLightForcingModel, 1);
        claim->location = g_strdup(location);
        lf_model_options_copy(&claim->options, options);
        models = g_list_prepend(models, claim);
    }
    claim->n_claims++;
    g_mutex_unlock(&lock);
    return claim;
}

void gst_light_forcing_model_release(GstLightForcingModel *claim)
{
    if (!claim)
        return;
    g_mutex_lock(&lock);
    gboolean last = --claim->n_claims == 0;
    if (last)
        models = g_list_remove(models, claim);
    g_mutex_unlock(&lock);
    if (!last)
        return;
    if (claim->model)
        lf_model_unref(claim->model);
    g_free(claim->location);
    lf_model_options_clear(&claim->options);
    g_free(claim);
}

/* ---- loading --------------------------------------------------------------------------------- */

typedef struct {
    GstLightForcingModel *claim;
    LfProgress progress;
    gpointer progress_data;
} Loading;

static gboolean note_progress(const char *part, double done, gpointer data)
{
    Loading *loading = data;
    part = g_intern_string(part);
    g_mutex_lock(&lock);
    loading->claim->part = part;
    loading->claim->done = done;
    g_mutex_unlock(&lock);
    return loading->progress(part, done, loading->progress_data);
}

/* Under the lock, which is open while the model loads. */
static void load_unlocked(GstLightForcingModel *claim, const LfSessionOptions *planned,
                          LfProgress progress, gpointer data, GError **error)
{
    Loading loading = {claim, progress, data};
    LfModelOptions options = claim->options;
    options.progress = note_progress;
    options.progress_data = &loading;
    options.planned = planned;
    claim->loading = TRUE;
    claim->part = g_intern_static_string("model");
    claim->done = 0;
    g_mutex_unlock(&lock);
    LfModel *model = lf_model_open(claim->location, &options, error);
    g_mutex_lock(&lock);
    claim->model = model;
    claim->loading = FALSE;
    g_cond_broadcast(&loaded);
}

/* Under the lock. FALSE and an error when `progress` does not want to wait any longer. */
static gboolean wait_for_loader(GstLightForcingModel *claim, LfProgress progress, gpointer data,
                                GError **error)
{
    while (claim->loading) {
        const char *part = claim->part;
        double done = claim->done;
        g_mutex_unlock(&lock);
        gboolean wanted = progress(part, done, data);
        g_mutex_lock(&lock);
        if (!wanted) {
            g_set_error(error, LF_ERROR, LF_ERROR_CANCELLED, "loading %s was cancelled",
                        claim->location);
            return FALSE;
        }
        if (claim->loading)
            g_cond_wait_until(&loaded, &lock, g_get_monotonic_time() + WAIT_STEP);
    }
    return TRUE;
}

LfModel *gst_light_forcing_model_load(GstLightForcingModel *claim, const LfSessionOptions *planned,
                                      LfProgress progress, gpointer progress_data, GError **error)
{
    g_mutex_lock(&lock);
    if (wait_for_loader(claim, progress, progress_data, error) && !claim->model)
        load_unlocked(claim, planned, progress, progress_data, error);
    LfModel *model = claim->model;
    g_mutex_unlock(&lock);
    return model;
}
