/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * libcuda.so.1 where there is no driver: kernels/open.c only looks whether there is one.
 */
int lf_test_driver;
int lf_test_driver = 1;
