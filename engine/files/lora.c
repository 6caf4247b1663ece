/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lora.h"

#include "layouts/layouts.h"
#include "name_hash.h"
#include "recognise.h"

#include <string.h>

/* ---- dialects -------------------------------------------------------------------------------- */

typedef enum { DOWN, UP, ALPHA, DIFFERENCE, REFUSED } Role;

/* The endings of names; the part before it is the module. */
static const struct {
    const char *ending;
    Role role;
    const char *of; /* a DIFFERENCE: of this tensor of the module */
} endings[] = {
    {".lora_A.weight", DOWN, NULL},
    {".lora_B.weight", UP, NULL},
    {".lora_A.default.weight", DOWN, NULL},
    {".lora_B.default.weight", UP, NULL},
    {".lora_down.weight", DOWN, NULL},
    {".lora_up.weight", UP, NULL},
    {".lora.down.weight", DOWN, NULL},
    {".lora.up.weight", UP, NULL},
    {"_lora.down.weight", DOWN, NULL},
    {"_lora.up.weight", UP, NULL},
    {".alpha", ALPHA, NULL},
    {".diff", DIFFERENCE, "weight"},
    {".diff_b", DIFFERENCE, "bias"},
    {".diff_m", DIFFERENCE, "modulation"},
    {".dora_scale", REFUSED, NULL},
    {".lora_mid.weight", REFUSED, NULL},
    {".reshape_weight", REFUSED, NULL},
    {".w_norm", REFUSED, NULL},
    {".b_norm", REFUSED, NULL},
    {".hada_w1_a", REFUSED, NULL},
    {".hada_w1_b", REFUSED, NULL},
    {".hada_w2_a", REFUSED, NULL},
    {".hada_w2_b", REFUSED, NULL},
    {".lokr_w1", REFUSED, NULL},
    {".lokr_w1_a", REFUSED, NULL},
    {".lokr_w1_b", REFUSED, NULL},
    {".lokr_w2", REFUSED, NULL},
    {".lokr_w2_a", REFUSED, NULL},
    {".lokr_w2_b", REFUSED, NULL},
};

/* Prefixes of dialects that write '_' for every '.' of the module's name. */
static const char *const flat_prefixes[] = {"lora_unet__", "lora_unet_", "lycoris_"};

static int ending_of(const char *name)
{
    for (gsize i = 0; i < G_N_ELEMENTS(endings); i++)
        if (g_str_has_suffix(name, endings[i].ending))
            return (int) i;
    return -1;
}

bool lf_lora_is_name(const char *name)
{
    return ending_of(name) >= 0;
}

/* ---- the modules of a file ------------------------------------------------------------------- */

typedef struct {
    char *name;            /* of the module, without wrappers */
    const char *down_name; /* in the file, for messages */
    const LfFileTensor *down, *up, *alpha;
    const LfFileTensor *differences[G_N_ELEMENTS(endings)]; /* by the row of their ending */
} Module;

static void module_free(gpointer data)
{
    Module *module = data;
    g_free(module->name);
    g_free(module);
}

typedef struct {
    LfWeightSource *source;
    LfTensorFile *file;
    double strength;
    GPtrArray *modules;     /* in the order of the file */
    GHashTable *by_name;    /* of `modules` */
    GHashTable *flat_names; /* canonical module names by what flat dialects call them; or NULL */
    GString *unmatched;     /* names of modules that the weights do not have */
    int n_unmatched, n_of_picture;
} Reading;

