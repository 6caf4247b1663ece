/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A copy of a part is a layout and a prefix, found by the layout's signs. Of several copies of one
 * part the words in their prefixes decide, then the length of the prefixes.
 */
#include "recognise.h"

#include "base_models.h"
#include "lora.h"
#include "refusals.h"

#include <string.h>

enum { MAX_COPIES = 64 }; /* a file with more is no checkpoint */

typedef enum { PLAIN, AVERAGED, NEVER } Kind;

/* Dictionaries and attributes of trainers, the better ones of a kind first. */
static const struct {
    const char *word;
    Kind kind;
} words[] = {
    {"generator_ema", AVERAGED},
    {"ema_generator", AVERAGED},
    {"generator", PLAIN},
    {"student_ema", AVERAGED},
    {"student", PLAIN},
    {"ema_model", AVERAGED},
    {"model_ema", AVERAGED},
    {"net_ema", AVERAGED},
    {"ema", AVERAGED},
    {"state_dict", PLAIN},
    {"model", PLAIN},
    {"module", PLAIN},
    {"net", PLAIN},
    {"critic", NEVER},
    {"critic_ema", NEVER},
    {"critic_lora", NEVER},
    {"teacher", NEVER},
    {"net_teacher", NEVER},
    {"fake_score", NEVER},
    {"net_fake_score", NEVER},
    {"real_score", NEVER},
    {"discriminator", NEVER},
    {"optimizer", NEVER},
    {"critic_optimizer", NEVER},
    {"generator_optimizer", NEVER},
    {"optimizer_states", NEVER},
    {"lr_schedulers", NEVER},
};

/* The row of the word that `name` begins with, or −1. `length` gets the word's, known or not. */
static int word_at(const char *name, gsize *length)
{
    *length = strcspn(name, ".");
    for (gsize i = 0; i < G_N_ELEMENTS(words); i++)
        if (strlen(words[i].word) == *length && strncmp(words[i].word, name, *length) == 0)
            return (int) i;
    return -1;
}

typedef struct {
    const LfLayout *layout;
    char *prefix; /* "" or ends with '.' */
    Kind kind;
    int row; /* of the word that decides, or −1 */
} Copy;

typedef struct {
    const LfTensorFile *file;
    GPtrArray *names; /* of the tensors, without wrappers */
    GArray *copies;
} Reading;

static void copy_clear(gpointer copy)
{
    g_free(((Copy *) copy)->prefix);
}

const char *lf_file_kind_name(LfFileKind kind)
{
    static const char *const names[LF_N_FILE_KINDS] = {"nothing known", "transformer",
                                                       "text encoder", "decoder", "LoRA"};
    return names[kind];
}

/* ---- copies ---------------------------------------------------------------------------------- */

/* A copy is what its first word of a kind other than PLAIN says; else its first known word names
 * it. */
static void classify(Copy *copy)
{
    gsize length;
    copy->row = -1;
    for (const char *at = copy->prefix; *at; at += length + 1) {
        int row = word_at(at, &length);
        if (row < 0)
            continue;
        if (words[row].kind != PLAIN && copy->kind == PLAIN) {
            copy->row = row;
            copy->kind = words[row].kind;
        } else if (copy->row < 0) {
            copy->row = row;
        }
    }
}

static char *copy_name(const Copy *copy)
{
    return copy->row >= 0 ? g_strdup(words[copy->row].word)
                          : g_strndup(copy->prefix, strcspn(copy->prefix, "."));
}

/* Layouts come in their order, so that the first one of a part keeps a prefix. */
static void add_copy(Reading *in, const LfLayout *layout, const char *name, int length)
{
    Copy copy = {.layout = layout, .prefix = g_strndup(name, (gsize) length)};
    for (guint i = 0; i < in->copies->len; i++) {
        const Copy *other = &g_array_index(in->copies, Copy, i);
        if (other->layout->kind == layout->kind && strcmp(other->prefix, copy.prefix) == 0) {
            g_free(copy.prefix);
            return;
        }
    }
    classify(&copy);
    g_array_append_val(in->copies, copy);
}

