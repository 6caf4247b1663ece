/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What a model or a file of tensors holds.
 */
#include "cli.h"
#include "engine/files/tensor_file.h"

#include <stdio.h>

static const CliHelp help = {
    .operands = "DIR|FILE",
    .max_operands = 1,
    .summary =
        "Shows what a model directory or a file of tensors (safetensors, PyTorch, GGUF) holds,\n"
        "checks the names and shapes of all tensors, and plans the memory of a stream.",
    .description =
        "Examples:\n"
        "  lightforcing info models/demo\n"
        "  lightforcing info diffusion_pytorch_model.safetensors\n"
        "  lightforcing info DIR --width 768 --height 512 --precision fp8\n\n"
        "Exit status: 0 nothing is missing, 1 something is missing, does not fit or cannot "
        "be read,\n"
        "2 wrong arguments.\n"};

typedef struct {
    CliOptions common;
    int width, height;       /* 0: the model's */
    gboolean list;           /* every tensor of a model */
    gboolean is_transformer; /* the lone file */
    GPtrArray *missing;      /* messages */
} Info;

/* ---- files of tensors ------------------------------------------------------------------------ */

static void print_tensors(const LfTensorFile *file)
{
    for (size_t i = 0; i < lf_tensor_file_count(file); i++) {
        const LfFileTensor *t = lf_tensor_file_nth(file, i);
        const char *what = lf_tensor_file_unreadable(file, t->name);
        g_autofree char *shape = lf_shape_text(t->n_dims, t->shape);
        if (what)
            printf("  %-60s not readable: %s\n", t->name, what);
        else
            printf("  %-60s %-7s %-24s %10.3f MB\n", t->name, lf_file_tensor_type_name(t), shape,
                   (double) t->size / 1e6);
    }
}

/* "transformer.safetensors: safetensors, 209 tensors, 8.06 M parameters, 16.1 MB (BF16 209)" */
static void print_file(const char *label, const LfTensorFile *file)
{
    double size = 0, parameters = 0;
    g_autofree char *types = lf_tensor_file_types(file);
    g_autofree char *name = g_path_get_basename(lf_tensor_file_path(file));
    for (size_t i = 0; i < lf_tensor_file_count(file); i++) {
        const LfFileTensor *t = lf_tensor_file_nth(file, i);
        size += (double) t->size;
        parameters += (double) lf_file_tensor_count(t);
    }
    printf("%-13s %s: %s, %zu tensors, %.4g M parameters, %.1f MB (%s)\n", label, name,
           lf_tensor_file_format(file), lf_tensor_file_count(file), parameters / 1e6, size / 1e6,
           types);
}

/* ---- findings -------------------------------------------------------------------------------- */

static void keep_problem(Info *info, const LfFinding *f)
{
    if (f->problem)
        g_ptr_array_add(info->missing, g_strdup_printf("%s: %s", f->subject, f->problem));
}

static void on_part_of_file(const LfFinding *f, gpointer info)
{
    ((Info *) info)->is_transformer |= g_str_equal(f->subject, "transformer") && !f->problem;
    printf("%-13s as a model's %s:\n", "", f->subject);
    if (f->description)
        printf("%-13s %s\n", "", f->description);
    keep_problem(info, f);
}

static void on_part_of_model(const LfFinding *f, gpointer data)
{
    Info *info = data;
    LfTensorFile *file = f->tensors ? lf_tensor_file_open(f->tensors, NULL) : NULL;
    if (file)
        print_file(f->subject, file);
    if (f->description)
        printf("%-13s %s\n", file ? "" : f->subject, f->description);
    if (file && info->list)
        print_tensors(file);
    lf_tensor_file_unref(file);
    keep_problem(info, f);
}

static bool print_lone_file(Info *info, const char *path, GError **error)
{
    LfTensorFile *file = lf_tensor_file_open(path, error);
    if (!file)
        return false;
    print_file("file", file);
    bool inspected = lf_inspect_file(path, on_part_of_file, info, error);
    if (inspected)
        print_tensors(file);
    lf_tensor_file_unref(file);
    return inspected;
}