/* `format` is a literal. */
#define refuse(r, error, code, format, ...)                                                        \
    lf_fail(error, code, "LoRA %s: " format, lf_tensor_file_path((r)->file), ##__VA_ARGS__)

static Module *module_of(Reading *r, const char *name)
{
    Module *module = g_hash_table_lookup(r->by_name, name);
    if (!module) {
        module = g_new0(Module, 1);
        module->name = g_strdup(name);
        g_ptr_array_add(r->modules, module);
        g_hash_table_insert(r->by_name, module->name, module);
    }
    return module;
}

static bool read_modules(Reading *r, GError **error)
{
    for (size_t i = 0; i < lf_tensor_file_count(r->file); i++) {
        const LfFileTensor *tensor = lf_tensor_file_nth(r->file, i);
        g_autofree char *name = lf_layout_unwrap(tensor->name);
        int row = ending_of(name);
        if (lf_recognise_never(name))
            continue;
        if (row < 0 || endings[row].role == REFUSED || (!tensor->coding && tensor->type > LF_F64))
            return refuse(r, error, row < 0 ? LF_ERROR_FORMAT : LF_ERROR_UNSUPPORTED,
                          "%s (%s) is not understood: LoRA files with A and B (down and up) "
                          "matrices in floating point and plain differences are",
                          tensor->name, lf_file_tensor_type_name(tensor));
        name[strlen(name) - strlen(endings[row].ending)] = '\0';
        Module *module = module_of(r, name);
        if (endings[row].role == DIFFERENCE)
            module->differences[row] = tensor;
        else
            *(endings[row].role == DOWN ? &module->down
              : endings[row].role == UP ? &module->up
                                        : &module->alpha) = tensor;
    }
    return true;
}

/* ---- their canonical names ------------------------------------------------------------------- */

/* A module of the weights, and which share of the file's rows is its own. */
typedef struct {
    char *name;
    int share, n_shares;
} Target;

static bool has_module(LfWeightSource *source, const char *module, const char *tensor)
{
    g_autofree char *name = g_strconcat(module, ".", tensor, NULL);
    return lf_weight_source_has(source, name);
}

/* The names of the weights' modules, those of every layout, with '_' for '.'. */
static GHashTable *flat_names(LfWeightSource *source)
{
    GHashTable *flat = g_hash_table_new_full(lf_name_hash, g_str_equal, g_free, g_free);
    GHashTableIter iter;
    gpointer name;
    g_hash_table_iter_init(&iter, source->names);
    while (g_hash_table_iter_next(&iter, &name, NULL)) {
        if (!g_str_has_suffix(name, ".weight"))
            continue;
        g_autofree char *module = g_strndup(name, strlen(name) - strlen(".weight"));
        g_hash_table_replace(flat, g_strdelimit(g_strdup(module), ".", '_'), g_strdup(module));
        for (const LfLayout *const *layout = lf_layouts; *layout; layout++)
            for (const LfLayoutName *row = (*layout)->names; row->theirs; row++) {
                char *theirs = row->ours && row->n_shares == 0
                                   ? lf_layout_rename(module, row->ours, row->theirs)
                                   : NULL;
                if (theirs)
                    g_hash_table_replace(flat, g_strdelimit(theirs, ".", '_'), g_strdup(module));
            }
    }
    return flat;
}

static void add_target(GArray *targets, char *name, int share, int n_shares)
{
    Target target = {name, share, n_shares};
    g_array_append_val(targets, target);
}

static void target_clear(gpointer target)
{
    g_free(((Target *) target)->name);
}

/* Adds the modules of the weights that are called `module`, `tensor` being one that they have. Never
 * guessed: a name is canonical, or a layout's, or flat and in the table of those. */
static void add_targets(Reading *r, const char *module, const char *tensor, GArray *targets)
{
    for (gsize i = 0; i < G_N_ELEMENTS(flat_prefixes); i++) {
        if (!g_str_has_prefix(module, flat_prefixes[i]))
            continue;
        if (!r->flat_names)
            r->flat_names = flat_names(r->source);
        const char *name = g_hash_table_lookup(r->flat_names, module + strlen(flat_prefixes[i]));
        if (name)
            add_target(targets, g_strdup(name), 0, 0);
        return;
    }
    if (has_module(r->source, module, tensor)) {
        add_target(targets, g_strdup(module), 0, 0);
        return;
    }
    for (const LfLayout *const *layout = lf_layouts; *layout && targets->len == 0; layout++)
        for (const LfLayoutName *row = (*layout)->names; row->theirs; row++) {
            char *name = row->ours ? lf_layout_rename(module, row->theirs, row->ours) : NULL;
            if (name && has_module(r->source, name, tensor))
                add_target(targets, name, row->share, row->n_shares);
            else
                g_free(name);
        }
}

/* The modules of the weights that a module of the file updates. Whatever stands before the name, up
 * to a dot, is what a trainer put there: the longest name that the weights have is meant. */
static GArray *targets_of(Reading *r, const char *module, const char *tensor)
{
    enum { MAX_PREFIXES = 16 };
    GArray *targets = g_array_new(false, false, sizeof(Target));
    g_array_set_clear_func(targets, target_clear);
    for (int i = 0; i < MAX_PREFIXES && module && targets->len == 0; i++) {
        add_targets(r, module, tensor, targets);
        module = strchr(module, '.');
        module += module != NULL;
    }
    return targets;
}

/* ---- updates --------------------------------------------------------------------------------- */

/* Columns of a tensor: the product of all dimensions but the first. */
static int64_t columns_of(const LfFileTensor *t)
{
    return t->n_dims > 0 && t->shape[0] > 0 ? lf_file_tensor_count(t) / t->shape[0]
                                            : lf_file_tensor_count(t);
}

static int64_t rows_of(const LfFileTensor *t)
{
    return t->n_dims > 0 ? t->shape[0] : 1;
}

static bool add_update(Reading *r, const Target *target, const char *tensor, const LfUpdate *update,
                       GError **error)
{
    g_autofree char *name = g_strconcat(target->name, ".", tensor, NULL);
    const LfFileTensor *weight = lf_weight_source_find(r->source, name, error);
    if (!weight)
        return false;
    int64_t rows = rows_of(&update->up);
    int64_t columns = columns_of(update->rank ? &update->down : &update->up);
    bool fits = update->rank ? rows == rows_of(weight) && columns == columns_of(weight)
                             : lf_file_tensor_count(&update->up) == lf_file_tensor_count(weight);
    if (!fits) {
        g_autofree char *shape = lf_shape_text(weight->n_dims, weight->shape);
        return refuse(r, error, LF_ERROR_SHAPE,
                      "it is made for another model: its update of %s is [%" G_GINT64_FORMAT
                      ", %" G_GINT64_FORMAT "], the model's is %s",
                      name, rows, columns, shape);
    }
    if (update->scale == 0)
        return true;
    GArray *updates = g_hash_table_lookup(r->source->updates, name);
    if (!updates) {
        updates = g_array_new(false, false, sizeof(LfUpdate));
        g_hash_table_insert(r->source->updates, g_strdup(name), updates);
    }
    g_array_append_vals(updates, update, 1);
    return true;
}

static void note_unmatched(Reading *r, const char *module)
{
    enum { NAMED = 3 };
    if (r->n_unmatched < NAMED)
        g_string_append_printf(r->unmatched, "%s%s", r->n_unmatched ? ", " : "", module);
    else if (r->n_unmatched == NAMED)
        g_string_append(r->unmatched, ", …");
    r->n_unmatched++;
}

static bool add_product(Reading *r, const Module *module, GError **error)
{
    if (!module->down || !module->up)
        return refuse(r, error, LF_ERROR_FORMAT, "%s has %s matrix", module->name,
                      module->down ? "a down (A) and no up (B)" : "no down (A)");
    int64_t rank = rows_of(module->down);
    if (rank < 1 || module->up->n_dims < 2 || columns_of(module->up) != rank) {
        g_autofree char *down = lf_shape_text(module->down->n_dims, module->down->shape);
        g_autofree char *up = lf_shape_text(module->up->n_dims, module->up->shape);
        return refuse(r, error, LF_ERROR_SHAPE, "%s: %s and %s have no rank in common",
                      module->name, down, up);
    }
    float alpha = (float) rank;
    if (module->alpha && lf_file_tensor_count(module->alpha) == 1)
        lf_file_tensor_read(module->alpha, 0, 1, &alpha);
    g_autoptr(GArray) targets = targets_of(r, module->name, "weight");
    if (targets->len == 0)
        note_unmatched(r, module->name);
    for (guint i = 0; i < targets->len; i++) {
        const Target *target = &g_array_index(targets, Target, i);
        LfUpdate update = {.down = *module->down,
                           .up = lf_file_tensor_share(module->up, target->share, target->n_shares),
                           .rank = rank,
                           .scale = (float) (r->strength * (double) alpha / (double) rank)};
        if (!add_update(r, target, "weight", &update, error))
            return false;
    }
    return true;
}

/* Norms without weights get a difference of zeros from some programs. */
static bool is_zero(const LfFileTensor *t)
{
    const char *bytes = t->data;
    return t->size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, t->size - 1) == 0);
}

