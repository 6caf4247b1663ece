# SPDX-License-Identifier: LGPL-2.1-or-later
"""How much of dense attention's weight the kept blocks hold, by block size, token order and choice.

    python3 attention_mass.py WORK [prompts=4]

The model in WORK rolls out with dense attention; what is measured is its sixth chunk, whose window is full: the
mean over prompts, heads, layers, query tokens and passes of the softmax's sum over the kept keys."""
import random
import sys

import torch

from data import Tokenizer
from lightforcing import CHUNK, KEEP, NEAR, SINK, WINDOW, block_mask
from model import COLS, HEAD, ROWS, TOKENS, rotate
from scenes import caption, random_scene
from train import DEVICE, Folder, Generator, four_steps, pushed

CHUNKS, PAST, SPARSITIES = 6, WINDOW - CHUNK, (.8, .9)
TILES = [(1, 16), (2, 8), (5, 4), (2, 16), (5, 8), (5, 16), (10, 8)]     # rows, columns of a block


class Recorder:
    """Stands in for a transformer's `rotate` and keeps what attention gets."""

    def __init__(self):
        self.on, self.seen = False, []

    def __call__(self, x, turn):
        y = rotate(x, turn)
        if self.on:
            self.seen.append(y)
        return y

    def take(self):
        pairs, self.seen = list(zip(self.seen[::2], self.seen[1::2])), []
        return pairs


def tiled(rows, cols):
    """The order of a frame's tokens in which tiles of rows × cols are consecutive."""
    at = torch.arange(TOKENS, device=DEVICE).view(ROWS // rows, rows, COLS // cols, cols)
    return at.transpose(1, 2).reshape(-1)


def reordered(x, order):
    n, length, heads, d = x.shape
    return x.view(n, -1, TOKENS, heads, d)[:, :, order].reshape(n, length, heads, d)


def weights(q, k):
    a = q.transpose(1, 2) @ k.transpose(1, 2).transpose(-1, -2)
    return (a * HEAD ** -.5).softmax(-1)


def held(p, mask):
    return (p * mask).sum(-1).mean().item()


def by_blocks(values, block):
    """[n, heads, N, K] → means over the blocks of both."""
    n, heads, rows, cols = values.shape
    return values.view(n, heads, rows // block, block, cols // block, block).mean((3, 5))


def most(score, sparsity, block):
    mask = torch.zeros_like(score, dtype=torch.bool)
    kept = max(1, int((1 - sparsity) * score.shape[-1]))
    mask.scatter_(-1, score.topk(kept, -1).indices, True)
    return mask.repeat_interleave(block, -1).repeat_interleave(block, -2)


def one_stage(q, k, sparsity, block):
    """No choice among frames: the best blocks of all."""
    n, _, heads, d = q.shape
    pooled = [x.view(n, -1, block, heads, d).mean(2).transpose(1, 2) for x in (q, k)]
    return most(pooled[0] @ pooled[1].transpose(-1, -2), sparsity, block)


def sliding(p, frames):
    """The sink and the newest frames, the chunk's own among them."""
    kept = torch.zeros(p.shape[-1], dtype=torch.bool, device=p.device)
    kept[:SINK * TOKENS] = True
    kept[(WINDOW - frames + SINK) * TOKENS:] = True
    return kept.expand_as(p)


class Means:
    def __init__(self):
        self.sums = {}

    def add(self, name, value):
        total, n = self.sums.get(name, (0, 0))
        self.sums[name] = total + value, n + 1

    def print(self):
        for name, (total, n) in self.sums.items():
            print(f'{name:58s} {total / n:.3f}')


def measure(means, passes):
    """passes: for each pass of the chunk, for each layer q, k."""
    first = passes[0]
    for number, layers in enumerate(passes):
        for layer, (q, k) in enumerate(layers):
            p = weights(q, k)
            for frames in (4, 6):
                means.add(f'sink and newest, {frames} of {WINDOW} frames ({1 - frames / WINDOW:.2f})',
                          held(p, sliding(p, frames)))
            for rows, cols in TILES:
                order, block = tiled(rows, cols), rows * cols
                tq, tk = reordered(q, order), reordered(k, order)
                tp = weights(tq, tk)
                for s in SPARSITIES:
                    name = f'blocks of {block:2d} = {rows}×{cols}, {s}: '
                    means.add(name + 'frames, then blocks', held(tp, block_mask(tq, tk, PAST, s, block, TOKENS)))
                    means.add(name + 'blocks of all frames', held(tp, one_stage(tq, tk, s, block)))
                    means.add(name + 'the best there are', held(tp, most(by_blocks(tp, block), s, block)))
            for s in SPARSITIES if 0 < number < 4 else ():
                name = f'blocks of 32 = 2×16, {s}, step {number + 1} of 4: '
                means.add(name + 'its own map', held(p, block_mask(q, k, PAST, s, 32, TOKENS)))
                means.add(name + "the first step's", held(p, block_mask(*first[layer], PAST, s, 32, TOKENS)))


@torch.no_grad()
def main(path, prompts='prompts=4'):
    folder, rng, recorder = Folder(path), random.Random(2026), Recorder()
    tokenizer = Tokenizer(folder('spiece.model'))
    model = Generator(tokenizer.size).to(DEVICE).load(folder, 'transformer.safetensors')
    model.video.rotate = recorder
    n = int(prompts.removeprefix('prompts='))
    texts = [caption(rng, random_scene(rng, 1), True) for _ in range(n)]
    torch.manual_seed(5)
    text = model.video.text(model.text(tokenizer(texts).to(DEVICE)).unsqueeze(1))
    cache = None
    for chunk in range(CHUNKS):
        recorder.on = chunk == CHUNKS - 1
        x = four_steps(model.video, text, cache, n)
        new = model.video.step(x, torch.zeros(n, CHUNK, device=DEVICE), text, cache, keep=True)[1]
        cache = pushed(cache, new)
    pairs, means = recorder.take(), Means()
    layers = len(model.video.blocks)
    measure(means, [pairs[i:i + layers] for i in range(0, len(pairs), layers)])
    print(f'{n} prompts; frames kept {KEEP}, of them sink {SINK} and near {NEAR}')
    means.print()


if __name__ == '__main__':
    main(*sys.argv[1:])
