/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Every operation: formula, shapes, aliasing, and what limits its speed. This contract holds for
 * all backends and for tests/checkops. ops.c checks types and shapes. A wrong shape is a bug of the
 * caller: g_critical reports it and the operation does not run. Operations return nothing: a device
 * latches its first failure, and the next LfBackend.sync reports it.
 *
 * Letters: c frames of a chunk, T tokens of a frame, N = c·T rows, H heads, d head dimension,
 * D = H·d model width, S slots of the cache, Bq/Bk query and key tokens of a block,
 * nq = ceil(T/Bq), nk = ceil(T/Bk) blocks of a frame; the last block of a frame may be partial.
 * Types: A is the type of the transformer's activations, P that of the decoder's activations (both
 * F32 on the CPU; BF16 and F16 on a GPU). R is A, or rows of F8_E4M3 with their scales
 * (lf_arena_rows), as the linear layer that reads the rows requires: see lf_weight_input. Biases,
 * gates and norm weights are F32. Sums are F32 everywhere. Outputs overlap no input unless the
 * contract allows it. An LfTensor marked "or LF_NONE" is optional.
 */
#ifndef LF_KERNELS_OPS_H
#define LF_KERNELS_OPS_H

#include "backend.h"
#include "picture.h"
#include "tensor.h"

/* ---- weights --------------------------------------------------------------------------------- */

/* The use of a weight. It decides how a backend packs, converts or quantises the weight at load. */
typedef enum {
    LF_WEIGHT_LINEAR,     /* [out, in] for lf_linear, lf_linear_residual */
    LF_WEIGHT_LINEAR_FP8, /* the same; quantised to FP8 by a backend of that precision */
    LF_WEIGHT_CONV3X3,    /* [out, in, 3, 3] for lf_conv3x3 */
    LF_WEIGHT_CONV_UP2,   /* [out, in, 3, 3] for lf_conv3x3_up2 */
    LF_WEIGHT_CONV3D,     /* [out, in, t, k, k] for lf_conv3d; t and k are each 1 or 3 */
    LF_WEIGHT_EMBEDDING   /* [rows, width] for lf_embedding, which gathers rows; never copied */
} LfWeightKind;

/* A weight in the layout that its backend reads. Opaque but for its shape. Immutable: all backends
 * of one device may read it at the same time. */
typedef struct LfWeight LfWeight;

/* Prepares `source` (host memory, of a type that lf_to_float reads: F32, BF16, F16, F64 or F8). Of a
 * linear weight in F8_E4M3, `source.scales` F32 [out] may have a factor for each row, read during the
 * call; a backend of precision FP8 holds such a LF_WEIGHT_LINEAR_FP8 code by code, not rounded again.
 * A backend may use a linear weight of BF16 and an embedding of any type in place. Callers therefore
 * keep the memory of the source (a mapped file) until they free the weight. Fails with NULL and
 * LF_ERROR_MEMORY, or LF_ERROR_SHAPE when the source's type or shape does not fit the kind. */
LfWeight *lf_weight_new(LfBackend *be, LfWeightKind kind, LfTensor source, GError **error);
void lf_weight_free(LfBackend *be, LfWeight *weight); /* NULL is fine */
int64_t lf_weight_out(const LfWeight *weight);        /* rows: out channels */
int64_t lf_weight_in(const LfWeight *weight);         /* columns: in channels */
int lf_weight_taps(const LfWeight *weight);           /* t·k² of LF_WEIGHT_CONV3D */
size_t lf_weight_memory(const LfWeight *weight);      /* bytes that it owns (0 when in place) */
LfType lf_weight_input(const LfWeight *weight);       /* of a linear weight: the type of its x */

/* Of a linear weight that reads F8_E4M3: an upper bound of the Euclidean norms of its rows. Valid
 * after a sync. */
float lf_weight_norm(const LfWeight *weight);

/* ---- linear: out = x·Wᵀ ---------------------------------------------------------------------- */

typedef enum { LF_ACT_NONE, LF_ACT_GELU_TANH, LF_ACT_SILU } LfActivation;

