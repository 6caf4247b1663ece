# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes the demo model from nothing. See README.md beside this file.

    python3 train.py WORK [stage=seconds …]        all stages, or the named ones, e.g. teacher=600
    torchrun --nproc-per-node=3 train.py …         on three GPUs, each with a batch and clips of its own
"""
import copy
import math
import os
import queue
import random
import re
import shutil
import sys
import threading

import torch

from autoencoder import Autoencoder
from common import (DEVICE, PROCESSES, RANK, SMALL, Average, Optimiser, Stage, autocast, compiled,
                    load_tensors, log, meet, save_tensors, sheet)
from data import CHANNELS, Latents, Tokenizer, random_clips, train_tokenizer
from lightforcing import growth
from model import SIGMAS, Block, TextEncoder, Transformer, pushed, rotate
from render import make_backgrounds, render
from scenes import caption, random_scene

CLIPS, HELD_OUT, BATCH, STREAMS = (11264, 512, 64, 64) if not SMALL else (32, 16, 2, 4)


class Folder:
    """Where the stages leave their results for each other."""

    def __init__(self, path):
        os.makedirs(path, exist_ok=True)
        self.path = path

    def __call__(self, name):
        return os.path.join(self.path, name)

    def has(self, name):
        return os.path.exists(self(name))

    def keep(self, name):
        """A copy of the model as it is now, in a folder of its own."""
        os.makedirs(self(name), exist_ok=True)
        for part in ('model.json', 'transformer.safetensors', 'text_encoder.safetensors', 'decoder.safetensors',
                     'spiece.model'):
            shutil.copy(self(part), os.path.join(self(name), part))


def save_config(folder, tokenizer):
    """What the shipped model.json says, for this tokenizer: its size depends on the captions."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'model.json')) as shipped:
        text, replaced = re.subn(r'"vocab": \d+', f'"vocab": {tokenizer.size}', shipped.read())
    assert replaced == 1
    with open(folder('model.json'), 'w') as file:
        file.write(text)


# ---- stage 1: autoencoder --------------------------------------------------------------------

def picture_loss(y, x, z):
    """Chroma on its own, or luminance wins and colour never comes; gradients for crisp edges."""
    d = y - x
    chroma = (d[:, :, 0] - d[:, :, 1]).abs().mean() + (d[:, :, 1] - d[:, :, 2]).abs().mean()
    edges = (d[..., 1:] - d[..., :-1]).abs().mean() + (d[..., 1:, :] - d[..., :-1, :]).abs().mean()
    motion = (d[:, 1:] - d[:, :-1]).abs().mean()
    rough = (z[..., 1:] - z[..., :-1]).abs().mean() + (z[..., 1:, :] - z[..., :-1, :]).abs().mean()
    return d.abs().mean() + 2 * (d * d).mean() + .5 * chroma + edges + .3 * motion + .002 * rough


def clip_source(batch, frames):
    """Clips made by threads of their own: sampling scenes is Python and would hold the GPU up."""
    ready = queue.Queue(32)

    def work(seed):
        rng = random.Random(seed)
        while True:
            clips = random_clips(rng, batch, 'cpu')[0]
            start = torch.randint(0, 96 - frames, (batch, 1)).float()
            near = (clips.switch[:, None] - torch.randint(-4, 14, (batch, 1))).clamp(0, 96 - frames)
            switching = (torch.rand(batch, 1) < .4) & (clips.switch[:, None] < 96)
            ready.put((clips, torch.where(switching, near, start) + torch.arange(float(frames))))

    for seed in (99 + 2 * RANK, 100 + 2 * RANK):
        threading.Thread(target=work, args=(seed,), daemon=True).start()

    def take():
        clips, time = ready.get()
        for fields in (clips.a, clips.b):
            fields.update({k: v.to(DEVICE, non_blocking=True) for k, v in fields.items()})
        for name in ('background_a', 'background_b', 'switch', 'gain', 'goes_on', 'slowly', 'false_gain'):
            setattr(clips, name, getattr(clips, name).to(DEVICE, non_blocking=True))
        return clips, time.to(DEVICE)

    return take


