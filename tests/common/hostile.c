/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hostile.h"

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

static volatile uint8_t nothing; /* where reading leads, so that it is not left out */

static uint8_t touch(const LfTensorFile *file)
{
    uint8_t all = 0;
    for (size_t i = 0; i < lf_tensor_file_count(file); i++) {
        const LfFileTensor *t = lf_tensor_file_nth(file, i);
        g_assert_true(g_utf8_validate(t->name, -1, NULL));
        for (size_t b = 0; b < t->size; b++)
            all ^= ((const uint8_t *) t->data)[b];
    }
    return all;
}

GError *lf_hostile_open(const char *suffix, const void *bytes, gsize size)
{
    GError *error = NULL;
    g_autofree char *pattern = g_strconcat("lightforcing-XXXXXX", suffix, NULL);
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp(pattern, &path, &error);
    g_assert_no_error(error);
    g_assert_cmpint(write(fd, bytes, size), ==, (gssize) size);
    close(fd);
    LfTensorFile *file = lf_tensor_file_open(path, &error);
    g_assert_true((file != NULL) == (error == NULL));
    if (file) {
        nothing = touch(file);
    }
    lf_tensor_file_unref(file);
    g_unlink(path);
    return error;
}

void lf_hostile_truncate(const char *suffix, const void *bytes, gsize size)
{
    for (gsize n = 0; n < size; n++) {
        g_autoptr(GError) error = lf_hostile_open(suffix, bytes, n);
        if (!error)
            g_error("the first %zu of %zu bytes were taken for a whole file", n, size);
        g_assert_true(error->domain == LF_ERROR);
    }
}

void lf_hostile_flip(const char *suffix, const void *bytes, gsize size, gsize head, gsize tail,
                     int rounds)
{
    g_autofree uint8_t *damaged = g_malloc(size);
    gsize places = head + (size - tail);
    int refused = 0;
    for (int round = 0; round < rounds; round++) {
        memcpy(damaged, bytes, size);
        for (int n = g_test_rand_int_range(1, 9); n > 0; n--) {
            gsize at = (gsize) g_test_rand_int_range(0, (int) places);
            damaged[at < head ? at : tail + at - head] = (uint8_t) g_test_rand_int_range(0, 256);
        }
        g_autoptr(GError) error = lf_hostile_open(suffix, damaged, size);
        g_assert_true(!error || error->domain == LF_ERROR);
        refused += error != NULL;
    }
    g_test_message("%d of %d damaged files refused", refused, rounds);
}