static bool add_difference(Reading *r, const Module *module, const LfFileTensor *difference,
                           const char *tensor, GError **error)
{
    g_autoptr(GArray) targets = targets_of(r, module->name, tensor);
    if (targets->len == 0 && !is_zero(difference))
        note_unmatched(r, module->name);
    for (guint i = 0; i < targets->len; i++) {
        const Target *target = &g_array_index(targets, Target, i);
        LfUpdate update = {.up = lf_file_tensor_share(difference, target->share, target->n_shares),
                           .scale = (float) r->strength};
        if (!add_update(r, target, tensor, &update, error))
            return false;
    }
    return true;
}

/* Parts that only image-to-video models have, as the ends of their modules' names, or within these. */
static bool is_of_picture(const char *module)
{
    static const char *const words[] = {"k_img",      "v_img",      "img_emb",
                                        "add_k_proj", "add_v_proj", "image_embedder"};
    for (gsize i = 0; i < G_N_ELEMENTS(words); i++)
        if (strstr(module, words[i]))
            return true;
    return false;
}

static bool add_module(Reading *r, const Module *module, GError **error)
{
    if (is_of_picture(module->name)) {
        r->n_of_picture++;
        return true;
    }
    if ((module->down || module->up) && !add_product(r, module, error))
        return false;
    for (gsize i = 0; i < G_N_ELEMENTS(endings); i++)
        if (module->differences[i] &&
            !add_difference(r, module, module->differences[i], endings[i].of, error))
            return false;
    return true;
}