static void find_copies(Reading *in)
{
    for (const LfLayout *const *layout = lf_layouts; *layout; layout++)
        for (guint i = 0; i < in->names->len && in->copies->len < MAX_COPIES; i++) {
            const char *name = in->names->pdata[i];
            int length = lf_layout_prefix(*layout, name, lf_tensor_file_nth(in->file, i)->n_dims);
            if (length >= 0)
                add_copy(in, *layout, name, length);
        }
}

static bool has_word(const char *prefix, const char *word)
{
    gsize length = strlen(word);
    for (const char *at = prefix; *at; at = strchr(at, '.') + 1)
        if (strncmp(at, word, length) == 0 && at[length] == '.')
            return true;
    return false;
}

/* What the caller prefers. */
typedef struct {
    Kind kind;
    const char *word; /* a dictionary of another name, which is required; or NULL */
} Wish;

static Wish wish_of(const char *copy)
{
    if (!copy || strcmp(copy, "generator_ema") == 0)
        return (Wish){AVERAGED, NULL};
    return (Wish){PLAIN, strcmp(copy, "generator") == 0 ? NULL : copy};
}

static bool is_better(const Copy *a, const Copy *b, Kind kind)
{
    int row_a = *a->prefix == '\0' ? -1 : a->row < 0 ? G_MAXINT : a->row;
    int row_b = *b->prefix == '\0' ? -1 : b->row < 0 ? G_MAXINT : b->row;
    if ((a->kind == kind) != (b->kind == kind))
        return a->kind == kind;
    if (row_a != row_b)
        return row_a < row_b;
    gsize length_a = strlen(a->prefix), length_b = strlen(b->prefix);
    return length_a != length_b ? length_a < length_b : strcmp(a->prefix, b->prefix) < 0;
}

/* The best copy of a part for a wish, or NULL. */
static const Copy *best_copy(const Reading *in, LfFileKind kind, Wish wish)
{
    const Copy *best = NULL;
    for (guint i = 0; i < in->copies->len; i++) {
        const Copy *copy = &g_array_index(in->copies, Copy, i);
        if (copy->layout->kind == kind && copy->kind != NEVER &&
            (!wish.word || has_word(copy->prefix, wish.word)) &&
            (!best || is_better(copy, best, wish.kind)))
            best = copy;
    }
    return best;
}

/* Adds a sentence to the notice. */
static void notice(LfRecognised *r, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void notice(LfRecognised *r, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    g_autofree char *before = r->notice;
    va_end(arguments);
    r->notice = before ? g_strconcat(before, "; ", text, NULL) : g_strdup(text);
}

/* ---- the copy that is taken ------------------------------------------------------------------ */

static void take(LfRecognised *r, const Reading *in, const Copy *copy)
{
    GPtrArray *names = g_ptr_array_new(), *others = g_ptr_array_new();
    r->kind = copy->layout->kind;
    r->layout = copy->layout;
    g_free(r->copy);
    g_free(r->prefix);
    g_strfreev(r->copies);
    g_strfreev(r->others);
    r->copy = copy_name(copy);
    r->prefix = g_strdup(copy->prefix);
    g_ptr_array_add(names, g_strdup(r->copy));
    for (guint i = 0; i < in->copies->len; i++) {
        const Copy *other = &g_array_index(in->copies, Copy, i);
        if (other == copy)
            continue;
        if (other->layout->kind == r->kind)
            g_ptr_array_add(names, copy_name(other));
        if (strcmp(other->prefix, r->prefix) != 0)
            g_ptr_array_add(others, g_strdup(other->prefix));
    }
    g_ptr_array_add(names, NULL);
    g_ptr_array_add(others, NULL);
    r->copies = (char **) g_ptr_array_free(names, FALSE);
    r->others = (char **) g_ptr_array_free(others, FALSE);
}

const char *lf_recognised_name(const LfRecognised *r, const char *name)
{
    gsize length = strlen(r->prefix);
    if (strncmp(name, r->prefix, length) != 0)
        return NULL;
    for (char **other = r->others; *other; other++)
        if (strlen(*other) > length && g_str_has_prefix(name, *other))
            return NULL;
    int row = r->layout ? word_at(name + length, &(gsize){0}) : -1;
    return row >= 0 && words[row].kind != PLAIN ? NULL : name + length;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *) a, *(char *const *) b);
}