def stage_autoencoder(folder, seconds):
    model = Autoencoder().to(DEVICE).to(memory_format=torch.channels_last)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    optimiser = Optimiser(model, matrices, adam_share=.5, clip=.5)
    batch, frames = (16, 16) if not SMALL else (2, 16)
    take, draw, images = clip_source(batch, frames), compiled(render), make_backgrounds(DEVICE)
    stage = Stage('autoencoder', seconds)
    while stage.running():
        f = stage.fraction
        with torch.no_grad():
            clips, time = take()
            x, _ = clips.frames(time, images, draw)
        with autocast():
            z = model.encode(x)
            level = torch.rand(batch, 1, 1, 1, 1, device=DEVICE) * .2 * min(1, f / .15)
            y = model.decode(z + torch.randn_like(z) * level)
        loss = picture_loss(y.float(), x, z)
        warm = min(1, (stage.steps + 1) / 60)
        fall = 1 if f < .4 else .5 * (1 + math.cos(math.pi * (f - .4) / .6)) + .01
        optimiser.step(loss, 2e-3 * warm * fall)
        stage.steps += 1
        if stage.steps % 500 == 0:
            log('autoencoder', stage.steps, 'PSNR %.2f dB' % psnr(y.float(), x).mean().item())
    optimiser.average.copy_to(model)
    model.eval()
    report_autoencoder(folder, model, images)
    save_decoder(folder, model.decoder.state_dict())
    save_tensors(folder('encoder.safetensors'),
                 {k: v.float() for k, v in model.state_dict().items()
                  if not k.startswith('decoder.') and v.ndim})


