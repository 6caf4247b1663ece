/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli.h"

#include <locale.h>
#include <stdio.h>

static const struct {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"info", "show what a model or a file of tensors holds, and what is missing", cli_info},
    {"bench", "measure how fast a model runs on this machine", cli_bench},
    {"convert", "write a model as one folder that opens at the speed of the disk", cli_convert},
    {"families", "list the families of published checkpoints, and where they are", cli_families},
    {"replay", "run the sampler on recorded noise and text embeddings", cli_replay},
    {"decode", "decode the latents of a file with a decoder alone", cli_decode},
};

static void print_usage(FILE *out)
{
    fputs("Usage: lightforcing COMMAND [OPTION…]\n\n", out);
    for (guint i = 0; i < G_N_ELEMENTS(commands); i++)
        fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].summary);
    fputs(
        "\n"
        "See lightforcing COMMAND --help for the options of a command.\n"
        "lightforcing --version prints the version.\n\n"
        "To generate, play or record video, use the GStreamer element:\n"
        "  gst-launch-1.0 lightforcingsrc prompt=\"a red ball\" ! videoconvert ! autovideosink\n\n"
        "Exit status: 0 success, 1 failure (the cause is on stderr), 2 wrong arguments.\n",
        out);
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
