/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * lightforcing: live video from a prompt.
 *
 *     LfModel *model = lf_model_open("models/demo", NULL, &error);
 *     LfSession *session = lf_session_new(model, &(LfSessionOptions){.seed = 7}, &error);
 *     lf_session_set_prompt(session, "a red ball bouncing on green grass", &error);
 *     for (;;) {
 *         LfChunk *chunk = lf_session_next(session, &error);
 *         for (int i = 0; i < lf_chunk_info(chunk)->n_frames; i++)
 *             lf_chunk_read(chunk, i, &picture, &error);
 *         lf_chunk_unref(chunk);
 *     }
 *
 * A model is weights and numbers, shared by any number of sessions. A session is one stream: a
 * cache of keys and values, a decoder's memory, a prompt. A chunk is a few finished frames.
 * All-zero options are valid and mean the defaults. Errors are of the domain LF_ERROR.
 */
#ifndef LF_ENGINE_LIGHTFORCING_H
#define LF_ENGINE_LIGHTFORCING_H

#include "kernels/error.h"
#include "kernels/log.h"
#include "kernels/precision.h"
#include "kernels/picture.h"

#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

/* ---- model ----------------------------------------------------------------------------------- */

typedef struct LfModel LfModel;

#define LF_MAX_SIZE     8192  /* pixels, of a width or height */
#define LF_MAX_SPARSITY 0.999 /* target share of skipped key blocks */

/* A LoRA file for the transformer: strength · (alpha / rank) · (up · down) is added to its weights.
 * */
typedef struct {
    const char *file;
    double strength;
} LfLora;

/* Called while a model loads: which part ("text encoder", "transformer", "decoder"), and the share
 * of all work that is done, 0…1. FALSE stops the loading with LF_ERROR_CANCELLED. Called on the
 * loading thread. */
typedef gboolean (*LfProgress)(const char *part, double done, gpointer data);

typedef struct {
    const char
        *backend; /* "auto" (default, NULL: a GPU where there is one), "cpu", "cuda", "cuda:1" */
    LfPrecision precision; /* of the transformer's products; AUTO: FP32 on the CPU, BF16 on a GPU */
    int n_threads;         /* CPU threads; 0: one for each core */
    LfProgress progress;   /* or NULL */
    gpointer progress_data;
    /* Files or directories to take these parts from in place of the model's own, or NULL. */
    const char *text_encoder_location;
    const char *decoder_location;
    const LfLora *loras; /* added after those of model.json, in this order */
    int n_loras;
    LfLog log; /* of the model and of what it prepares; all-zero: none */
} LfModelOptions;

/* `to`, whatever it was, becomes a copy that owns strings and LoRAs: for lf_model_options_clear,
 * which frees them and leaves all-zero options. Progress and log are copied as they stand. */
void lf_model_options_copy(LfModelOptions *to, const LfModelOptions *from);
void lf_model_options_clear(LfModelOptions *options);

/* Whether both lead to the same loaded model: all fields but progress and log. */
gboolean lf_model_options_equal(const LfModelOptions *a, const LfModelOptions *b);

/* What a model generates when nothing else is asked for. */
typedef struct {
    int width, height; /* pixels, multiples of 16 */
    int fps_n, fps_d;  /* frames a second */
    int chunk;         /* latent frames of a chunk; 4 pixel frames each, the first chunk 3 fewer */
    int steps;         /* denoising steps of a chunk */
    int window;        /* latent frames that a chunk attends to, itself included; 0: all */
    int sink;          /* first latent frames of the stream, never evicted from the window */
    gboolean sparse;   /* has numbers for Light Forcing attention */
    double sparsity;   /* its target share of skipped key blocks, 0…1 */
    gboolean can_encode; /* has a text encoder and a tokenizer */
    gboolean can_decode; /* has a decoder */
} LfModelInfo;

/* Where the model is when none is named: $LIGHTFORCING_MODEL as it stands, else the first directory
 * lightforcing/models/demo there is in the user's data directory, the system's, and the one of this
 * installation; NULL when there is none. Transfer full. */
char *lf_model_default_location(void);

/* Reads the numbers of a model alone, in milliseconds, and looks whether its files are there:
 * enough to negotiate sizes and to fail early. `location`: a directory with a model.json, or that
 * file. */
gboolean lf_model_probe(const char *location, LfModelInfo *info, GError **error);

