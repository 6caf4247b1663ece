/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model_cache.h"

/* How often one that waits for another's loading asks whether it should still wait. */
#define WAIT_STEP (20 * G_TIME_SPAN_MILLISECOND)

struct GstLightForcingModel {
    char *location, *backend, *text_encoder, *decoder;
    LfPrecision precision;

    /* Under `lock`. */
    guint n_claims;
    LfModel *model;
    gboolean loading;
    const char *part; /* how far the loading is; an interned string */
    double done;
};

static GMutex lock;
static GCond loaded;
static GList *models; /* of GstLightForcingModel */

static gboolean same(const char *a, const char *b)
{
    return g_strcmp0(a, b) == 0;
}

gboolean gst_light_forcing_model_is(const GstLightForcingModel *claim, const char *location,
                                    const LfModelOptions *options)
{
    return same(claim->location, location) && same(claim->backend, options->backend) &&
           claim->precision == options->precision &&
           same(claim->text_encoder, options->text_encoder_location) &&
           same(claim->decoder, options->decoder_location);
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
        claim->backend = g_strdup(options->backend);
        claim->precision = options->precision;
        claim->text_encoder = g_strdup(options->text_encoder_location);
        claim->decoder = g_strdup(options->decoder_location);
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
    g_free(claim->backend);
    g_free(claim->text_encoder);
    g_free(claim->decoder);
    g_free(claim);
}

const char *gst_light_forcing_model_location(const GstLightForcingModel *claim)
{
    return claim->location;
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
static void load_unlocked(GstLightForcingModel *claim, LfProgress progress, gpointer data,
                          GError **error)
{
    Loading loading = {claim, progress, data};
    LfModelOptions options = {.backend = claim->backend,
                              .precision = claim->precision,
                              .progress = note_progress,
                              .progress_data = &loading,
                              .text_encoder_location = claim->text_encoder,
                              .decoder_location = claim->decoder};
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
        gboolean go_on = progress(part, done, data);
        g_mutex_lock(&lock);
        if (!go_on) {
            g_set_error(error, LF_ERROR, LF_ERROR_CANCELLED, "loading %s was cancelled",
                        claim->location);
            return FALSE;
        }
        if (claim->loading)
            g_cond_wait_until(&loaded, &lock, g_get_monotonic_time() + WAIT_STEP);
    }
    return TRUE;
}

LfModel *gst_light_forcing_model_load(GstLightForcingModel *claim, LfProgress progress,
                                      gpointer progress_data, GError **error)
{
    g_mutex_lock(&lock);
    if (wait_for_loader(claim, progress, progress_data, error) && !claim->model)
        load_unlocked(claim, progress, progress_data, error);
    LfModel *model = claim->model;
    g_mutex_unlock(&lock);
    return model;
}
