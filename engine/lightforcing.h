/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * lightforcing: video from a text prompt, generated chunk by chunk.
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
 * A model is weights and a configuration, shared by any number of sessions. A session is one
 * stream: a KV cache, the state of a decoder, a prompt. A chunk is a few finished frames.
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

/* ---- denoising steps ------------------------------------------------------------------------- */

#define LF_MAX_STEPS 16

/* The timesteps at which a chunk is denoised, in (0, 1000], falling. With n 0 there is no list. */
typedef struct {
    int n;
    double at[LF_MAX_STEPS];
} LfSteps;

/* Reads a list such as "1000, 937.5,500"; the decimal point is a point in every locale. NULL and a
 * text of blanks are no list (n 0). LF_ERROR_CONFIG when the text is none, or no such list. */
gboolean lf_steps_parse(const char *text, LfSteps *steps, GError **error);

/* "1000,937.5,500", to six digits, for people; "" for n 0. Transfer full. */
char *lf_steps_text(const LfSteps *steps);

/* ---- model ----------------------------------------------------------------------------------- */

typedef struct LfModel LfModel;
typedef struct LfSessionOptions LfSessionOptions; /* see below */

#define LF_MAX_SIZE     8192      /* pixels, of a width or height */
#define LF_MAX_CHUNK    64        /* latent frames */
#define LF_MAX_WINDOW   (1 << 20) /* likewise, of the sink, too */
#define LF_MIN_SHIFT    0.01
#define LF_MAX_SHIFT    100.0
#define LF_MAX_SPARSITY 0.999 /* target share of skipped key blocks */

/* A LoRA file for the transformer. Adds strength · (alpha / rank) · (up · down) to its weights. */
typedef struct {
    const char *file;
    double strength;
} LfLora;

/* Called while a model loads, on the loading thread. `part`: "text encoder", "transformer" or
 * "decoder". `done`: the fraction of all work that is done, 0…1. FALSE stops the loading with
 * LF_ERROR_CANCELLED. */
typedef gboolean (*LfProgress)(const char *part, double done, gpointer data);

/* Where the text encoder has its weights, and computes. Of no effect on the CPU, where they are used in
 * the mapped file. */
typedef enum {
    /* DEVICE if the device has memory for everything, or does not tell; else STREAM; CPU where not even
     * two layers fit. */
    LF_TEXT_ENCODER_AUTO,
    LF_TEXT_ENCODER_DEVICE, /* on the transformer's device */
    /* In the mapped file: for each prompt the layers pass through the device, one after the other, and
     * leave nothing there. The numbers are those of DEVICE. */
    LF_TEXT_ENCODER_STREAM,
    LF_TEXT_ENCODER_CPU /* beside a transformer on a device; the numbers differ a little */
} LfTextEncoderDevice;

typedef struct {
    /* "cpu", "cuda", "cuda:1" …, or "auto" (and NULL): a GPU if there is one, else the CPU. */
    const char *backend;
    /* Of the transformer's matrix products; AUTO: FP32 on the CPU, BF16 on a GPU. */
    LfPrecision precision;
    LfTextEncoderDevice text_encoder_device;
    int n_threads;       /* CPU threads; 0: one for each core */
    LfProgress progress; /* or NULL */
    gpointer progress_data;
    /* Files or directories that replace the model's own parts, or NULL. */
    const char *text_encoder_location;
    const char *tokenizer_location;
    const char *decoder_location;
    /* The family of checkpoints whose sampling defaults are used, see docs/own-checkpoint.md; NULL: the
     * one of model.json, or that of the checkpoint's path. */
    const char *family;
    /* Which copy of the transformer is read from a file with several: "generator_ema", "generator", or
     * the name of another dictionary; NULL: the one of model.json, or of the family, or the average. */
    const char *copy;
    const LfLora *loras; /* added after those of model.json, in this order */
    int n_loras;
    /* The session that will be opened on the model, or NULL: what does not fit into the device's
     * memory together with it is an error before any weight is read. */
    const LfSessionOptions *planned;
    LfLog log; /* of the model and of its sessions that have none; all-zero: none */
} LfModelOptions;

/* Overwrites `to`, without freeing what it held, by a copy of `from` that owns its strings and
 * LoRAs, without `planned`; progress and log are copied as pointers. lf_model_options_clear frees
 * such a copy and leaves all-zero options. */