/* Loads a model. Blocks; files stay mapped while the model lives. `options` may be NULL. */
LfModel *lf_model_open(const char *location, const LfModelOptions *options, GError **error);

/* A model of known dimensions with random weights, made in memory: "demo", "wan-1.3b". Its pictures
 * mean nothing; its speed is that of the real one. `seed` fixes the weights. */
LfModel *lf_model_new_random(const char *preset, uint64_t seed, const LfModelOptions *options,
                             GError **error);

LfModel *lf_model_ref(LfModel *model);
void lf_model_unref(LfModel *model);

/* Valid while the model lives. Thread-safety: any thread. */
const LfModelInfo *lf_model_info(const LfModel *model);
const char *lf_model_name(const LfModel *model);        /* the directory's or the preset's name */
const char *lf_model_description(const LfModel *model); /* its parts and widths, for people */
const char *lf_model_device(const LfModel *model);      /* the backend's description */
LfPrecision lf_model_precision(const LfModel *model);   /* what AUTO became; never AUTO */

/* Why the backend "auto" is the CPU: what keeps it from a GPU. NULL when the CPU was asked for, and
 * on a GPU. */
const char *lf_model_fallback(const LfModel *model);

/* Whether a chunk's frames are still being decoded when lf_session_next returns it, as on a GPU:
 * beside the next chunk, until lf_chunk_wait. */
gboolean lf_model_is_asynchronous(const LfModel *model);

/* The most FLOP/s that the model's device reaches, measured now, in some tenths of a second with
 * nothing else running: on the CPU multiply-adds in registers on the model's threads, on a GPU one
 * large bf16 product, which takes 0.4 GB of its memory. 0 when it cannot be measured. Any thread. */
double lf_model_peak_flops(const LfModel *model);

/* ---- what files hold ------------------------------------------------------------------------- */

/* One thing that was found out. Valid during the call. */
typedef struct {
    const char *subject; /* "transformer", "text encoder", "tokenizer", "decoder", "video" … */
    const char *tensors; /* path of the file of tensors that was read for it; NULL: none */
    const char *description; /* for people, one line; NULL when not even that could be read */
    const char *problem;     /* what is missing or does not fit, one line; NULL: nothing */
} LfFinding;
typedef void (*LfFound)(const LfFinding *finding, gpointer data);

/* Looks at a model directory (or its model.json): calls `found` for every part and every section
 * of numbers. Names and shapes of all tensors are checked; no weight is read. FALSE and an error
 * when there is no model.json, or none that can be read. */
gboolean lf_inspect_model(const char *location, LfFound found, gpointer data, GError **error);

/* Looks at one file of tensors: calls `found` for every part of a model that it could serve as. */
gboolean lf_inspect_file(const char *path, LfFound found, gpointer data, GError **error);

/* ---- session --------------------------------------------------------------------------------- */

typedef struct LfSession LfSession;

typedef enum {
    LF_ATTENTION_AUTO, /* sparse where the model has numbers for it, else dense */
    LF_ATTENTION_DENSE,
    LF_ATTENTION_SPARSE
} LfAttention;

/* What becomes of the past when a new prompt takes effect. */
typedef enum {
    LF_TRANSITION_CONTINUE, /* it stays as it is: only the cross attention changes */
    /* The keys and values of the past frames in the window are made anew under the new prompt
     * (LongLive's KV recache): the scene goes on from what is seen, without what the old prompt had
     * to say about it. For models that were trained with it. Takes as long as a clean pass over the
     * whole window, once. The sink's are kept once frames have left the window. */
    LF_TRANSITION_RECACHE,
    /* It is forgotten: a new scene, as a new stream begins it, with its dense first chunk, sparsity
     * that grows from there, and a decoder without memory. Its first chunk has 3 frames fewer, as
     * the stream's has: the first latent of a video is one picture, not four, in Wan's
     * autoencoder, and what a decoder without memory makes of it before that picture is not to be
     * shown. The noise goes on. */
    LF_TRANSITION_CUT
} LfTransition;

