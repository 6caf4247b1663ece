/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The families of published checkpoints, and how each is sampled.
 */
#include "cli.h"
#include "engine/files/family.h"
#include "engine/files/published.h"

#include <stdio.h>

static const CliHelp help = {
    .operands = "[FAMILY]",
    .max_operands = 1,
    .summary =
        "Lists the families of published checkpoints: how each is sampled unless properties or\n"
        "model.json say otherwise, and where it is published.",
    .description = "Examples:\n"
                   "  lightforcing families\n"
                   "  lightforcing families longlive\n\n"
                   "Exit status: 0 success, 1 no such family, 2 wrong arguments.\n"};

static void print_family(const LfFamily *f)
{
    printf("%s: %s\n", f->name, f->title);
    printf("  %s %s on Hugging Face, %s\n", f->repository, f->file, f->licence);
    g_autofree char *steps = lf_steps_text(&f->steps);
    g_autofree char *first_steps = lf_steps_text(&f->first_steps);
    printf("  chunks of %d, steps %s", f->chunk, steps);
    if (*first_steps)
        printf(" (first chunk %s)", first_steps);
    if (f->no_warp)
        printf(", not shifted");
    else
        printf(", shift %g", f->shift);
    if (f->window)
        printf(", window %d, sink %d", f->window, f->sink);
    else
        printf(", window unlimited");
    printf(", %s attention\n", f->sparse ? "sparse" : "dense");
    if (f->copy)
        printf("  Copy: %s.\n", f->copy);
    if (f->differs)
        printf("  Note: %s.\n", f->differs);
}

static void print_parts(void)
{
    puts("Beside the transformer, all of them need:");
    for (const LfPublished *p = lf_published; p->file; p++)
        printf("  %-13s %s %s (%s, %.0f MB, %s)\n", lf_part_name(p->part), p->repository, p->file,
               p->note, p->megabytes, p->licence);
}

int cli_families(int argc, char **argv)
{
    const GOptionEntry none[] = {{NULL}};
    GError *error = NULL;
    int status;
    if (!cli_parse(&help, none, NULL, &argc, &argv, &status))
        return status;
    const LfFamily *one = argc > 1 ? lf_family_named(argv[1]) : NULL;
    if (argc > 1 && !one) {
        lf_family_refuse(argv[1], &error);
        return cli_failed("families", error);
    }
    for (const LfFamily *f = one ? one : lf_families; f->name; f++) {
        print_family(f);
        if (one)
            break;
        puts("");
    }
    print_parts();
    return CLI_DONE;
}
