# SPDX-License-Identifier: LGPL-2.1-or-later
"""The tokenizer, and clips as latents with captions and object masks."""
import random

import sentencepiece
import torch

from autoencoder import CHANNELS
from common import DEVICE, SMALL, autocast, compiled
from model import COLS, ROWS, SIGMAS, TEXT_LEN
from render import CHUNK_FRAMES, Clips, make_backgrounds, render
from scenes import BACKGROUND, caption, edited_scene, random_scene

CHUNKS = 8                      # of a clip
LATENTS = 3 * CHUNKS
NEVER = 10 ** 6


def train_tokenizer(path, vocabulary=512):
    rng = random.Random(5)
    sentences = [caption(rng, random_scene(rng)) for _ in range(60000)]
    sentences += ['the quick brown fox jumps over the lazy dog', 'abcdefghijklmnopqrstuvwxyz',
                  "0 1 2 3 4 5 6 7 8 9 , . ! ? ' - : ;"] * 200
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_prefix=path.removesuffix('.model'),
        vocab_size=vocabulary, model_type='unigram', pad_id=0, eos_id=1, bos_id=2, unk_id=3,
        normalization_rule_name='nmt_nfkc_cf', character_coverage=1.0, hard_vocab_limit=False,
        minloglevel=2)


class Tokenizer:
    def __init__(self, path):
        self.pieces = sentencepiece.SentencePieceProcessor(model_file=path)
        self.size = self.pieces.get_piece_size()

    def __call__(self, texts):
        ids = torch.zeros(len(texts), TEXT_LEN, dtype=torch.long)
        for row, piece in zip(ids, self.pieces.encode(texts)):
            piece = piece[:TEXT_LEN - 1] + [1]
            row[:len(piece)] = torch.tensor(piece)
        return ids


def random_clips(rng, n, device, change=.4, repair=.3):
    """n clips, `change` of them with a switch to another scene at a chunk's border, `repair` of them from
    a spoilt scene to what it should be; → clips, pairs, switch chunks, repairs."""
    pairs, chunks, repairs = [], [], []
    for _ in range(n):
        scene, kind = random_scene(rng), rng.random()
        repairs.append(change <= kind < change + repair)
        pairs.append((scene, edited_scene(rng, scene) if kind < change else scene))
        chunks.append(rng.randrange(1, CHUNKS - 1) if kind < change + repair else NEVER)
    clips = Clips(rng, pairs, [c * CHUNK_FRAMES for c in chunks], device, repairs)
    return clips, pairs, chunks, repairs


def object_mask(objects):
    """[n, T, 2, 14] → bool [n, T/4, ROWS, COLS]: tokens that an object touches."""
    x = torch.arange(COLS, device=objects.device) * 16. + 8
    y = (torch.arange(ROWS, device=objects.device) * 16. + 8)[:, None]
    f = objects[..., None, None]
    dx = torch.remainder(f[:, :, :, 0] - x + 128, 256) - 128
    dy = torch.remainder(f[:, :, :, 1] - y + 80, 160) - 80
    near = ((dx ** 2 + dy ** 2).sqrt() < 1.15 * f[:, :, :, 2] + 10) & (f[:, :, :, 13] > .3)
    return near.any(2).view(len(objects), -1, 4, ROWS, COLS).any(2)