typedef struct {
    uint64_t seed;     /* of the noise; the same seed and prompts give the same frames */
    int width, height; /* pixels, multiples of 16; 0: the model's */
    LfAttention attention;
    double sparsity;  /* target share of skipped key blocks, 0 < s < 1; 0: the model's. The base
                         that growth tends to moves by as much as the target does */
    gboolean uniform; /* no Chunk-Aware Growth: every chunk but the first gets the target */
    int window;       /* latent frames, the chunk included; 0: the model's; −1: unbounded */
    int sink;         /* latent frames; 0: the model's; −1: none */
    int keep_frames;  /* past latent frames that sparse attention chooses among blocks of; 0: the
                         model's; −1: all of the window */
    LfTransition transition;
    gboolean no_decoder; /* latents only; chunks then have no pixels */
    gboolean no_text;    /* the text comes as numbers, by lf_session_set_context */

    /* Experiments with sparse attention. */
    int query_block, key_block; /* tokens of the blocks it chooses for and among; 0: the model's */
    int tile_rows, tile_cols; /* tokens of a frame come tile by tile, tiles being of so many tokens,
                                 which must divide the frame's; 0: the model's order; −1: row by
                                 row */
    gboolean one_map; /* a chunk's later steps attend to the blocks that its first has selected */

    gboolean keep_latents; /* chunks keep their latents, for lf_chunk_latents */
    LfLog log;             /* of this session; unset: the model's */
} LfSessionOptions;

/* Everything that a session will need is allocated here and with its first chunk (an unbounded
 * window grows as the stream does). The session keeps the model alive. LF_ERROR_CONFIG for options
 * that cannot be; LF_ERROR_UNSUPPORTED when the model lacks a part that is not left out. */
LfSession *lf_session_new(LfModel *model, const LfSessionOptions *options, GError **error);
void lf_session_free(LfSession *session); /* NULL is fine; no call may be under way */

/* Sets the prompt from the next chunk on and returns its number, which LfChunkInfo.prompt_id tells
 * of the chunks that show it; 0 and an error when the text is not valid UTF-8 or longer than 64 KiB
 * (LF_ERROR_TEXT). "" is a prompt. More tokens than the model takes are cut off, as its reference
 * does. Thread-safety: any thread, also during lf_session_next. */
uint64_t lf_session_set_prompt(LfSession *session, const char *prompt, GError **error);

/* Attention and target sparsity from the next chunk on; as in the options, beyond them the nearest
 * that can be. Thread-safety: any thread. */
void lf_session_set_attention(LfSession *session, LfAttention attention, double sparsity);

/* How prompts come in from the next chunk on: read, like the prompt, when a chunk begins that has a
 * new one. Thread-safety: any thread. */
void lf_session_set_transition(LfSession *session, LfTransition transition);

/* Makes a running lf_session_next return LF_ERROR_CANCELLED within one layer (on a GPU, which is
 * told of a chunk's work in advance, when that has ended: a fraction of a second), and every later
 * one at once, until lf_session_resume. A cancelled chunk is generated anew, with the same frames;
 * the transition that it had begun stays, whatever is asked for by then.
 * Thread-safety: any thread. */
void lf_session_cancel(LfSession *session);
void lf_session_resume(LfSession *session);

/* Starts the stream again from its first frame, with another seed. The prompt stays. Not during
 * lf_session_next. */
void lf_session_restart(LfSession *session, uint64_t seed);

/* ---- words for choices ----------------------------------------------------------------------- */

/* "auto", "dense", "sparse"; "continue", "recache", "cut"; "auto", "fp32", "bf16", "fp8". FALSE for
 * any other word (NULL too), the choice then stays as it was. */
const char *lf_attention_name(LfAttention attention);
gboolean lf_attention_from_name(const char *name, LfAttention *attention);
const char *lf_transition_name(LfTransition transition);
gboolean lf_transition_from_name(const char *name, LfTransition *transition);
const char *lf_precision_name(LfPrecision precision);
gboolean lf_precision_from_name(const char *name, LfPrecision *precision);

/* ---- chunks ---------------------------------------------------------------------------------- */

typedef struct LfChunk LfChunk;

typedef struct {
    uint64_t index;       /* of this chunk in the stream, from 0 */
    uint64_t first_frame; /* index of its first pixel frame in the stream */
    int n_frames;         /* pixel frames: 4·chunk, or 3 fewer in the stream's or a cut's first */
    int n_latent_frames;
    int width, height;  /* pixels */
    uint64_t prompt_id; /* of lf_session_set_prompt, 1 for the first */
    /* How its prompt came in; CONTINUE when that is the one of the chunk before, too, and in the
     * first chunk of the stream. */
    LfTransition transition;
    double sparsity; /* planned share of skipped key blocks; 0: dense */
    /* Nanoseconds, wall clock. */
    int64_t encode_time;  /* prompt to text keys and values; 0 when the prompt did not change */
    int64_t recache_time; /* the past anew; 0 when that was not to be done */
    int64_t denoise_time; /* the few steps */
    int64_t clean_time;   /* the clean pass */
    int64_t decode_time;  /* on a GPU 0 until lf_chunk_wait: it runs beside the next chunk */
} LfChunkInfo;