/* out R [N, O] = act(x [N, I] · W [O, I]ᵀ + bias [O] or LF_NONE). GELU is the tanh form. The type
 * of x is lf_weight_input(weight). An out of F8_E4M3 has a scale for each row with which no value
 * of the row overflows; the scale need not be the smallest such one. Bound: 2·N·I·O FLOP. */
void lf_linear(LfBackend *be, LfTensor out, LfTensor x, const LfWeight *weight, LfTensor bias,
               LfActivation activation);

/* x A or F32 [N, O] += gate [O] or 1 ⊙ (y [N, I] · W [O, I]ᵀ + bias [O] or LF_NONE), in place. The
 * type of y is lf_weight_input(weight). */
void lf_linear_residual(LfBackend *be, LfTensor x, LfTensor y, const LfWeight *weight,
                        LfTensor bias, LfTensor gate);

/* ---- norms ----------------------------------------------------------------------------------- */

/* out R [N, D] = LN(x A) ⊙ (1 + scale [D]) + shift [D]; LN has no affine parameters.
 * Bound: bytes. */
void lf_layer_norm_modulate(LfBackend *be, LfTensor out, LfTensor x, LfTensor scale, LfTensor shift,
                            float eps);

/* out R [N, D] = LN(x A) ⊙ weight [D] + bias [D]. */
void lf_layer_norm(LfBackend *be, LfTensor out, LfTensor x, LfTensor weight, LfTensor bias,
                   float eps);

/* out A [N, D] = x A / sqrt(mean(x²) + eps) ⊙ weight [D]. out may be x. */
void lf_rms_norm(LfBackend *be, LfTensor out, LfTensor x, LfTensor weight, float eps);

/* ---- self attention over the window ---------------------------------------------------------- */

/* Angles of the rotary position embedding, as (cos, sin), one for each pair of channels 2p, 2p + 1
 * of a head. The first n_time pairs are rotated by the angles of the frame, the next n_row pairs by
 * those of the token's row, the last n_col pairs by those of its column. n_time + n_row + n_col =
 * d/2, rows·cols = T. Token t is in row t / cols and column t mod cols. When tokens are in another
 * order, each token has a row of its own that holds its row and column angles: rows = T, col is
 * LF_NONE. */
typedef struct {
    LfTensor time; /* F32 [c, n_time, 2] */
    LfTensor row;  /* F32 [rows, n_row, 2] */
    LfTensor col;  /* F32 [cols, n_col, 2] or LF_NONE */
} LfRope;

/* The frames that a chunk attends to: the past frames, then the chunk itself (the tail, the last c
 * frames). */
typedef struct {
    LfTensor k, v;   /* A [S, H, T, d]; keys are normed and rotated */
    LfTensor k_pool; /* F32 [S, H, nk, d]: means of the keys of each block */
    LfTensor slots;  /* I32 [frames]: the slot of each frame of the window, oldest first */
    LfTensor v_amax; /* F32 [1] or LF_NONE: an upper bound of |v| */
    int chunk;       /* c: how many of `slots`, at the end, are the tail */
    int key_block;   /* Bk */
} LfWindow;

/* From the product qkv A [N, 3·D] (row: q, k, v):
 *   q A [H, N, d]            = rope(rms(q) ⊙ q_weight [D])
 *   window k, at the tail    = rope(rms(k) ⊙ k_weight [D])
 *   window v, at the tail    = v
 *   q_pool F32 [H, c·nq, d] or LF_NONE = means of q over each query block of `query_block` tokens
 *   window k_pool, at the tail         = means of k over each key block
 * The norms are over all D channels, before the split into heads. The means are over the tokens
 * that the block has, of q and k before they are rounded to A.
 * Bound: bytes. */
void lf_qkv_norm_rope(LfBackend *be, LfTensor q, LfTensor q_pool, const LfWindow *window,
                      LfTensor qkv, LfTensor q_weight, LfTensor k_weight, const LfRope *rope,
                      int query_block, float eps);

/* out [H, n, d] = x [H, n, d] with its first n_time pairs rotated by angles F32 [n_time, 2] (cos,
 * sin). Moves the keys of one frame (A), or means of them (F32), to another frame number. out may
 * be x. */
