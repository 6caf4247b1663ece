/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli.h"

#include <locale.h>
#include <stdio.h>

static const struct {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"info", "what a model or a file of tensors holds, and what is missing", cli_info},
    {"bench", "time a stream, chunk by chunk", cli_bench},
    {"replay", "run the chunk loop on given numbers", cli_replay},
};

static void print_usage(FILE *out)
{
    fputs("Usage: lightforcing COMMAND [OPTION…]\n\n", out);
    for (guint i = 0; i < G_N_ELEMENTS(commands); i++)
        fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].summary);
    fputs("\nlightforcing COMMAND --help tells the options of a command.\n", out);
}

static int run(int argc, char **argv)
{
    for (guint i = 0; i < G_N_ELEMENTS(commands); i++)
        if (g_str_equal(argv[0], commands[i].name)) {
            g_autofree char *name = g_strconcat("lightforcing ", argv[0], NULL);
            g_set_prgname(name);
            return commands[i].run(argc, argv);
        }
    fprintf(stderr, "lightforcing: no command \"%s\"\n\n", argv[0]);
    print_usage(stderr);
    return CLI_USAGE;
}

int main(int argc, char **argv)
{
    setlocale(LC_ALL, "");
    if (argc < 2) {
        print_usage(stderr);
        return CLI_USAGE;
    }
    if (g_str_equal(argv[1], "--help") || g_str_equal(argv[1], "-h")) {
        print_usage(stdout);
        return CLI_DONE;
    }
    if (g_str_equal(argv[1], "--version")) {
        puts("lightforcing " LF_VERSION);
        return CLI_DONE;
    }
    return run(argc - 1, argv + 1);
}
