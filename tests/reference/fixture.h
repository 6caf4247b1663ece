/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Shared by these tests: the numbers that both sides compute (README.md, "The generator"),
 * the small model made of them, the recorded results, and the measure.
 */
#ifndef LF_TESTS_REFERENCE_FIXTURE_H
#define LF_TESTS_REFERENCE_FIXTURE_H

#include "engine/files/tensor_file.h"

/* The small transformer and its picture. */
enum {
    REF_DIM = 64,
    REF_HEADS = 2,
    REF_FFN = 96,
    REF_LAYERS = 3,
    REF_TEXT_DIM = 40,
    REF_TEXT_LEN = 16,
    REF_TEXT_ROWS = 11,
    REF_FREQ_DIM = 32,
    REF_CHANNELS = 16,
    REF_CHUNK = 3,
    REF_LATENT_WIDTH = 10,
    REF_LATENT_HEIGHT = 6,
    REF_STEPS = 4
};

/* `count` numbers of the name's sequence, mean + scale·n. Transfer full (g_free). */
float *ref_numbers(const char *name, int64_t count, double scale, double mean);

/* A weight by the rule of its name and shape; `silent`: all zero. Transfer full. */
float *ref_weight(const char *name, int n_dims, const int64_t *shape, gboolean silent);

/* A list of LfFileTensor that owns their names and data, and that of a transformer of `layers`
 * layers, F32; `silent` as below. Transfer full (g_array_unref). */
GArray *ref_tensors_new(void);
GArray *ref_transformer(int layers, const char *silent);

/* Writes the weights of a transformer of `layers` layers, or of a decoder with these widths, to
 * `path`. `silent`: NULL, or names joined with '|', the weights whose name contains one are zero.
 */
void ref_write_transformer(const char *path, int layers, const char *silent);
void ref_write_decoder(const char *path, const int widths[4]);
void ref_write_wan_vae(const char *path, const int widths[5]);

/* A directory in the system's temporary one, and its removal with the files in it. */
char *ref_directory(void);
void ref_remove(char *directory);

/* The recorded results: data/NAME.safetensors, and a tensor of it with as many values. */
LfTensorFile *ref_open(const char *name);
const float *ref_f32(LfTensorFile *file, const char *name, int64_t count);

/* ‖a − b‖ / ‖b‖ in double; infinite when a value is not finite. */
double ref_distance(const float *a, const float *b, int64_t count);

/* Prints the distance and fails the test when it is above `bound`. */
void ref_compare(const char *what, const float *ours, const float *theirs, int64_t count,
                 double bound);

/* Noise for lf_session_set_noise: [chunks][REF_STEPS][chunk_size]. */
typedef struct {
    float *values;
    int64_t chunk_size;
    int chunks;
} RefNoise;

RefNoise ref_noise(const char *name, int chunks, int64_t chunk_size); /* free values */
void ref_give_noise(float *out, int64_t count, uint64_t chunk, int step, gpointer noise);

/* Runs `lightforcing replay` (named by LF_COMMAND) in fp32 on the CPU. */
void ref_replay(const char *model, const char *input, const char *output, gboolean sparse,
                gboolean decode);

#endif