void lf_rope_shift(LfBackend *be, LfTensor out, LfTensor x, LfTensor angles);

/* Which past frames stay candidates of lf_select_blocks. keep_sink + keep_near ≤ keep_frames. */
typedef struct {
    int keep_frames; /* how many for each query block; all, when there are no more than these */
    int keep_sink;   /* the first past frames always stay … */
    int keep_near;   /* … and the last ones, next to the tail */
} LfSelection;

/* table I32 [H, c·nq, budget]: the key blocks that each head and query block attends to, ascending.
 * A block's index is (position of its frame in the window)·nk + (its index in the frame).
 * For one head, with q̃ a row of q_pool F32 [H, c·nq, d], k̃(f, b) the row of window->k_pool of
 * block b of frame f, and P the number of past frames:
 *   1. Score of a block:  s(f, b) = q̃ · k̃(f, b).
 *      Score of a frame:  the sum of s(f, b) over its nk blocks, which ranks frames as the dot
 *      product of q̃ with the mean of their k̃ does.
 *   2. Frames: when P ≤ keep_frames, all past frames stay. Otherwise the first keep_sink and the
 *      last keep_near of them stay, and of those between the keep_frames − keep_sink − keep_near
 *      with the largest scores, for this query block.
 *   3. Blocks: the `budget` largest s(f, b) of all blocks of the frames that stay and of the tail.
 * Of equal scores, of frames and of blocks, the lower index wins. budget ≤ the number of those
 * candidates. Bound: bytes of k_pool, and 2·H·c·nq·nk·d·frames FLOP. */
void lf_select_blocks(LfBackend *be, LfTensor table, LfTensor q_pool, const LfWindow *window,
                      const LfSelection *selection);

/* out R [N, D] = softmax(q A [H, N, d]·kᵀ/√d)·v over the key blocks in `table`, or over all keys of
 * the window for LF_NONE. The table is that of lf_select_blocks; query blocks are those of each
 * frame. Exact softmax, sums in F32. An out of F8_E4M3 requires window->v_amax: outputs are
 * weighted means of v, so this bounds them, and all rows have the same scale. Bound: 4·N·keys·D
 * FLOP. */
void lf_attention(LfBackend *be, LfTensor out, LfTensor q, const LfWindow *window, LfTensor table,
                  int query_block);

/* ---- text ------------------------------------------------------------------------------------ */

/* out R [N, D] = softmax(q·kᵀ/√d + bias)·v with q A [N, D], k, v A [L, D], `heads` heads; bias is
 * `last_logit` on the last key and 0 on the others. With last_logit = ln m, the last row of k and v
 * counts as m equal rows. v_amax F32 [1] or LF_NONE: as in LfWindow. */
void lf_cross_attention(LfBackend *be, LfTensor out, LfTensor q, LfTensor k, LfTensor v,
                        LfTensor v_amax, int heads, float last_logit);

/* out F32 [1] = max |x|, x A of any shape. Bound: bytes. */
void lf_amax(LfBackend *be, LfTensor out, LfTensor x);

/* out A [L, E] = softmax(q·kᵀ + bias F32 [heads, L, L])·v, q, k, v A [L, E]. No 1/√d (umT5). */
void lf_text_attention(LfBackend *be, LfTensor out, LfTensor q, LfTensor k, LfTensor v,
                       LfTensor bias);

/* out F32 [heads, L, L] = table F32 [n_buckets, heads] at the bucket of each offset of key j from
 * query i: out[h, i, j] = table[buckets[j − i + L − 1], h], buckets I32 [2·L − 1]. Bound: bytes. */
void lf_position_bias(LfBackend *be, LfTensor out, LfTensor table, LfTensor buckets);

/* out A [L, width] = rows ids [L] (I32) of the table; zeros for an id out of range. */
void lf_embedding(LfBackend *be, LfTensor out, const LfWeight *table, LfTensor ids);

/* gate A [n, m] = gelu_tanh(gate) ⊙ up A [n, m], in place. */
void lf_gelu_gate(LfBackend *be, LfTensor gate, LfTensor up);