void lf_model_options_copy(LfModelOptions *to, const LfModelOptions *from);
void lf_model_options_clear(LfModelOptions *options);

/* Appends the LoRAs of a list, "FILE[:STRENGTH],FILE[:STRENGTH]…", to options that own their strings.
 * What follows the last colon of an entry is its strength if it is a number; a backslash makes the
 * next character part of a file's name. LF_ERROR_CONFIG for an empty entry, or a strength that is
 * not in −100…100; the options are as before then. */
gboolean lf_model_options_add_loras(LfModelOptions *options, const char *list, GError **error);

/* Whether both options load the same model: compares all fields but progress, planned and log. */
gboolean lf_model_options_equal(const LfModelOptions *a, const LfModelOptions *b);

/* A model's defaults. */
typedef struct {
    int width, height; /* pixels, multiples of 16 */
    int fps_n, fps_d;  /* frames per second */
    int chunk;         /* latent frames of a chunk; 4 pixel frames each, the first chunk 3 fewer */
    LfSteps steps;     /* denoising steps of a chunk, before the shift */
    LfSteps first_steps; /* of the first chunk of a scene; n 0: the same as the others' */
    gboolean warp;   /* steps t are shifted: u = t/1000, 1000·shift·u / (1 + (shift − 1)·u) */
    double shift;    /* of no effect without warp */
    int window;      /* latent frames that a chunk attends to, itself included; 0: all */
    int sink;        /* first latent frames of the stream, never evicted from the window */
    gboolean sparse; /* configured for Light Forcing attention */
    double sparsity; /* its target share of skipped key blocks, 0…1 */
    gboolean can_encode; /* has a text encoder and a tokenizer */
    gboolean can_decode; /* has a decoder */
} LfModelInfo;

/* The location of the model when the user names none: $LIGHTFORCING_MODEL if it is set, else the
 * first directory lightforcing/models/demo that exists in the user's data directory, in the
 * system's data directories and in this installation's. NULL when there is none. Transfer full. */
char *lf_model_default_location(void);

/* Finds out what the model at `location` is, in milliseconds, and checks that its files exist:
 * enough to negotiate sizes and to fail early. Reads model.json, or recognises the files of a folder
 * or around a checkpoint by their tensors' names and shapes. `location`: a directory with a
 * model.json, or that file; a directory of any published layout; or one checkpoint. `options`, of
 * which only locations, family and copy count here, may be NULL. */
gboolean lf_model_probe(const char *location, const LfModelOptions *options, LfModelInfo *info,
                        GError **error);

/* What the model lacks for streams from a prompt to pixels, as one sentence each with the published
 * files that bring it; NULL when it lacks nothing or cannot be read. Transfer full. */
char *lf_model_missing(const char *location, const LfModelOptions *options);

/* Loads a model. Blocks; files stay mapped while the model lives. `options` may be NULL. */
LfModel *lf_model_open(const char *location, const LfModelOptions *options, GError **error);

/* A model of known dimensions with random weights, created in memory. `preset`: "demo",
 * "wan-1.3b", "wan-1.3b-vae" or "wan-1.3b-lightvae". Its frames mean nothing; its speed is that of
 * a trained model. `seed` determines the weights. */
LfModel *lf_model_new_random(const char *preset, uint64_t seed, const LfModelOptions *options,
                             GError **error);

/* Writes the model at `location` as one folder: model.json, and a file each of transformer, text
 * encoder, decoder and tokenizer, LoRAs merged, types and order those of the device, so that it opens at
 * the speed of the disk and makes the same frames as the original with the same options, bit for bit.
 * `options`: precision is what the folder is for, AUTO that of `backend`, which is opened for this
 * alone; the text encoder keeps the CPU's types where text_encoder_device is CPU; `progress` may cancel.
 * `folder` must not exist, or, with `replace`, be such a folder. It appears at once when it is complete;
 * after a failure there is nothing. Memory: about two copies of the largest matrix.
 * LF_ERROR_WRITE, LF_ERROR_CANCELLED, and errors as lf_model_open. */
gboolean lf_model_convert(const char *location, const char *folder, gboolean replace,
                          const LfModelOptions *options, GError **error);

LfModel *lf_model_ref(LfModel *model);
void lf_model_unref(LfModel *model);