/* The names within the copy that was taken, sorted. */
static GPtrArray *names_of(const LfRecognised *r, const Reading *in)
{
    GPtrArray *names = g_ptr_array_new();
    for (guint i = 0; i < in->names->len; i++) {
        const char *name = lf_recognised_name(r, in->names->pdata[i]);
        if (name)
            g_ptr_array_add(names, (gpointer) name);
    }
    g_ptr_array_sort(names, by_text);
    return names;
}

/* How many of the names in `all` are not in `some`; both are sorted. */
static guint count_missing(const GPtrArray *some, const GPtrArray *all)
{
    guint missing = 0, at = 0;
    for (guint i = 0; i < all->len; i++) {
        while (at < some->len && strcmp(some->pdata[at], all->pdata[i]) < 0)
            at++;
        missing += at == some->len || strcmp(some->pdata[at], all->pdata[i]) != 0;
    }
    return missing;
}

/* An average that lacks tensors of the model that it averages is of no use. */
static void prefer_complete(LfRecognised *r, const Reading *in, const Copy *taken)
{
    const Copy *plain = best_copy(in, r->kind, (Wish){PLAIN, NULL});
    if (taken->kind != AVERAGED || !plain || plain == taken || plain->layout != taken->layout)
        return;
    g_autofree char *averaged = g_strdup(r->copy);
    g_autoptr(GPtrArray) some = names_of(r, in);
    take(r, in, plain);
    g_autoptr(GPtrArray) all = names_of(r, in);
    guint missing = count_missing(some, all);
    if (missing == 0) {
        take(r, in, taken);
        return;
    }
    notice(r, "its %s lacks %u of %u tensors: %s is read instead", averaged, missing, all->len,
           *r->copy ? r->copy : "the other copy");
}

/* ---- parts ----------------------------------------------------------------------------------- */

bool lf_recognise_never(const char *name)
{
    for (gsize length; *name; name += length + (name[length] == '.')) {
        int row = word_at(name, &length);
        if (row >= 0 && words[row].kind == NEVER)
            return true;
    }
    return false;
}

/* Tensors of LoRAs, except those of critics; the first of them in `first`. */
static guint count_lora(const Reading *in, const char **first)
{
    guint n = 0;
    for (guint i = 0; i < in->names->len; i++) {
        const char *name = in->names->pdata[i];
        if (!lf_lora_is_name(name) || lf_recognise_never(name))
            continue;
        if (n++ == 0)
            *first = name;
    }
    return n;
}

/* An average so incomplete that it lacks the tensors that tell a copy. */
static bool has_rest_of_average(const Reading *in)
{
    for (guint i = 0; i < in->names->len; i++) {
        int row = word_at(in->names->pdata[i], &(gsize){0});
        if (row >= 0 && words[row].kind == AVERAGED)
            return true;
    }
    return false;
}

/* A named copy has to be there: the message lists those that are. */
static char *no_copy(const Reading *in, LfFileKind kind, const char *copy)
{
    g_autoptr(GString) list = g_string_new(NULL);
    for (guint i = 0; i < in->copies->len; i++) {
        const Copy *other = &g_array_index(in->copies, Copy, i);
        g_autofree char *name = copy_name(other);
        if (other->layout->kind == kind && other->kind != NEVER)
            g_string_append_printf(list, "%s\"%s\"", list->len ? ", " : "", name);
    }
    return g_strdup_printf("it has no copy \"%s\" of the %s: there is %s", copy,
                           lf_file_kind_name(kind), list->str);
}

static bool take_part(LfRecognised *r, const Reading *in, LfFileKind kind, const char *copy)
{
    Wish wish = wish_of(copy);
    const Copy *taken = best_copy(in, kind, wish);
    if (!taken && wish.word) {
        taken = best_copy(in, kind, (Wish){AVERAGED, NULL});
        if (taken)
            r->problem = no_copy(in, kind, copy);
    }
    if (!taken)
        return false;
    take(r, in, taken);
    prefer_complete(r, in, taken);
    if (!r->notice && taken->kind != AVERAGED && wish.kind == AVERAGED && has_rest_of_average(in))
        notice(r, "its average lacks most tensors: %s is read instead",
               *r->copy ? r->copy : "the other copy");
    if (copy && !wish.word && !r->notice && taken->kind != wish.kind)
        notice(r, "it has no %s: %s is read", copy, *r->copy ? r->copy : "its only copy");
    return true;
}

