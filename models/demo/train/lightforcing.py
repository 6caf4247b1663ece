# SPDX-License-Identifier: LGPL-2.1-or-later
"""Light Forcing for training: how sparse a chunk may be, and which blocks it reads, as a mask."""
import torch

TARGET, BASE, CHUNK, WINDOW, HORIZON = .85, .95, 3, 12, 63
KEEP, SINK, NEAR = 3, 1, 1


def growth(index, target=TARGET, base=BASE):
    """Chunk-Aware Growth: sparsity of chunk `index`, from 0."""
    if index == 0:
        return 0.
    planned = HORIZON // CHUNK
    ends = [k * CHUNK for k in range(2, planned + 1)]
    attended = [min(f, WINDOW) for f in ends]
    saved = sum((base - target) * n for n in attended)
    beta = saved / sum(n * f ** -.5 for n, f in zip(attended, ends))
    return max(0., base - (min(index + 1, planned) * CHUNK) ** -.5 * beta)


@torch.no_grad()
def block_mask(q, k, past, sparsity, block, tokens):
    """Hierarchical selection for one chunk, q [n, N, heads, d] over k [n, K, heads, d], both rotated;
    `past` frames of `tokens` come before the chunk's own. → bool [n, heads, N, K], or None: dense."""
    if sparsity <= 0:
        return None
    n, n_q, heads, d = q.shape
    n_k, frame = k.shape[1], tokens // block

    def pooled(x):
        return x.float().view(n, -1, block, heads, d).mean(2).transpose(1, 2)

    q_pool, k_pool = pooled(q), pooled(k)
    score = q_pool @ k_pool.transpose(-1, -2)
    if past > KEEP:
        means = k_pool[:, :, :past * frame].reshape(n, heads, past, frame, d).mean(3)
        by_frame = q_pool @ means.transpose(-1, -2)
        by_frame[..., :SINK] = by_frame[..., past - NEAR:] = 1e9
        kept = torch.zeros_like(by_frame, dtype=torch.bool)
        kept.scatter_(-1, by_frame.topk(KEEP, -1).indices, True)
        kept = kept.repeat_interleave(frame, -1)
        score[..., :past * frame] = score[..., :past * frame].masked_fill(~kept, -1e30)
    candidates = min(past, KEEP) * frame + n_q // block
    budget = max(1, min(int((1 - sparsity) * (n_k // block)), candidates))
    mask = torch.zeros_like(score, dtype=torch.bool)
    mask.scatter_(-1, score.topk(budget, -1).indices, True)
    return mask.repeat_interleave(block, -1).repeat_interleave(block, -2)