/* Valid while the model lives. Thread-safety: any thread. */
const LfModelInfo *lf_model_info(const LfModel *model);
const char *lf_model_name(const LfModel *model);        /* the directory's or the preset's name */
const char *lf_model_description(const LfModel *model); /* its parts and widths, for people */
const char *lf_model_device(const LfModel *model);      /* the backend's description */
LfPrecision lf_model_precision(const LfModel *model);   /* what AUTO became; never AUTO */

/* What LF_TEXT_ENCODER_AUTO became: DEVICE, STREAM or CPU; AUTO for a model without text encoder. */
LfTextEncoderDevice lf_model_text_encoder_device(const LfModel *model);

/* Why "auto" is the CPU and not a GPU. NULL on a GPU, and when the CPU was asked for. */
const char *lf_model_fallback(const LfModel *model);

/* Whether a chunk's frames may still be decoding when lf_session_next returns it, as on a GPU. The
 * decoder then runs concurrently with the next chunk; lf_chunk_wait waits for it. */
gboolean lf_model_is_asynchronous(const LfModel *model);

/* The most FLOP/s that the model's device reaches, measured now, in some tenths of a second with
 * nothing else running: on the CPU multiply-adds in registers on the model's threads, on a GPU one
 * large bf16 matrix product, which takes 0.4 GB of its memory. 0 when it cannot be measured.
 * Thread-safety: any thread. */
double lf_model_peak_flops(const LfModel *model);

/* ---- inspection of files --------------------------------------------------------------------- */

/* One finding of an inspection. Valid during the call. */
typedef struct {
    const char *subject; /* "transformer", "text encoder", "tokenizer", "decoder", "video" … */
    const char *tensors; /* path of the file of tensors that was read for it; NULL: none */
    const char *description; /* for people, one line; NULL when the subject could not be read */
    const char *problem;     /* what is missing or does not fit, one line; NULL: nothing */
} LfFinding;
typedef void (*LfFound)(const LfFinding *finding, gpointer data);

/* Inspects a model directory (or its model.json): calls `found` for every part of the model and for
 * every section of model.json. Names and shapes of all tensors are checked; no weight is read.
 * FALSE and an error when model.json is missing or cannot be read. */
gboolean lf_inspect_model(const char *location, LfFound found, gpointer data, GError **error);

/* Inspects one file of tensors: calls `found` for every part of a model that the file can be. */
gboolean lf_inspect_file(const char *path, LfFound found, gpointer data, GError **error);

/* ---- session --------------------------------------------------------------------------------- */

typedef struct LfSession LfSession;

typedef enum {
    LF_ATTENTION_AUTO, /* sparse if the model is configured for it, else dense */
    LF_ATTENTION_DENSE,
    LF_ATTENTION_SPARSE
} LfAttention;

/* How the KV cache is treated when a new prompt takes effect. */
typedef enum {
    LF_TRANSITION_CONTINUE, /* the cache is kept: only the cross attention changes */
    /* The keys and values of the past frames in the window are recomputed under the new prompt
     * (LongLive's KV recache). The scene continues from its frames, but no longer from the text
     * under which they were generated. For models that were trained with it. Costs one clean pass
     * (t = 0) over the whole window. Once frames have left the window, the sink keeps its keys. */
    LF_TRANSITION_RECACHE,
    /* The cache is cleared and a new scene begins as a stream does: a dense first chunk, sparsity
     * that grows from there, and a decoder without state. The first chunk of a scene has 3 frames
     * fewer, because the first latent frame of a video stands for one frame, not four, in Wan's
     * autoencoder. The sequence of noise goes on. */
    LF_TRANSITION_CUT
} LfTransition;

/* When the chunks of a new prompt begin. Prompts are encoded on a thread of the session; a prompt that
 * is set while another one is encoded takes its place. */
typedef enum {
    /* With the next chunk, which waits until the prompt is encoded: the same calls always give the
     * same frames. */
    LF_TEXT_WAIT,
    /* With the first chunk that begins when the prompt is encoded; until then chunks go on with the
     * prompt before. Only a session's very first chunk waits. Which frame shows a prompt first
     * depends on how long the encoder takes. */
    LF_TEXT_BESIDE
} LfTextEncoding;