static bool take_any(LfRecognised *r, const Reading *in, const char *copy)
{
    const char *first;
    if (take_part(r, in, LF_FILE_TRANSFORMER, copy) ||
        take_part(r, in, LF_FILE_TEXT_ENCODER, copy) || take_part(r, in, LF_FILE_DECODER, copy))
        return true;
    if (2 * count_lora(in, &first) <= in->names->len)
        return false;
    r->kind = LF_FILE_LORA;
    return true;
}

/* Names of the first tensors, for a file of which nothing is known. */
static char *first_names(const Reading *in)
{
    enum { NAMED = 3, LONGEST = 80 };
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < MIN(in->names->len, NAMED); i++)
        g_string_append_printf(text, "%s%.*s", i ? ", " : "", LONGEST,
                               lf_tensor_file_nth(in->file, i)->name);
    return g_string_free(text, FALSE);
}

static char *unknown(const Reading *in)
{
    if (in->copies->len > 0) /* all of them NEVER */
        return g_strdup("it holds only a critic or a teacher, which makes no pictures");
    if (in->names->len == 0)
        return g_strdup("it has no tensors");
    g_autofree char *names = first_names(in);
    return g_strdup_printf("it is no part of a Wan 2.1 model: its first tensors are %s", names);
}

/* A LoRA beside whole weights would be left out without a word. */
static char *unmerged(const LfRecognised *r, const Reading *in)
{
    const char *first = NULL;
    guint n = r->layout ? count_lora(in, &first) : 0;
    if (n == 0)
        return NULL;
    return g_strdup_printf("it has an unmerged LoRA beside the model's weights (%u tensors, the "
                           "first is %s): merge it, or save both in files of their own",
                           n, first);
}

static void find_notices(LfRecognised *r, const Reading *in)
{
    const char *name = NULL;
    for (guint i = 0; i < in->names->len && !name && r->layout; i++) {
        name = lf_recognised_name(r, in->names->pdata[i]);
        name = name && lf_layout_is_second_set(name) ? name : NULL;
    }
    if (name)
        notice(r,
               "it has a second set of weights (%s), which is not used: the pictures are not "
               "those of its authors' sampler",
               name);
    r->teacher = r->layout == &lf_layout_wan && lf_is_base_model(lf_tensor_file_path(in->file));
    if (r->teacher)
        notice(r, "%s", lf_base_model_notice);
}

static void find_problem(LfRecognised *r, const Reading *in)
{
    LfRefusalInput input = {r, in->file, (const char *const *) in->names->pdata};
    if (!r->problem)
        r->problem = lf_refusal(&input);
    if (!r->problem)
        r->problem = unmerged(r, in);
    if (!r->problem && r->kind == LF_FILE_UNKNOWN)
        r->problem = unknown(in);
}

LfRecognised *lf_recognise(const LfTensorFile *file, LfFileKind kind, const char *copy)
{
    LfRecognised *r = g_new0(LfRecognised, 1);
    Reading in = {file, g_ptr_array_new_with_free_func(g_free),
                  g_array_new(false, false, sizeof(Copy))};
    g_array_set_clear_func(in.copies, copy_clear);
    for (size_t i = 0; i < lf_tensor_file_count(file); i++)
        g_ptr_array_add(in.names, lf_layout_unwrap(lf_tensor_file_nth(file, i)->name));
    r->copy = g_strdup("");
    r->prefix = g_strdup("");
    r->copies = g_new0(char *, 1);
    r->others = g_new0(char *, 1);
    find_copies(&in);
    if (kind == LF_FILE_UNKNOWN || kind == LF_FILE_LORA || !take_part(r, &in, kind, copy))
        take_any(r, &in, copy);
    find_problem(r, &in);
    find_notices(r, &in);
    g_array_unref(in.copies);
    g_ptr_array_unref(in.names);
    return r;
}

void lf_recognised_free(LfRecognised *r)
{
    if (!r)
        return;
    g_free(r->copy);
    g_free(r->prefix);
    g_strfreev(r->copies);
    g_strfreev(r->others);
    g_free(r->problem);
    g_free(r->notice);
    g_free(r);
}
