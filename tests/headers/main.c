/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A program that knows the public header alone, as C and, included by main.cc, as C++: its
 * functions link, and report an error of their domain.
 */
#include "engine/lightforcing.h"

int main(void)
{
    LfModelInfo info;
    GError *error = NULL;
    gboolean found = lf_model_probe("/dev/null/no-model", NULL, &info, &error);
    gboolean told = !found && error && error->domain == LF_ERROR && error->message[0];
    g_clear_error(&error);
    return told ? 0 : 1;
}