struct LfSessionOptions {
    uint64_t seed;     /* of the noise; the same seed and prompts give the same frames */
    int width, height; /* pixels, multiples of 16; 0: the model's */
    LfAttention attention;
    double sparsity;  /* target share of skipped key blocks, 0 < s < 1; 0: the model's. The base
                         of Chunk-Aware Growth moves by as much as the target does */
    gboolean uniform; /* no Chunk-Aware Growth: every chunk but a scene's first gets the target */
    int window;       /* latent frames, the chunk included, at most LF_MAX_WINDOW; 0: the model's;
                         −1: unbounded */
    int sink;         /* latent frames, at most LF_MAX_WINDOW; 0: the model's; −1: none */
    int keep_frames;  /* past latent frames from which sparse attention selects key blocks, for each
                         query block; 0: the model's; −1: all of the window */
    LfTransition transition;
    LfTextEncoding text_encoding;
    int chunk;           /* latent frames, at most LF_MAX_CHUNK; 0: the model's. Another size than a
                            model was trained with changes what it generates */
    LfSteps steps;       /* n 0: the model's. Shifted as the model's are */
    LfSteps first_steps; /* of the first chunk of every scene; n 0: the model's, or `steps` where it
                            has none */
    double shift; /* 0.01 … 100; 0: the model's. LF_ERROR_CONFIG for a model without warp */
    gboolean no_decoder; /* latents only; chunks then have no pixels */
    gboolean no_text;    /* text embeddings come from lf_session_set_context, not from prompts */

    /* Experiments with sparse attention. */
    int query_block, key_block; /* tokens of a query block and of a key block; 0: the model's */
    int tile_rows, tile_cols; /* tokens of a frame are numbered tile by tile; this is the size of a
                                 tile in tokens, which must divide the frame's; 0: the model's
                                 order; −1: row by row */
    gboolean one_map; /* a chunk's later steps attend to the blocks that its first step selected */

    gboolean keep_latents; /* chunks keep their latents, for lf_chunk_latents */
    /* The folder in which encoded prompts are kept, at most 256 MB of them. NULL: lightforcing/prompts in
     * the user's cache directory ($XDG_CACHE_HOME), for text encoders of 256 MB and more; "": none. A
     * folder that cannot be read or written is no error. */
    const char *prompt_cache;
    LfLog log; /* of this session; unset: the model's */
};

/* Allocates what the session needs; later only an unbounded window and the pool of chunks grow. The
 * session keeps the model alive. LF_ERROR_CONFIG for invalid options; LF_ERROR_UNSUPPORTED when the
 * model has no text encoder or no decoder and the options do not leave it out; LF_ERROR_MEMORY, before
 * anything is allocated, when a device has less memory free than is needed. */
LfSession *lf_session_new(LfModel *model, const LfSessionOptions *options, GError **error);
void lf_session_free(LfSession *session); /* NULL is fine; no call may be under way */

/* Sets the prompt from the next chunk on, or from the first one after it was encoded: see
 * LfTextEncoding. Returns its number, which is the LfChunkInfo.prompt_id of the chunks that show it; 0
 * and LF_ERROR_TEXT when the text is not valid UTF-8 or longer than 64 KiB, LF_ERROR_MEMORY when no
 * thread can be started. "" is a prompt. Tokens beyond the model's limit are cut off, as the reference
 * implementation does. Thread-safety: any thread, also during lf_session_next. */
uint64_t lf_session_set_prompt(LfSession *session, const char *prompt, GError **error);

/* With LF_TEXT_BESIDE: why the prompt that was set last could not be encoded, and its number in
 * `prompt_id`, once; chunks go on with the prompt before. NULL when nothing has failed. With
 * LF_TEXT_WAIT, and when there is no prompt before, lf_session_next returns the error, and the call
 * after it tries again. Transfer full. Thread-safety: any thread. */
GError *lf_session_prompt_failure(LfSession *session, uint64_t *prompt_id);

/* Attention and target sparsity from the next chunk on, as in the options; a sparsity out of range
 * is clamped. Thread-safety: any thread. */
void lf_session_set_attention(LfSession *session, LfAttention attention, double sparsity);

/* The transition of new prompts from the next chunk on. It is read, like the prompt, when a chunk
 * with a new prompt begins. Thread-safety: any thread. */
void lf_session_set_transition(LfSession *session, LfTransition transition);