def stage_decoder(folder, seconds):
    """More of the decoder alone: latents, and so what a transformer has learned, stay what they are. Each latent
    was made from four frames without a look at the others, so still edges jump where it ends; here such
    jumps cost most, and noise that comes and goes with a chunk is among what has to be smoothed."""
    model = load_autoencoder(folder)
    for p in model.parameters():
        p.requires_grad_(False)
    for p in model.decoder.parameters():
        p.requires_grad_(True)
    matrices = [p for p in model.decoder.parameters() if p.ndim > 1]
    optimiser = Optimiser(model.decoder, matrices, adam_share=.5, clip=.5)
    batch, frames = (12, 24) if not SMALL else (2, 24)
    take, draw, images = clip_source(batch, frames), compiled(render), make_backgrounds(DEVICE)
    jumps = torch.ones(frames - 1, device=DEVICE)
    jumps[3::4] = 3
    stage = Stage('decoder', seconds)
    while stage.running():
        f = stage.fraction
        with torch.no_grad():
            clips, time = take()
            x, _ = clips.frames(time, images, draw)
            with autocast():
                z = model.encode(x)
            level = torch.rand(batch, 1, 1, 1, 1, device=DEVICE)
            by_chunk = torch.randn(batch, frames // 4 // 3, 1, *z.shape[2:], device=DEVICE)
            by_chunk = torch.nn.functional.avg_pool2d(by_chunk.flatten(0, 2), 5, 1, 2).view_as(by_chunk) * 3
            by_chunk = by_chunk.expand(-1, -1, 3, -1, -1, -1).reshape(z.shape)
            noisy = z + level * (.12 * torch.randn_like(z) + .08 * by_chunk)
        with autocast():
            y = model.decode(noisy)
        d = y.float() - x
        moves = ((d[:, 1:] - d[:, :-1]).abs().mean((0, 2, 3, 4)) * jumps).mean()
        loss = picture_loss(y.float(), x, z) + .5 * moves
        optimiser.step(loss, 1e-3 * min(1, (stage.steps + 1) / 60) * (.5 * (1 + math.cos(math.pi * f)) + .01))
        stage.steps += 1
        if stage.saves():
            save_decoder(folder, optimiser.average.tensors(model.decoder))
        if stage.steps % 250 == 0:
            log('decoder', stage.steps, 'PSNR %.2f dB' % psnr(y.float(), x).mean().item())
    optimiser.average.copy_to(model.decoder)
    model.eval()
    log('decoder', stage.steps, 'steps')
    report_autoencoder(folder, model, images)
    save_decoder(folder, model.decoder.state_dict())


def save_decoder(folder, tensors):
    save_tensors(folder('decoder.safetensors'), {'decoder.' + k: v for k, v in tensors.items()})


def psnr(y, x):
    return -10 * torch.log10(((y.clamp(0, 1) - x) ** 2).mean((1, 2, 3, 4)))


@torch.no_grad()
def report_autoencoder(folder, model, images):
    clips = random_clips(random.Random(555), 4 if SMALL else 48, DEVICE)[0]
    x, _ = clips.frames(torch.arange(48., device=DEVICE)[None].expand(len(clips.switch), -1), images)
    for noise in (0, .1, .2):
        with autocast():
            z = model.encode(x)
            y = model.decode(z + noise * torch.randn_like(z)).float()
        p = psnr(y, x)
        change = (y[:, 1:] - y[:, :-1]).abs().mean((0, 2, 3, 4))
        borders = torch.arange(len(change), device=DEVICE) % 4 == 3
        log('held-out PSNR at latent noise', noise,
            'mean %.2f worst %.2f dB, change at latents\' borders / inside %.3f' % (
                p.mean().item(), p.min().item(), change[borders].mean() / change[~borders].mean()))
        if noise == 0:
            pairs = [torch.cat([x[i, 4::15], y[i, 4::15]]) for i in range(min(10, len(x)))]
            sheet(folder('autoencoder.png'), torch.stack(pairs), scale=1)


def load_autoencoder(folder):
    model = Autoencoder().to(DEVICE).eval()
    state = load_tensors(folder('encoder.safetensors'))
    state.update(load_tensors(folder('decoder.safetensors')))
    state['normalise.num_batches_tracked'] = torch.tensor(0)
    model.load_state_dict(state)
    return model.to(memory_format=torch.channels_last)


# ---- stage 2: the teacher, by flow matching --------------------------------------------------

class Generator(torch.nn.Module):
    def __init__(self, vocabulary):
        super().__init__()
        self.text = TextEncoder(vocabulary)
        self.video = Transformer()

    def compile(self):
        v = self.video
        v.before, v.after, v.rotate = compiled(Block.before), compiled(Block.after), compiled(rotate)

    def load(self, folder, transformer):
        self.text.load_state_dict(load_tensors(folder('text_encoder.safetensors')))
        self.video.load_state_dict(load_tensors(folder(transformer)))
        return self


OBJECT_WEIGHT = 3.5
OWN_PAST = .35        # of the steps see the model's own past


def loss_weights(mask, sigma, rolled):
    """More on object tokens, most of a latent being background. Not in a first chunk's
    highest noise, though: where the position is still open the weight would favour objects everywhere."""
    known = torch.ones_like(sigma)
    if not rolled:
        known[:, :3] = ((.97 - sigma[:, :3]) / .12).clamp(0, 1)
    return 1 + OBJECT_WEIGHT * mask * known[..., None, None, None]


@torch.no_grad()
def as_generated(model, z, text, group, shares):
    """The window as the model itself would have made it: one step from a noise level of the few steps."""
    sigma = SIGMAS[2 + int(torch.randint(2, (1,)))]
    x = (1 - sigma) * z + sigma * torch.randn_like(z)
    t = torch.full(z.shape[:2], sigma * 1000, device=DEVICE)
    with autocast():      # of its own: what is cached in here has no gradient
        return x - sigma * model.video.teach(z[:, :9], x, t, text, group, shares).float()


def flow_loss(model, data, first, last, sparse, own_past=False, plain=False):
    """Mean squared error of the velocity, on four chunks under teacher forcing. With `own_past` what the chunks see
    before them is the model's own work, as it will be in a stream; what they should be stays the truth."""
    z, ids, group, rolled, mask, counts = data.windows(BATCH, first, last)
    u = torch.rand(BATCH, 4, device=DEVICE)
    sigma = (3 * u / (1 + 2 * u)).clamp(.004, 1)
    step = data.sigmas[torch.randint(4, (BATCH, 4), device=DEVICE)]     # as the few steps will ask for
    sigma = torch.where(torch.rand(BATCH, 4, device=DEVICE) < .45, step, sigma)
    sigma = sigma.repeat_interleave(3, 1)
    s, noise = sigma[..., None, None, None], torch.randn_like(z)
    shares = None
    if sparse:
        shares = [growth(g) for g in range(4)] if not rolled else [.0, .75, .8, growth(20)]
    with autocast():
        context = model.text(ids.flatten(0, 1)).view(BATCH, 2, ids.shape[-1], -1)
        text, past = model.video.text(context), z
    if own_past:
        past = as_generated(model, z, [(k.detach(), v.detach()) for k, v in text], group, shares)
    drift = (torch.rand(BATCH, 1, 1, 1, 1, device=DEVICE) - .4).clamp(0, 1) * .25
    shift = torch.randn(BATCH, 1, CHANNELS, 1, 1, device=DEVICE) * drift * .5
    clean = past[:, :9] + torch.randn_like(z[:, :9]) * drift + shift
    with autocast():
        v = model.video.teach(clean, (1 - s) * z + s * noise, sigma * 1000, text, group, shares)
    error, weight = (v.float() - (noise - z)) ** 2, loss_weights(mask, sigma, rolled)
    counts = counts[..., None, None, None]
    if rolled:
        error, weight, mask, counts = error[:, 3:], weight[:, 3:], mask[:, 3:], counts[:, 3:]
    weight, mask = weight * counts, mask * counts
    if plain:
        return torch.stack([(error * counts).sum() / (counts.sum() * error[0, 0].numel() + 1),
                            (error * mask).sum() / (mask.sum() * CHANNELS + 1)])
    return (error * weight).sum() / (weight.sum() * CHANNELS + 1)


@torch.no_grad()
def held_out(model, data):
    """Mean squared error on clips that were never trained on: of all, and of the objects."""
    n = len(data.z)
    parts = [flow_loss(model, data, n - HELD_OUT, n, False, plain=True) for _ in range(2 if SMALL else 8)]
    return 'all %.4f, objects %.4f' % tuple(torch.stack(parts).mean(0).tolist())


def stage_teacher(folder, seconds, data, tokenizer, sparse_share=.5):
    """From what WORK holds, or from nothing: then sparse attention and the model's own past come at half-time."""
    model = Generator(tokenizer.size).to(DEVICE)
    resumed = folder.has('teacher.safetensors')
    if resumed:
        model.load(folder, 'teacher.safetensors')
    model.compile()
    matrices = [p for name, p in model.named_parameters()
                if p.ndim == 2 and 'blocks' in name and 'pos_embedding' not in name]
    optimiser, rate = Optimiser(model, matrices, adam_share=.72), 1.4e-3 if resumed else 2e-3
    stage, losses = Stage('teacher', seconds), []
    while stage.running():
        f = stage.fraction
        grown = resumed or f > .5
        sparse = grown and torch.rand(1).item() < sparse_share
        own_past = grown and torch.rand(1).item() < OWN_PAST
        loss = flow_loss(model, data, 0, len(data.z) - HELD_OUT, sparse, own_past)
        fall = 1 if f < .4 else max(.02, 1 - (f - .4) / .6)
        optimiser.step(loss, rate * min(1, (stage.steps + 1) / 80) * fall)
        losses.append(loss.detach())
        stage.steps += 1
        if stage.steps in (20, 100) or stage.steps % 500 == 0:
            log('teacher', stage.steps, 'loss %.4f' % torch.stack(losses[-100:]).mean().item())
        if stage.saves():
            save_teacher(folder, model, optimiser.average.tensors(model), stage.steps)
    optimiser.average.copy_to(model)
    log('teacher', stage.steps, 'steps, held-out error:', held_out(model, data))
    save_teacher(folder, model, model.state_dict(), stage.steps)


def save_teacher(folder, model, tensors, steps):
    for name, part in (('teacher', 'video.'), ('transformer', 'video.'), ('text_encoder', 'text.')):
        save_tensors(folder(name + '.safetensors'),
                     {k.removeprefix(part): v for k, v in tensors.items() if k.startswith(part)},
                     f'flow matching, {steps} steps')


# ---- stage 3: few steps, on the model's own rollouts -----------------------------------------

# Euler's steps of the teacher; the student's four sigmas are among them.
GRID = [1., .985, .97, .955, .9375, .91, .885, .86, .8333333, .78, .73, .68, .625, .5, .36, .2, .08, 0.]
GUIDANCE = 2.
LENGTHS = [1, 2, 4, 8, 14, 24]      # chunks of a rollout


def four_steps(video, text, cache, n, sparsity=0.):
    """One chunk by the few-step sampler, from fresh noise."""
    x = torch.randn(n, 3, 16, 20, 32, device=DEVICE)
    for i, sigma in enumerate(SIGMAS):
        t = torch.full((n, 3), sigma * 1000, device=DEVICE)
        x = x - sigma * video.step(x, t, text, cache, sparsity)[0].float()
        if i < 3:
            x = (1 - SIGMAS[i + 1]) * x + SIGMAS[i + 1] * torch.randn_like(x)
    return x


def trajectory(video, text, cache, n):
    """The teacher's way from noise to a chunk, guided: → the points at the student's sigmas, the end.
    `text` holds the prompts, then as many empty ones."""
    both = None if cache is None else [tuple(torch.cat([s, s]) for s in pair) for pair in cache]
    x, points = torch.randn(n, 3, 16, 20, 32, device=DEVICE), []
    for sigma, following in zip(GRID, GRID[1:]):
        if sigma in SIGMAS:
            points.append(x)
        t = torch.full((2 * n, 3), sigma * 1000, device=DEVICE)
        told, untold = video.step(torch.cat([x, x]), t, text, both)[0].float().chunk(2)
        x = x + (following - sigma) * (untold + GUIDANCE * (told - untold))
    return points, x


class Prompts:
    """What the streams are asked for: now and then each changes its mind."""

    def __init__(self, model, data):
        self.model, self.data, self.last = model, data, len(data.z) - HELD_OUT
        empty = torch.zeros(STREAMS, data.ids.shape[-1], dtype=torch.long, device=DEVICE)
        empty[:, 0] = 1
        self.nothing = self.encoded(empty)
        self.start()

    @torch.no_grad()
    def encoded(self, ids):
        with autocast():
            return self.model.text(ids)

    def start(self):
        self.clip = torch.randint(0, self.last, (STREAMS,), device=DEVICE)
        self.which = torch.zeros(STREAMS, dtype=torch.long, device=DEVICE)
        self.context = self.encoded(self.data.captions(self.clip, self.which))

    def change(self, share=.15):
        change = torch.rand(STREAMS, device=DEVICE) < share
        other = change & (torch.rand(STREAMS, device=DEVICE) < .5)
        self.which = torch.where(change, 1 - self.which, self.which)
        self.clip = torch.where(other, torch.randint_like(self.clip, self.last), self.clip)
        context = self.encoded(self.data.captions(self.clip, self.which))
        self.context = torch.where(change[:, None, None], context, self.context)


def stage_student(folder, seconds, data, tokenizer):
    """Regression on the teacher's trajectories, chunk after chunk of a rollout whose past is more and
    more the student's own; every other half batch with sparse attention."""
    model = Generator(tokenizer.size).to(DEVICE).load(folder, 'teacher.safetensors')
    model.compile()
    for p in model.parameters():
        p.requires_grad_(False)
    student = copy.deepcopy(model.video)
    for p in student.parameters():
        p.requires_grad_(True)
    adam = torch.optim.AdamW(student.parameters(), 5e-4, betas=(.9, .98), weight_decay=0.)
    average, stage, prompts = Average(student, .99), Stage('student', seconds), Prompts(model, data)
    sigmas, half, chunk, length, steps, losses = torch.tensor(SIGMAS, device=DEVICE), STREAMS // 2, 0, 0, 0, []
    while stage.running() or chunk < length and SMALL:
        f = min(1, stage.fraction)
        if chunk >= length:
            chunk, length = 0, LENGTHS[int(torch.randint(len(LENGTHS), (1,)))] if not SMALL else 3
            prompts.start()
            own_cache = teacher_cache = None
        elif chunk:
            prompts.change()
        with torch.no_grad(), autocast():
            told = model.video.text(torch.cat([prompts.context, prompts.nothing]).unsqueeze(1))
            points, end = trajectory(model.video, told, teacher_cache, STREAMS)
        empty = data.background_of(prompts.clip, prompts.which)[:, None]
        weight = 1 + 5 * (end - empty).abs().mean(2, keepdim=True).clamp(0, .5)
        weight = weight / weight.mean()
        for turn in range(4):
            part = slice(0, half) if turn % 2 == 0 else slice(half, STREAMS)
            sparse = chunk and (turn < 2) ^ (stage.steps % 2 == 0)
            x, s = torch.cat([p[part] for p in points]), sigmas.repeat_interleave(half)
            past = None if own_cache is None else [
                tuple(c[part].repeat(4, 1, 1, 1) for c in pair) for pair in own_cache]
            with autocast():
                v, _ = student.step(x, (s * 1000)[:, None].expand(-1, 3),
                                    student.text(prompts.context[part].repeat(4, 1, 1).unsqueeze(1)),
                                    past, growth(chunk) if sparse else 0.)
            error = x - s.view(-1, 1, 1, 1, 1) * v.float() - end[part].repeat(4, 1, 1, 1, 1)
            loss = (error.pow(2) * weight[part].repeat(4, 1, 1, 1, 1)).mean()
            adam.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.)
            for group in adam.param_groups:
                group['lr'] = 5e-4 * min(1, (steps + 1) / 40) * max(.03, math.cos(f * math.pi / 2))
            adam.step()
            average.update(student)
            losses.append(loss.detach())
            steps += 1
        if chunk + 1 < length:
            with torch.no_grad(), autocast():
                text = student.text(prompts.context.unsqueeze(1))
                sparsity = growth(chunk) if torch.rand(1).item() < .5 else 0.
                x = four_steps(student, text, own_cache, STREAMS, sparsity)
                own = torch.rand(STREAMS, 1, 1, 1, 1, device=DEVICE) < min(1., .1 + 2 * f)
                x, zero = torch.where(own, x, end), torch.zeros(STREAMS, 3, device=DEVICE)
                told = [(k[:STREAMS], v[:STREAMS]) for k, v in told]
                own_cache = pushed(own_cache, student.step(x, zero, text, own_cache, sparsity,
                                                           keep=True)[1])
                teacher_cache = pushed(teacher_cache, model.video.step(x, zero, told, teacher_cache,
                                                                       keep=True)[1])
        chunk += 1
        stage.steps += 1
        if stage.steps % 50 == 0:
            log('student', stage.steps, 'chunks', steps, 'steps, loss %.4f' %
                torch.stack(losses[-100:]).mean().item())
        if stage.saves(45):
            save_student(folder, average.tensors(student), steps)
    save_student(folder, average.tensors(student), steps)