/* ---- latents --------------------------------------------------------------------------------- */

/* Latents x, v, noise are F32 on every backend.
 * out A [N, C·4] = 2×2 patches of x F32 [c, C, h, w]; column = channel·4 + 2·(row in patch) +
 * column in patch. N = c·T, frames slowest, T = (h/2)·(w/2). Patch p of a frame, counted row by
 * row, is token order[p] of the frame (I32 [T], a permutation of 0 … T − 1), or token p for
 * LF_NONE. */
void lf_patchify(LfBackend *be, LfTensor out, LfTensor x, LfTensor order);

/* out F32 [c, C, h, w] from x A [N, 4·C]; column = (2·row in patch + column in patch)·C + channel.
 * `order` as in lf_patchify, or LF_NONE. */
void lf_unpatchify(LfBackend *be, LfTensor out, LfTensor x, LfTensor order);

/* out = x − sigma·v, all F32 of one shape. out may be x or v. */
void lf_denoise(LfBackend *be, LfTensor out, LfTensor x, LfTensor v, float sigma);

/* out = (1 − sigma)·x0 + sigma·noise, all F32 of one shape. out may be x0 or noise. */
void lf_renoise(LfBackend *be, LfTensor out, LfTensor x0, LfTensor noise, float sigma);

/* out F32, any shape: standard normal numbers, a pure function of (seed, chunk, step, index).
 * Philox 4×32-10 (Salmon et al. 2011) with key = seed and counter = (index/4, step, chunk, 0), then
 * Box–Muller: words (0, 1) give numbers 0 and 1, words (2, 3) numbers 2 and 3 of the four;
 * u = (word + 0.5)/2³², r = √(−2 ln u₀), the pair is (r cos 2πu₁, r sin 2πu₁). */
void lf_noise(LfBackend *be, LfTensor out, uint64_t seed, uint32_t chunk, uint32_t step);

/* ---- decoder: channels last ------------------------------------------------------------------ */

/* out P [f, h, w, C] = x ⊙ scale [C] + shift [C], x F32 [f, C, h, w] (channels first); scale and
 * shift (F32) may both be LF_NONE: 1 and 0. tanh_clamp: then 3·tanh(·/3), the first layer of TAEHV.
 * Bound: bytes. */
void lf_take_latents(LfBackend *be, LfTensor out, LfTensor x, LfTensor scale, LfTensor shift,
                     bool tanh_clamp);

/* out P or F32 [f, h, w, O] = act(conv3×3(x P [f, h, w, I], padding 1) + conv3×3(past [f, h, w,
 * I']) + bias [O] + residual [f, h, w, O]); `past` (P), bias and residual (out's type) may be
 * LF_NONE. The weight has I + I' input channels, those of x first. relu: max(·, 0). out may be
 * residual. Bound: 2·9·(I + I')·O·f·h·w FLOP, bytes where channels are few. */
void lf_conv3x3(LfBackend *be, LfTensor out, LfTensor x, LfTensor past, const LfWeight *weight,
                LfTensor bias, LfTensor residual, bool relu);

/* out P [f, 2h, 2w, O] = act(conv3×3(nearest×2(x P [f, h, w, I])) + bias [O] or LF_NONE): four 2×2
 * convolutions on the small grid, whose weights are sums of the 3×3 ones. */
void lf_conv3x3_up2(LfBackend *be, LfTensor out, LfTensor x, const LfWeight *weight, LfTensor bias,
                    bool relu);

/* A causal convolution over time and space, padding 1 in space where k = 3, with t taps in time:
 * out P or F32 [f, h, w, O] = Σ_s conv_k×k(frame i − (t − 1) + s of x P [f, h, w, I]) + bias [O] +
 * residual [f, h, w, O] for each frame i, s from 0 to t − 1. The frames before x are `past` P
 * [t − 1, h, w, I], oldest first; LF_NONE where t = 1. Bias and residual (out's type) may be
 * LF_NONE; out may be residual. Bound: 2·t·k²·I·O·f·h·w FLOP, bytes where channels are few. */