class Latents:
    """A dataset on the device: z [n, 24, 16, 20, 32], ids [n, 2, captions, TEXT_LEN], the chunk of
    the switch, whether that is a repair, masks of the objects, and the bare backgrounds."""

    def __init__(self, autoencoder, tokenizer, n, seed, captions=3):
        rng, step = random.Random(seed), 4 if SMALL else 16
        draw, images = compiled(render), make_backgrounds(DEVICE)
        self.z = torch.empty(n, LATENTS, CHANNELS, 2 * ROWS, 2 * COLS, dtype=torch.bfloat16,
                             device=DEVICE)
        self.mask = torch.zeros(n, LATENTS, ROWS, COLS, dtype=torch.bool, device=DEVICE)
        time = torch.arange(4. * LATENTS, device=DEVICE)[None].expand(step, -1)
        texts, switches, repairs, self.pairs = [], [], [], []
        for first in range(0, n, step):
            clips, pairs, chunks, spoilt = random_clips(rng, step, DEVICE)
            texts += [caption(rng, s) for pair in pairs for s in pair for _ in range(captions)]
            switches += chunks
            repairs += spoilt
            self.pairs += pairs
            with torch.no_grad(), autocast():
                frames, objects = clips.frames(time, images, draw)
                self.z[first:first + step] = autoencoder.encode(frames.float()).to(torch.bfloat16)
            self.mask[first:first + step] = object_mask(objects)
        with torch.no_grad(), autocast():
            still = images[:, None].expand(-1, 4, -1, -1, -1).float()
            self.backgrounds = autoencoder.encode(still)[:, 0].float()
        self.scene = torch.tensor([[BACKGROUND.index(s['background']) for s in pair]
                                   for pair in self.pairs], device=DEVICE)
        self.ids = tokenizer(texts).view(n, 2, captions, TEXT_LEN).to(DEVICE)
        self.switch = torch.tensor(switches, device=DEVICE)
        self.repair = torch.tensor(repairs, device=DEVICE)
        same = self.repair & (torch.rand(n, device=DEVICE) < .7)
        self.ids[same, 0] = self.ids[same, 1]
        self.known_beginnings = {}
        self.sigmas = torch.tensor(SIGMAS, device=DEVICE)

    def background_of(self, clip, which):
        """The latent of each clip's background without objects."""
        return self.backgrounds[self.scene[clip, which]]

    def captions(self, clip, which):
        """Token ids of one caption of each clip's scene `which` (0 or 1)."""
        return self.ids[clip, which, torch.randint(self.ids.shape[2], (len(clip),), device=DEVICE)]

    def beginnings(self, first, last):
        """Those of the clips first … last − 1 whose first four chunks have something to learn."""
        if (first, last) not in self.known_beginnings:
            useful = ~self.repair | (self.switch < 4)
            self.known_beginnings[first, last] = first + torch.nonzero(useful[first:last])[:, 0]
        return self.known_beginnings[first, last]

    def windows(self, n, first, last):
        """A batch of n windows of 12 latents from clips first … last − 1:
        z, ids [n, 2, L], text group of each chunk [n, 4], rolled?, mask, what counts [n, 12].

        More than half are rolled: frame 0 is an early one, as the sink will be, and eleven
        consecutive frames follow whose last three groups are whole chunks. The first group
        of those is context only. The others start where the clip does, which has no past. What a spoilt
        scene shows is context only, too."""
        clip, rolled = torch.randint(first, last, (n,), device=DEVICE), torch.rand(1).item() < .6
        if not rolled:
            clip = self.beginnings(first, last)
            clip = clip[torch.randint(len(clip), (n,), device=DEVICE)]
        switch, repair = self.switch[clip], self.repair[clip]
        start = torch.zeros(n, device=DEVICE, dtype=torch.long)
        if rolled:
            start = torch.randint(2, 6, (n,), device=DEVICE) * 3
            near = (torch.rand(n, device=DEVICE) < .5) & (switch < CHUNKS) | repair
            close = ((switch - torch.randint(0, 3, (n,), device=DEVICE)) * 3).clamp(6, 15)
            start = torch.where(near, close, start)
            frames = start[:, None] - 2 + torch.arange(11, device=DEVICE)
            early = torch.minimum(torch.randint(0, 6, (n,), device=DEVICE), frames[:, 0] - 1)
            sink = torch.where(torch.rand(n, device=DEVICE) < .5, torch.zeros_like(early), early)
            frames = torch.cat([sink[:, None], frames], 1)
            chunk = start[:, None] // 3 - 1 + torch.arange(4, device=DEVICE)
        else:
            frames = torch.arange(12, device=DEVICE)[None].expand(n, -1)
            chunk = torch.arange(4, device=DEVICE)[None].expand(n, -1)
        z, mask = self.z[clip[:, None], frames].float(), self.mask[clip[:, None], frames].float()
        mask = mask.repeat_interleave(2, 2).repeat_interleave(2, 3)[:, :, None]
        choice = torch.randint(self.ids.shape[2], (n,), device=DEVICE)
        ids = self.ids[clip, :, choice]
        empty = torch.zeros_like(ids)
        empty[..., 0] = 1
        ids = torch.where(torch.rand(n, 1, 1, device=DEVICE) < .1, empty, ids)
        after = chunk >= switch[:, None]
        counts = (after | ~repair[:, None]).float().repeat_interleave(3, 1)
        return z, ids, after.long(), rolled, mask, counts