def save_student(folder, tensors, steps):
    save_tensors(folder('transformer.safetensors'), tensors,
                 f'regression on the teacher\'s trajectories, {steps} steps')


# ---- pictures --------------------------------------------------------------------------------

@torch.no_grad()
def stage_pictures(folder, _, autoencoder, tokenizer):
    """The same 10 prompts by teacher and student, dense and sparse, seven chunks."""
    rng = random.Random(4242)
    texts = [caption(rng, random_scene(rng, 1 if i < 8 else 2), True) for i in range(10)]
    log('prompts:', '; '.join(texts))
    for name in ('teacher', 'transformer'):
        if not folder.has(name + '.safetensors'):
            continue
        model = Generator(tokenizer.size).to(DEVICE).load(folder, name + '.safetensors')
        for sparse in (False, True):
            torch.manual_seed(3)
            with autocast():
                text = model.video.text(model.text(tokenizer(texts).to(DEVICE)).unsqueeze(1))
                cache, chunks = None, []
                for i in range(2 if SMALL else 7):
                    share = growth(i) if sparse else 0.
                    x = four_steps(model.video, text, cache, len(texts), share)
                    zero = torch.zeros(len(texts), 3, device=DEVICE)
                    cache = pushed(cache, model.video.step(x, zero, text, cache, share, keep=True)[1])
                    chunks.append(x)
                y = autoencoder.decode(torch.cat(chunks, 1)).float()
            sheet(folder(f'{name}-{"sparse" if sparse else "dense"}.png'), y[:, 5::9])