void lf_conv3d(LfBackend *be, LfTensor out, LfTensor x, LfTensor past, const LfWeight *weight,
               LfTensor bias, LfTensor residual);

/* The norm of Wan's VAE, over the channels of each pixel: out P = act(x P / max(‖x‖, 1e-12)·√C ⊙
 * weight F32 [C]), of any one shape whose last dimension is C; silu: x·σ(x). out may be x.
 * Bound: bytes. */
void lf_pixel_norm(LfBackend *be, LfTensor out, LfTensor x, LfTensor weight, bool silu);

/* Attention among the n pixels of each frame, with one head: out P [f, n, C] = softmax(q·kᵀ/√C)·v;
 * a row of x P [f, n, 3·C] is q, k, v. Exact softmax, sums in F32. Bound: 4·f·n²·C FLOP. */
void lf_frame_attention(LfBackend *be, LfTensor out, LfTensor x);

/* out U8 [f, h, w, 3] = trunc(255·clamp(x P [f, h, w, 3], 0, 1)). */
void lf_rgb8(LfBackend *be, LfTensor out, LfTensor x);

/* Converts one frame rgb U8 [h, w, 3] (backend memory) into `picture`, which is in host or device
 * memory (picture->memory) and has the same size; 4:2:0 needs even sizes. Every value is the exact
 * one rounded to nearest. Chroma of 4:2:0 is the mean around its position (see LfMatrix), with
 * weights ¼, ½, ¼ across (the left edge repeats) and ½, ½ down.
 * Unlike other operations: it may run on any thread, concurrently with them; the caller has waited
 * for rgb (event_sync); and it returns when the picture is complete. It reports its own failure:
 * false and an error, and the picture is undefined. It never fails a later sync. */
bool lf_pixels(LfBackend *be, const LfPicture *picture, LfTensor rgb, GError **error);

/* ---- the table ------------------------------------------------------------------------------- */

/* Every entry of the table by name. A new operation lf_x is a prototype above, a row here, a
 * checking function in ops.c, a function in each backend, and a row of tests and a function of the
 * mirror in tests/checkops (docs/adding.md). */
#define LF_OPERATIONS(ENTRY)                                                                       \
    ENTRY(weight_new)                                                                              \
    ENTRY(weight_free)                                                                             \
    ENTRY(linear)                                                                                  \
    ENTRY(linear_residual)                                                                         \
    ENTRY(layer_norm_modulate)                                                                     \
    ENTRY(layer_norm)                                                                              \
    ENTRY(rms_norm)                                                                                \
    ENTRY(qkv_norm_rope)                                                                           \
    ENTRY(rope_shift)                                                                              \
    ENTRY(select_blocks)                                                                           \
    ENTRY(attention)                                                                               \
    ENTRY(cross_attention)                                                                         \
    ENTRY(amax)                                                                                    \
    ENTRY(text_attention)                                                                          \
    ENTRY(position_bias)                                                                           \
    ENTRY(embedding)                                                                               \
    ENTRY(gelu_gate)                                                                               \
    ENTRY(patchify)                                                                                \
    ENTRY(unpatchify)                                                                              \
    ENTRY(denoise)                                                                                 \
    ENTRY(renoise)                                                                                 \
    ENTRY(noise)                                                                                   \
    ENTRY(take_latents)                                                                            \
    ENTRY(conv3x3)                                                                                 \
    ENTRY(conv3x3_up2)                                                                             \
    ENTRY(conv3d)                                                                                  \
    ENTRY(pixel_norm)                                                                              \
    ENTRY(frame_attention)                                                                         \
    ENTRY(rgb8)                                                                                    \
    ENTRY(pixels)

/* A plan has no functions but for weights. Every other backend has them all. */
struct LfOps {
#define LF_ENTRY(name) __typeof__(lf_##name) *name;
    LF_OPERATIONS(LF_ENTRY)
#undef LF_ENTRY
};

/* The name of the first operation that the table has no function for; NULL when it is complete. */
const char *lf_ops_missing(const LfOps *ops);

#endif