/* A model without a text encoder or a decoder can be what somebody wants: it is listed like any
 * other, and the status says that a part is missing. */
static int print_missing(const Info *info)
{
    for (guint i = 0; i < info->missing->len; i++)
        printf("%-13s %s\n", i == 0 ? "missing" : "", (char *) info->missing->pdata[i]);
    if (info->missing->len == 0)
        printf("%-13s nothing\n", "missing");
    return info->missing->len == 0 ? CLI_DONE : CLI_FAILED;
}

/* A checkpoint is shown as a file, and as the model that it is with what is found around it. */
static bool print_checkpoint(Info *info, const char *path, GError **error)
{
    if (!print_lone_file(info, path, error))
        return false;
    if (!info->is_transformer)
        return true;
    printf("\nAs model-location:\n");
    return lf_inspect_model(path, on_part_of_model, info, error);
}

/* What a stream of the model would need. What is wrong with the model was told before. */
static void print_memory(const Info *info, const char *location)
{
    g_autoptr(GError) error = NULL;
    LfModelOptions model = cli_model_options(&info->common);
    LfSessionOptions session = cli_session_options(&info->common);
    LfModelInfo parts;
    LfMemoryPlan plan;
    if (!lf_model_probe(location, &model, &parts, NULL))
        return;
    session.width = info->width;
    session.height = info->height;
    session.no_text = !parts.can_encode;
    session.no_decoder = !parts.can_decode;
    if (!lf_memory_plan(location, &model, &session, &plan, &error)) {
        printf("%-13s not planned: %s\n", "memory", error->message);
        return;
    }
    g_autofree char *text = lf_memory_plan_text(&plan);
    printf("%s\n", text);
}

static int run(Info *info, const char *location)
{
    GError *error = NULL;
    g_autofree char *name = g_path_get_basename(location);
    bool is_model = g_file_test(location, G_FILE_TEST_IS_DIR) || g_str_equal(name, "model.json");
    bool shown = is_model ? lf_inspect_model(location, on_part_of_model, info, &error)
                          : print_checkpoint(info, location, &error);
    if (!shown)
        return cli_failed("info", error);
    if (is_model || info->is_transformer)
        print_memory(info, location);
    return print_missing(info);
}

int cli_info(int argc, char **argv)
{
    Info info = {.common = CLI_OPTIONS_INIT};
    CliOptions *o = &info.common;
    int status;
    const GOptionEntry entries[] = {
        {"tensors", 'l', 0, G_OPTION_ARG_NONE, &info.list,
         "Also list every tensor of a model's files", NULL},
        {"width", 0, 0, G_OPTION_ARG_INT, &info.width, "Pixels (0 = model default)", "N"},
        {"height", 0, 0, G_OPTION_ARG_INT, &info.height, "Pixels (0 = model default)", "N"},
        {"window", 'w', 0, G_OPTION_ARG_INT, &o->window,
         "Attention window in latent frames (-1 = model default, 0 = unlimited)", "N"},
        {"chunk", 0, 0, G_OPTION_ARG_INT, &o->chunk,
         "Latent frames of a chunk (default: 0 = model default)", "N"},
        {"backend", 'b', 0, G_OPTION_ARG_STRING, &o->backend, "auto (default), cpu, cuda or cuda:1",
         "NAME"},
        {"precision", 0, 0, G_OPTION_ARG_STRING, &o->precision, "auto (default), fp32, bf16 or fp8",
         "NAME"},
        {"text-encoder-device", 0, 0, G_OPTION_ARG_STRING, &o->text_encoder_device,
         "auto (default), device, stream or cpu", "NAME"},
        {NULL}};
    info.missing = g_ptr_array_new_with_free_func(g_free);
    if (cli_parse(&help, entries, NULL, &argc, &argv, &status) && cli_check(o, "info", &status))
        status = argc < 2 ? cli_misused("info", "name a model directory or a file of tensors")
                          : run(&info, argv[1]);
    g_ptr_array_unref(info.missing);
    cli_options_clear(o);
    return status;
}