def main(path, *stages):
    defaults = {'autoencoder': 340, 'decoder': 90, 'dense': 450, 'teacher': 520, 'pictures': 0}
    chosen = {name: float(seconds) for name, seconds in (s.split('=') for s in stages)} or defaults
    if PROCESSES > 1 and 'student' in chosen:
        sys.exit('the stage "student" runs on one GPU: start it without torchrun')
    torch.manual_seed(11 + RANK)
    if not SMALL:
        torch._dynamo.config.cache_size_limit = 64
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    folder = Folder(path)
    if not folder.has('spiece.model') and RANK == 0:
        train_tokenizer(folder('spiece.model'))
    meet()
    tokenizer = Tokenizer(folder('spiece.model'))
    if RANK == 0:
        save_config(folder, tokenizer)
    if 'autoencoder' in chosen:
        stage_autoencoder(folder, chosen['autoencoder'])
    if 'decoder' in chosen:
        stage_decoder(folder, chosen['decoder'])
    meet()
    autoencoder = load_autoencoder(folder)
    if {'dense', 'teacher', 'student'} & set(chosen):
        data = Latents(autoencoder, tokenizer, CLIPS, seed=random.randrange(10 ** 6))
        log('clips', tuple(data.z.shape), 'deviation %.3f' % data.z[:256].float().std().item())
    if 'dense' in chosen:
        stage_teacher(folder, chosen['dense'], data, tokenizer, sparse_share=0)
        if RANK == 0:
            folder.keep('dense')
        meet()
    if 'teacher' in chosen:
        stage_teacher(folder, chosen['teacher'], data, tokenizer)
        meet()
    if 'student' in chosen:
        stage_student(folder, chosen['student'], data, tokenizer)
    if 'pictures' in chosen and RANK == 0:
        stage_pictures(folder, chosen['pictures'], autoencoder, tokenizer)


if __name__ == '__main__':
    main(*sys.argv[1:])