/* Until lf_session_resume, a running lf_session_next and every later one return
 * LF_ERROR_CANCELLED. A later call returns at once, a running one within one layer. On a GPU the
 * chunk's work is already queued; the running call returns when it ends, after a fraction of a
 * second. The next call generates the cancelled chunk again, with the same frames; a transition
 * that the chunk had begun is kept, whatever is requested by then. Thread-safety: any thread. */
void lf_session_cancel(LfSession *session);
void lf_session_resume(LfSession *session);

/* Starts the stream again from its first frame, with another seed. The prompt is kept. Not during
 * lf_session_next. */
void lf_session_restart(LfSession *session, uint64_t seed);

/* ---- names of enum values -------------------------------------------------------------------- */

/* "auto", "dense", "sparse"; "continue", "recache", "cut"; "auto", "fp32", "bf16", "fp8"; "auto",
 * "device", "stream", "cpu". FALSE for any other word and for NULL; the value then stays unchanged. */
const char *lf_attention_name(LfAttention attention);
gboolean lf_attention_from_name(const char *name, LfAttention *attention);
const char *lf_transition_name(LfTransition transition);
gboolean lf_transition_from_name(const char *name, LfTransition *transition);
const char *lf_precision_name(LfPrecision precision);
gboolean lf_precision_from_name(const char *name, LfPrecision *precision);
const char *lf_text_encoder_device_name(LfTextEncoderDevice device);
gboolean lf_text_encoder_device_from_name(const char *name, LfTextEncoderDevice *device);

/* ---- chunks ---------------------------------------------------------------------------------- */

typedef struct LfChunk LfChunk;

typedef struct {
    uint64_t index;       /* of this chunk in the stream, from 0 */
    uint64_t first_frame; /* index of its first pixel frame in the stream */
    int n_frames;         /* pixel frames: 4·chunk, or 3 fewer in the first chunk of a scene */
    int n_latent_frames;
    int width, height;  /* pixels */
    uint64_t prompt_id; /* what lf_session_set_prompt returned: 1 for the first prompt */
    /* How its prompt took effect; CONTINUE in the first chunk of the stream, and when the chunk
     * before has the same prompt. */
    LfTransition transition;
    double sparsity; /* planned share of skipped key blocks; 0: dense */
    /* Nanoseconds, wall clock. */
    /* The text encoder's work on the prompt, which may have been beside earlier chunks; 0 when the
     * prompt did not change, and for embeddings that were set. */
    int64_t encode_time;
    int64_t text_time;    /* the wait for the encoder, and text keys and values; 0 likewise */
    int64_t recache_time; /* recomputing past keys and values; 0 without LF_TRANSITION_RECACHE */
    int64_t denoise_time; /* the denoising steps */
    int64_t clean_time;   /* the clean pass (t = 0), which updates the KV cache */
    int64_t decode_time;  /* on a GPU 0 until lf_chunk_wait: the decoder runs concurrently */
} LfChunkInfo;

/* Generates the next chunk. Blocks until it is complete; on a GPU the decoder may still run, see
 * lf_chunk_wait. The chunk's memory comes from the session's pool and returns to it with the last
 * reference. The pool grows to the largest number of chunks that were alive at once. NULL and an
 * error on failure, LF_ERROR_CONFIG when no prompt was set. The session can be used again after any
 * error; after LF_ERROR_MEMORY and LF_ERROR_DEVICE it has to be restarted first.
 * Thread-safety: one thread at a time. */
LfChunk *lf_session_next(LfSession *session, GError **error);

/* As lf_session_next, but with these latents in place of denoised ones: [chunk, channels, h, w],
 * normalised as the transformer's outputs are. They pass through the clean pass and the decoder and
 * are the context of later chunks, so that a stream can begin with an image or continue a video. */
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

/* Memory that a session holds now, in bytes: weights (shared with other sessions; weights that are
 * read from a mapped file do not count), caches, and scratch. */
typedef struct {
    uint64_t weights, state, scratch;
} LfMemory;
LfMemory lf_session_memory(const LfSession *session);

/* FLOPs of all passes of the transformer, and of the decoder, for one chunk in steady state: the
 * window is full, the growth is done, attention is what was requested last. With an unbounded
 * window: for the next chunk. Counts the FLOPs of this implementation; a multiply-add is 2. Not
 * during lf_session_next. */
typedef struct {
    double transformer, decoder;
} LfFlops;
LfFlops lf_session_flops(LfSession *session);

