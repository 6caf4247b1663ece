# SPDX-License-Identifier: LGPL-2.1-or-later
"""The text encoder (umT5) and the causal transformer (Wan 2.1), scaled down; published tensor names.

The transformer has three forms with the same weights: `teach` (all chunks of a window at once, each
noisy one seeing the clean ones before it: training), `step` (one chunk over a cache: rollouts) and
what both are made of, `before` and `after` the attention of a block."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

from lightforcing import CHUNK, WINDOW, block_mask

ROWS, COLS, HEAD = 10, 16, 64
TOKENS = ROWS * COLS
CHANNELS, PAIRS = 16, (12, 10, 10)
TEXT_LEN = 48
SINK = 1
SIGMAS = [1.0, .9375, .8333333, .625]      # steps 1000, 750, 500, 250 at shift 5


def attend(q, k, v, mask=None, scale=None):
    """[n, heads, N, d]; a boolean mask says what is seen, any other is added."""
    if hasattr(F, 'scaled_dot_product_attention'):
        q = q if scale is None else q * (scale * math.sqrt(q.shape[-1]))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    a = q @ k.transpose(-1, -2) * (q.shape[-1] ** -.5 if scale is None else scale)
    if mask is not None:
        a = a.masked_fill(~mask, -1e30) if mask.dtype == torch.bool else a + mask
    return a.softmax(-1) @ v


class RMS(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        f = x.float()
        f = f * torch.rsqrt(f.pow(2).mean(-1, keepdim=True) + 1e-6)
        return f.to(x.dtype) * self.weight.to(x.dtype)


# ---- text ------------------------------------------------------------------------------------

class TextBlock(nn.Module):
    def __init__(self, width, heads, ffn):
        super().__init__()

        def linear(i, o):
            return nn.Linear(i, o, bias=False)

        self.heads, self.norm1, self.norm2 = heads, RMS(width), RMS(width)
        self.attn = nn.ModuleDict({name: linear(width, width) for name in 'qkvo'})
        self.pos_embedding = nn.ModuleDict({'embedding': nn.Embedding(32, heads)})
        self.ffn = nn.ModuleDict({'gate': nn.Sequential(linear(width, ffn)),
                                  'fc1': linear(width, ffn), 'fc2': linear(ffn, width)})
        nn.init.normal_(self.attn['q'].weight, std=(width * width / heads) ** -.5)
        nn.init.normal_(self.pos_embedding['embedding'].weight, std=.1)

    def forward(self, x, hidden, buckets):
        n, length, _ = x.shape
        a = self.norm1(x)
        q, k, v = (self.attn[c](a).view(n, length, self.heads, -1).transpose(1, 2) for c in 'qkv')
        bias = self.pos_embedding['embedding'](buckets).permute(2, 0, 1)[None].to(q.dtype) + hidden
        y = attend(q, k, v, bias.expand(n, self.heads, length, length), scale=1.)
        x = x + self.attn['o'](y.transpose(1, 2).reshape(n, length, -1))
        a = self.norm2(x)
        gate = F.gelu(self.ffn['gate'](a), approximate='tanh')
        return x + self.ffn['fc2'](self.ffn['fc1'](a) * gate)


class TextEncoder(nn.Module):
    def __init__(self, vocabulary, width=192, heads=3, ffn=384, layers=3):
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList([TextBlock(width, heads, ffn) for _ in range(layers)])
        self.norm = RMS(width)

    def forward(self, ids):
        """[n, length], 0 is padding → [n, length, width] with zeros at the padding."""
        at = torch.arange(ids.shape[1], device=ids.device)
        r = at[None] - at[:, None]
        far = 8 + (torch.log(r.abs().clamp(min=1).float() / 8) / math.log(16) * 8).long()
        buckets = (r > 0).long() * 16 + torch.where(r.abs() < 8, r.abs(), far.clamp(max=15))
        real = ids != 0
        x = self.token_embedding(ids)
        hidden = torch.zeros_like(x[..., 0]).masked_fill(~real, -1e4)[:, None, None]
        for block in self.blocks:
            x = block(x, hidden, buckets)
        return self.norm(x) * real[..., None].to(x.dtype)


# ---- transformer -----------------------------------------------------------------------------

def rotations(frames, device):
    """Frame numbers → (cos, sin) [len(frames)·TOKENS, 32]."""
    def angles(positions, pairs):
        p = torch.as_tensor(positions, dtype=torch.float64, device=device)
        return p[:, None] * 10000. ** (-torch.arange(pairs, dtype=torch.float64, device=device) / pairs)

    n = len(frames)
    time, row, col = (angles(list(p), c) for p, c in zip((frames, range(ROWS), range(COLS)), PAIRS))
    full = torch.cat([time.view(n, 1, 1, -1).expand(n, ROWS, COLS, -1),
                      row.view(1, ROWS, 1, -1).expand(n, ROWS, COLS, -1),
                      col.view(1, 1, COLS, -1).expand(n, ROWS, COLS, -1)], -1).reshape(n * TOKENS, -1)
    return full.cos().float(), full.sin().float()


def rotate(x, turn):
    """x [n, N, heads, 64], pairs interleaved."""
    cos, sin = (t.view(1, -1, 1, HEAD // 2) for t in turn)
    a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        for name in 'qkvo':
            linear = nn.Linear(width, width)
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
            setattr(self, name, linear)
        self.norm_q, self.norm_k = RMS(width), RMS(width)


class Block(nn.Module):
    def __init__(self, width, ffn):
        super().__init__()
        self.width = width
        self.modulation = nn.Parameter(torch.randn(1, 6, width) / width ** .5)
        self.self_attn, self.cross_attn = Attention(width), Attention(width)
        self.norm3 = nn.LayerNorm(width, eps=1e-6)
        self.ffn = nn.Sequential(nn.Linear(width, ffn), nn.GELU(approximate='tanh'),
                                 nn.Linear(ffn, width))

    def modulated(self, x, m, shift):
        n, length, width = x.shape
        a = F.layer_norm(x.float(), (width,), eps=1e-6).view(n, -1, TOKENS, width)
        return (a * (1 + m[:, :, shift + 1]) + m[:, :, shift]).view(n, length, width)

    def gated(self, x, y, m, gate):
        n, length, width = x.shape
        frames = (n, -1, TOKENS, width)
        return (x.view(frames) + y.view(frames) * m[:, :, gate]).view(n, length, width)

    def before(self, x, e):
        """x [n, N, D], e [n, f, 6, D] → q, k, v [n, N, heads, 64], not rotated."""
        a = self.modulated(x, (self.modulation.unsqueeze(1) + e).unsqueeze(3), 0)
        s, shape = self.self_attn, (*x.shape[:2], -1, HEAD)
        return (s.norm_q(s.q(a)).view(shape), s.norm_k(s.k(a)).view(shape), s.v(a).view(shape))

    def after(self, x, y, e, text_k, text_v):
        """y [n, N, D]: attention's output; text_k, text_v [n, g, L, heads, 64]: for N/g tokens each."""
        n, length, width = x.shape
        m = (self.modulation.unsqueeze(1) + e).unsqueeze(3)
        x = self.gated(x, self.self_attn.o(y), m, 2)
        c, groups = self.cross_attn, text_k.shape[1]
        q = c.norm_q(c.q(self.norm3(x))).view(n * groups, length // groups, -1, HEAD).transpose(1, 2)
        k, v = (t.reshape(n * groups, -1, *t.shape[3:]).transpose(1, 2).to(q.dtype)
                for t in (text_k, text_v))
        x = x + c.o(attend(q, k, v).transpose(1, 2).reshape(n, length, width))
        return self.gated(x, self.ffn(self.modulated(x, m, 3)), m, 5)


class Head(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.head = nn.Linear(width, 4 * CHANNELS)
        self.modulation = nn.Parameter(torch.randn(1, 2, width) / width ** .5)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)


def attention(q, k, v, mask=None):
    """[n, N, heads, 64] → [n, N, D]."""
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    y = attend(q, k, v, mask).transpose(1, 2)
    return y.reshape(*y.shape[:2], -1)


class Transformer(nn.Module):
    def __init__(self, width=256, ffn=768, layers=8, text_width=192, freq=256):
        super().__init__()

        def mlp(i, activation, deviation):
            first, second = nn.Linear(i, width), nn.Linear(width, width)
            nn.init.normal_(first.weight, std=deviation)
            nn.init.normal_(second.weight, std=.02)
            return nn.Sequential(first, activation, second)

        self.width, self.freq = width, freq
        self.patch_embedding = nn.Conv3d(CHANNELS, width, (1, 2, 2), (1, 2, 2))
        nn.init.xavier_uniform_(self.patch_embedding.weight.flatten(1))
        self.text_embedding = mlp(text_width, nn.GELU(approximate='tanh'), .05)
        self.time_embedding = mlp(freq, nn.SiLU(), .02)
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.blocks = nn.ModuleList([Block(width, ffn) for _ in range(layers)])
        self.head = Head(width)
        self.before, self.after, self.rotate = Block.before, Block.after, rotate

    def text(self, context):
        """[n, g, L, text width] → for every layer k, v [n, g, L, heads, 64]."""
        c = self.text_embedding(context)
        shape = (*c.shape[:3], -1, HEAD)
        return [(b.cross_attn.norm_k(b.cross_attn.k(c)).view(shape), b.cross_attn.v(c).view(shape))
                for b in self.blocks]

    def embed(self, z, t):
        """z [n, f, 16, 20, 32], t [n, f] in 0…1000 → tokens, and the time's two vectors."""
        n, f = t.shape
        x = z.view(n, f, CHANNELS, ROWS, 2, COLS, 2).permute(0, 1, 3, 5, 2, 4, 6)
        x = F.linear(x.reshape(n, f * TOKENS, -1), self.patch_embedding.weight.flatten(1),
                     self.patch_embedding.bias)
        half = self.freq // 2
        scale = 10000. ** (-torch.arange(half, device=z.device, dtype=torch.float64) / half)
        angle = t.double()[..., None] * scale
        e = self.time_embedding(torch.cat([angle.cos(), angle.sin()], -1).float())
        return x.float(), e, self.time_projection(e).view(n, f, 6, self.width).float()

    def out(self, x, e):
        n = x.shape[0]
        m = self.head.modulation.unsqueeze(1) + e.float().unsqueeze(2)
        a = F.layer_norm(x.float(), (self.width,), eps=1e-6).view(n, -1, TOKENS, self.width)
        y = self.head.head(a * (1 + m[:, :, 1:2]) + m[:, :, 0:1]).float()
        y = y.view(n, -1, ROWS, COLS, 2, 2, CHANNELS).permute(0, 1, 6, 2, 4, 3, 5)
        return y.reshape(n, -1, CHANNELS, 2 * ROWS, 2 * COLS)

    def teach(self, clean, noisy, t, text, group_text, sparsity=None, block=32):
        """Velocities of `noisy` [n, 12, …] at times t [n, 12], four chunks that each see the clean
        chunks before them (`clean` [n, 9, …], at time 0) and themselves. `group_text` [n, 4] says which of
        the text's groups each chunk reads; `sparsity`, if given, is one number for each chunk."""
        n, n_clean = noisy.shape[0], clean.shape[1]
        zero = torch.zeros(n, n_clean, device=t.device)
        x, e, e6 = self.embed(torch.cat([clean, noisy], 1), torch.cat([zero, t], 1))
        turn = rotations(list(range(n_clean)) + list(range(noisy.shape[1])), x.device)
        size, past = CHUNK * TOKENS, n_clean * TOKENS
        groups = torch.cat([group_text[:, :n_clean // CHUNK], group_text], 1)
        for block_, (tk, tv) in zip(self.blocks, text):
            q, k, v = self.before(block_, x, e6)
            q, k = self.rotate(q, turn), self.rotate(k, turn)
            y = [attention(q[:, i:i + size], k[:, :i + size], v[:, :i + size])
                 for i in range(0, past, size)]
            for g in range(noisy.shape[1] // CHUNK):
                own = slice(past + g * size, past + (g + 1) * size)
                keys, values = (torch.cat([s[:, :g * size], s[:, own]], 1) for s in (k, v))
                mask = None
                if sparsity is not None:
                    mask = block_mask(q[:, own], keys, g * CHUNK, sparsity[g], block, TOKENS)
                y.append(attention(q[:, own], keys, values, mask))
            index = groups.view(*groups.shape, 1, 1, 1).expand(-1, -1, *tk.shape[2:])
            x = self.after(block_, x, torch.cat(y, 1), e6, tk.gather(1, index), tv.gather(1, index))
        return self.out(x, e)[:, n_clean:]

    def step(self, z, t, text, cache=None, sparsity=0., block=32, keep=False):
        """Velocity of one chunk over the cache (for each layer k, v before rotation), and, if `keep`, the
        chunk's own keys and values."""
        past = 0 if cache is None else cache[0][0].shape[1] // TOKENS
        x, e, e6 = self.embed(z, t)
        turn = rotations(range(past + z.shape[1]), z.device)
        own = tuple(r[past * TOKENS:] for r in turn)
        new = []
        for i, (block_, (tk, tv)) in enumerate(zip(self.blocks, text)):
            q, k, v = self.before(block_, x, e6)
            if keep:
                new.append((k, v))
            if cache is not None:
                k, v = (torch.cat([c.to(s.dtype), s], 1) for c, s in zip(cache[i], (k, v)))
            q, k = self.rotate(q, own), self.rotate(k, turn)
            mask = block_mask(q, k, past, sparsity, block, TOKENS)
            x = self.after(block_, x, attention(q, k, v, mask), e6, tk, tv)
        return self.out(x, e), new


def pushed(cache, new):
    """The cache after a chunk: sink frames stay, the oldest others leave so that the next one fits."""
    kept, result = WINDOW - CHUNK, []
    for i, pair in enumerate(new):
        pair = [s.detach() for s in pair]
        if cache is not None:
            pair = [torch.cat([c.to(s.dtype), s], 1) for c, s in zip(cache[i], pair)]
        if pair[0].shape[1] > kept * TOKENS:
            pair = [torch.cat([s[:, :SINK * TOKENS], s[:, (SINK - kept) * TOKENS:]], 1)
                    for s in pair]
        result.append(tuple(pair))
    return result
