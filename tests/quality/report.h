/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef LF_QUALITY_REPORT_H
#define LF_QUALITY_REPORT_H

#include "run.h"

typedef struct {
    const char *model; /* its name and description; NULL: everything was drawn */
    Plan plan;
    const Setting *settings;
    const Score *scores;
    int n_settings;
} Report;

void report_print(const Report *report);

/* For programs. Transfer full. */
char *report_json(const Report *report);

/* Prints one line, prompt and frames, when what a stream shows differs from its prompt. */
void report_wrong(const Setting *setting, const Script *script, const Scene *wanted,
                  const Verdict *verdict, gpointer nothing);

#endif