static bool add_modules(Reading *r, GError **error)
{
    for (guint i = 0; i < r->modules->len; i++)
        if (!add_module(r, r->modules->pdata[i], error))
            return false;
    if (r->modules->len == 0)
        return refuse(r, error, LF_ERROR_FORMAT, "it has no tensors");
    if (r->n_unmatched > 0)
        return refuse(r, error, LF_ERROR_SHAPE,
                      "the model has no weights for %d of its %u modules (%s): it is made for "
                      "another model",
                      r->n_unmatched, r->modules->len, r->unmatched->str);
    if (r->n_of_picture == (int) r->modules->len)
        return refuse(r, error, LF_ERROR_SHAPE,
                      "all of its modules are for the picture that image-to-video models begin "
                      "with: use one made for text-to-video");
    return true;
}

static char *notice_of(const Reading *r)
{
    if (r->n_of_picture == 0)
        return NULL;
    return g_strdup_printf("%d of its %u modules are for the picture that image-to-video models "
                           "begin with: they are left out",
                           r->n_of_picture, r->modules->len);
}

bool lf_weight_source_add_lora(LfWeightSource *source, LfTensorFile *file, double strength,
                               char **notice, GError **error)
{
    *notice = NULL;
    Reading r = {.source = source, .file = file, .strength = strength};
    if (!source->file)
        return refuse(&r, error, LF_ERROR_UNSUPPORTED, "random weights take no LoRA");
    g_autoptr(LfRecognised) recognised = lf_recognise(file, LF_FILE_LORA, NULL);
    if (recognised->layout)
        return refuse(&r, error, LF_ERROR_FORMAT, "it is a %s, no LoRA",
                      lf_file_kind_name(recognised->kind));
    r.modules = g_ptr_array_new_with_free_func(module_free);
    r.by_name = g_hash_table_new(lf_name_hash, g_str_equal);
    r.unmatched = g_string_new(NULL);
    bool added = read_modules(&r, error) && add_modules(&r, error);
    *notice = added ? notice_of(&r) : NULL;
    g_ptr_array_add(source->loras, lf_tensor_file_ref(file));
    g_string_free(r.unmatched, true);
    g_hash_table_unref(r.by_name);
    g_ptr_array_unref(r.modules);
    if (r.flat_names)
        g_hash_table_unref(r.flat_names);
    return added;
}

/* ---- merging --------------------------------------------------------------------------------- */

const GArray *lf_lora_updates(const LfWeightSource *source, const char *name)
{
    return g_hash_table_lookup(source->updates, name);
}

static float *floats_of(const LfFileTensor *t)
{
    int64_t count = lf_file_tensor_count(t);
    float *values = g_new(float, MAX(count, 1));
    lf_file_tensor_read(t, 0, count, values);
    return values;
}

static void add_difference_rows(const LfUpdate *u, float *values, int64_t start, int64_t count)
{
    g_autofree float *difference = floats_of(&u->up);
    for (int64_t i = 0; i < count; i++)
        values[i] += u->scale * difference[start + i];
}

/* Row by row: the sum over the rank first, then one product with the scale. */
static void add_product_rows(const LfUpdate *u, float *values, int64_t first, int64_t n_rows,
                             int64_t columns)
{
    g_autofree float *down = floats_of(&u->down), *up = floats_of(&u->up);
#pragma omp parallel for
    for (int64_t row = 0; row < n_rows; row++) {
        float *sum = g_new0(float, columns);
        for (int64_t k = 0; k < u->rank; k++) {
            float factor = up[(first + row) * u->rank + k];
            for (int64_t i = 0; i < columns; i++)
                sum[i] += factor * down[k * columns + i];
        }
        for (int64_t i = 0; i < columns; i++)
            values[row * columns + i] += u->scale * sum[i];
        g_free(sum);
    }
}

void lf_lora_apply(const GArray *updates, float *values, int64_t first, int64_t n_rows,
                   int64_t columns)
{
    for (guint i = 0; i < updates->len; i++) {
        const LfUpdate *u = &g_array_index(updates, LfUpdate, i);
        if (u->rank)
            add_product_rows(u, values, first, n_rows, columns);
        else
            add_difference_rows(u, values, first * columns, n_rows * columns);
    }
}