/* Generates the next chunk. Blocks for as long as that takes, on a GPU but for the decoding, which
 * runs on beside the next call. The chunk's memory comes from the
 * session's pool and goes back there with its last reference; the pool grows to the most chunks
 * that were alive at once. NULL and an error otherwise, LF_ERROR_CONFIG when no prompt was set; the
 * session can be used again after any error, after LF_ERROR_MEMORY and LF_ERROR_DEVICE when it was
 * restarted. Thread-safety: one thread at a time. */
LfChunk *lf_session_next(LfSession *session, GError **error);

/* The same from latents in place of denoising: [chunk, channels, h, w], normalised as the
 * transformer makes them. They pass through the clean pass and the decoder and become the past of
 * the chunks after them: a stream that begins with a picture, or continues a video. */
LfChunk *lf_session_next_given(LfSession *session, const float *latents, GError **error);

LfChunk *lf_chunk_ref(LfChunk *chunk);
void lf_chunk_unref(LfChunk *chunk); /* also after the session was freed */
const LfChunkInfo *lf_chunk_info(const LfChunk *chunk);

/* Waits until the chunk's frames can be read. lf_chunk_read does, too. Thread-safety: any
 * thread. */
gboolean lf_chunk_wait(const LfChunk *chunk, GError **error);

/* Frame `index` (0 … n_frames − 1) into `picture`, which has the chunk's size.
 * Thread-safety: any thread. */
gboolean lf_chunk_read(const LfChunk *chunk, int index, const LfPicture *picture, GError **error);

/* What a session holds now, in bytes: weights (shared, without those used in a mapped file), caches
 * and scratch. */
typedef struct {
    uint64_t weights, state, scratch;
} LfMemory;
LfMemory lf_session_memory(const LfSession *session);

/* FLOPs of one chunk of this session in steady state (window full, growth done, attention as last
 * asked for; the next chunk where the window is unbounded): of all passes of the transformer, and
 * of the decoder. As they are computed here; 1 multiply-add = 2. Not during lf_session_next. */
typedef struct {
    double transformer, decoder;
} LfFlops;
LfFlops lf_session_flops(LfSession *session);

/* ---- numbers in and out, for holding the engine against another implementation --------------- */

/* In place of a prompt: the encoder's output [rows, text_dim], 0 ≤ rows ≤ text_len; the rest are
 * zero rows. Copied. Counts as a prompt. Not during lf_session_next. */
gboolean lf_session_set_context(LfSession *session, const float *context, int rows, int text_dim,
                                GError **error);

/* In place of the generator (NULL brings it back): normal numbers for (chunk, step), step 0 the
 * initial noise, the others the re-noising draws; `count` = frames·channels·h·w. Called on the
 * thread of lf_session_next. Not during it. */
typedef void (*LfNoise)(float *out, int64_t count, uint64_t chunk, int step, gpointer data);
void lf_session_set_noise(LfSession *session, LfNoise noise, gpointer data);

/* Tokens of a prompt (cleaned, with the end mark, not padded), at most `capacity`: returns how many
 * there are, or −1 and an error. */
int lf_model_tokenize(const LfModel *model, const char *prompt, int32_t *ids, int capacity,
                      GError **error);

/* The text encoder on 1 ≤ n ≤ text_len ids: out [n, text_dim]. Thread-safety: any thread; it opens
 * a backend of its own. */
gboolean lf_model_encode(LfModel *model, const int32_t *ids, int n, float *out, GError **error);
int lf_model_text_dim(const LfModel *model);
int lf_model_text_len(const LfModel *model);

/* Channels of a latent, and pixels of a picture for each latent, in each direction. */
int lf_model_channels(const LfModel *model);
int lf_model_latent_scale(const LfModel *model);

/* The latents of a chunk, [n_latent_frames, channels, h, w], as the decoder reads them; NULL in a
 * session without keep_latents. Valid while the chunk lives. */
const float *lf_chunk_latents(const LfChunk *chunk, int *n_channels, int *height, int *width);

G_END_DECLS

#endif
