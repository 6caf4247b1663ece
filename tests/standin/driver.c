/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * In place of libcuda.so.1, which kernels/open.c looks for before it opens the module.
 */
int cuInit(unsigned flags);

int cuInit(unsigned flags)
{
    return 0;
}