/* What a model and one session need of the memory of their device, and what is free there. */
typedef enum {
    LF_NEEDS_TRANSFORMER,  /* weights */
    LF_NEEDS_TEXT_ENCODER, /* weights, or the buffers through which they pass; and its scratch */
    LF_NEEDS_DECODER,      /* weights */
    LF_NEEDS_CACHE,        /* keys and values of the window; of one chunk if it is unbounded */
    LF_NEEDS_STATE,        /* latents, noise, text, the decoder's past */
    LF_NEEDS_SCRATCH,      /* of the passes and the decoder */
    LF_NEEDS_FRAMES,       /* of two chunks */
    LF_N_NEEDS
} LfNeed;

typedef struct {
    uint64_t bytes[LF_N_NEEDS];
    uint64_t needed;        /* their sum */
    uint64_t unused, total; /* of the device; both 0: it does not tell, as the CPU */
    char device[128];       /* for people */
    LfPrecision precision;  /* never AUTO */
    LfTextEncoderDevice text_encoder_device; /* AUTO without a text encoder */
    int width, height, window, chunk;        /* pixels, latent frames; window 0: unbounded */
} LfMemoryPlan;

/* Plans the memory of the model at `location` with one session, without reading or allocating any
 * weight. The sizes are those of the calls of a chunk; weights are counted as their device holds
 * them, but for padding, the driver's own memory and workspaces of some 100 MB. Opens the backend.
 * Both options may be NULL. Errors as lf_model_open and lf_session_new, but that nothing fits is
 * none. */
gboolean lf_memory_plan(const char *location, const LfModelOptions *model,
                        const LfSessionOptions *session, LfMemoryPlan *plan, GError **error);

/* The plan as a table of several lines, for people, the last one without an end. Transfer full. */
char *lf_memory_plan_text(const LfMemoryPlan *plan);

/* ---- inputs and outputs for comparison with another implementation --------------------------- */

/* Sets text embeddings in place of a prompt: the encoder's output [rows, text_dim], 0 ≤ rows ≤
 * text_len; the remaining rows are zero. Copied. Counts as a prompt. Thread-safety: any thread. */
gboolean lf_session_set_context(LfSession *session, const float *context, int rows, int text_dim,
                                GError **error);

/* Writes `count` = frames·channels·h·w normal numbers for (chunk, step). Step 0 is the initial
 * noise, later steps are the noise that is added again. Replaces the engine's generator; NULL
 * brings it back. Called on the thread of lf_session_next; not to be set during that call. */
typedef void (*LfNoise)(float *out, int64_t count, uint64_t chunk, int step, gpointer data);
void lf_session_set_noise(LfSession *session, LfNoise noise, gpointer data);

/* Tokens of a prompt (cleaned, with the end token, not padded), at most `capacity`. Returns their
 * number, or −1 and an error. */
int lf_model_tokenize(const LfModel *model, const char *prompt, int32_t *ids, int capacity,
                      GError **error);

/* What the tokenizer makes of a prompt. */
typedef struct {
    int n_tokens;  /* of the whole prompt, with the end token */
    int n_cut;     /* of these, those that do not fit into lf_model_text_len: the model never sees
                    * them */
    int n_unknown; /* of the others, those that stand for text that the tokenizer does not know;
                    * unknown characters side by side are one */
} LfPromptTokens;

/* Counts the tokens of a prompt. Any thread. All are 0, and FALSE and an error, for a prompt that
 * lf_session_set_prompt refuses. */
gboolean lf_model_count_tokens(const LfModel *model, const char *prompt, LfPromptTokens *tokens,
                               GError **error);

/* The text encoder on 1 ≤ n ≤ text_len ids: out [n, text_dim]. Thread-safety: any thread; it opens
 * a backend of its own. */
gboolean lf_model_encode(LfModel *model, const int32_t *ids, int n, float *out, GError **error);
int lf_model_text_dim(const LfModel *model);
int lf_model_text_len(const LfModel *model);

/* Channels of a latent; pixels of a frame for each latent, in each direction. */
int lf_model_channels(const LfModel *model);
int lf_model_latent_scale(const LfModel *model);

/* The latents of a chunk, [n_latent_frames, channels, h, w], as the decoder reads them; NULL in a
 * session without keep_latents. Valid while the chunk lives. */
const float *lf_chunk_latents(const LfChunk *chunk, int *n_channels, int *height, int *width);

G_END_DECLS

#endif
