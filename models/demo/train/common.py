# SPDX-License-Identifier: LGPL-2.1-or-later
"""Files, optimisers and a clock, shared by the stages; and by the processes, one for each GPU, that
torchrun starts."""
import contextlib
import json
import os
import struct
import time
import zlib

import torch
import torch.distributed

RANK, PROCESSES = int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1))
SMALL = not torch.cuda.is_available()    # a dry run: every stage with a handful of clips and steps
DEVICE = 'cpu' if SMALL else 'cuda:%s' % os.environ.get('LOCAL_RANK', 0)
START = time.time()
if not SMALL:
    torch.cuda.set_device(DEVICE)
if PROCESSES > 1:
    torch.distributed.init_process_group('gloo' if SMALL else 'nccl')


def meet():
    """Until all processes are here; what the first has saved the others may load."""
    if PROCESSES > 1:
        torch.distributed.barrier()


def from_first(*tensors):
    """Every process gets what the first has."""
    if PROCESSES > 1:
        for tensor in tensors:
            torch.distributed.broadcast(tensor, 0)


def averaged(tensors):
    """Each becomes its mean over the processes."""
    if PROCESSES > 1:
        flat = torch.cat([t.flatten() for t in tensors])
        torch.distributed.all_reduce(flat)
        for tensor, part in zip(tensors, (flat / PROCESSES).split([t.numel() for t in tensors])):
            tensor.copy_(part.view_as(tensor))


def log(*words):
    if RANK == 0:
        print(f'[{time.time() - START:6.1f}]', *words, flush=True)


def autocast():
    return torch.autocast('cuda', dtype=torch.bfloat16) if not SMALL else contextlib.nullcontext()


def compiled(function):
    return function if SMALL else torch.compile(function, dynamic=False)


class Stage:
    """Counts a stage's time: `fraction` runs from 0 to 1, by the first process's clock, and a dry run ends
    after a few steps."""

    def __init__(self, name, seconds):
        self.name, self.seconds, self.start, self.steps, self.saved = name, seconds, time.time(), 0, 0
        self.fraction = 0.

    def saves(self, every=90):
        """Is it time to leave on disk what there is so far?"""
        due = time.time() - self.start > every * (self.saved + 1)
        self.saved += due
        return due

    def running(self):
        self.fraction = (time.time() - self.start) / self.seconds
        if PROCESSES > 1:
            shared = torch.tensor(self.fraction, device=DEVICE)
            from_first(shared)
            self.fraction = shared.item()
        return self.steps < 2 if SMALL else self.fraction < 1


def save_tensors(path, tensors, note=''):
    """safetensors, bf16; by the first process."""
    if RANK > 0:
        return
    header, blobs, offset = {'__metadata__': {'note': note}}, [], 0
    for name, value in tensors.items():
        value = value.detach().cpu().to(torch.bfloat16).contiguous()
        blob = value.view(torch.int16).numpy().tobytes()
        header[name] = {'dtype': 'BF16', 'shape': list(value.shape),
                        'data_offsets': [offset, offset + len(blob)]}
        offset += len(blob)
        blobs.append(blob)
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as file:
        file.write(struct.pack('<Q', len(text)) + text)
        for blob in blobs:
            file.write(blob)


def load_tensors(path):
    """The counterpart, as float."""
    with open(path, 'rb') as file:
        raw = file.read()
    n = struct.unpack('<Q', raw[:8])[0]
    header, tensors = json.loads(raw[8:8 + n]), {}
    header.pop('__metadata__', None)
    for name, entry in header.items():
        first, last = (8 + n + o for o in entry['data_offsets'])
        values = torch.frombuffer(bytearray(raw[first:last]), dtype=torch.int16)
        tensors[name] = values.view(torch.bfloat16).reshape(entry['shape']).float()
    return tensors


def save_png(path, image):
    """image [3, H, W] in [0, 1]; by the first process."""
    if RANK > 0:
        return
    pixels = (image.float().clamp(0, 1) * 255).byte().permute(1, 2, 0).contiguous().cpu()
    height, width, _ = pixels.shape
    rows = torch.cat([torch.zeros(height, 1, dtype=torch.uint8), pixels.view(height, width * 3)], 1)

    def part(kind, data):
        check = zlib.crc32(kind + data) & 0xffffffff
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', check)

    with open(path, 'wb') as file:
        file.write(b'\x89PNG\r\n\x1a\n' +
                   part(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)) +
                   part(b'IDAT', zlib.compress(rows.numpy().tobytes(), 6)) + part(b'IEND', b''))


def sheet(path, rows, scale=2):
    """rows [r, n, 3, H, W]: one clip a row."""
    save_png(path, torch.cat([torch.cat(list(row[:, :, ::scale, ::scale]), 2) for row in rows], 1))


class Average:
    """An exponential moving average of a module's parameters."""

    def __init__(self, module, decay):
        self.decay, self.steps = decay, 0
        self.values = [p.detach().clone() for p in module.parameters()]

    @torch.no_grad()
    def update(self, module):
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_mul_(self.values, decay)
        torch._foreach_add_(self.values, [p.detach() for p in module.parameters()], alpha=1 - decay)

    def tensors(self, module):
        return {name: v for (name, _), v in zip(module.named_parameters(), self.values)}

    @torch.no_grad()
    def copy_to(self, module):
        for parameter, value in zip(module.parameters(), self.values):
            parameter.copy_(value)


class Muon:
    """Momentum with orthogonalised updates for matrices, scaled to AdamW's size (0.2·√max dim);
    convolutions are flattened to [out, rest]. Equal shapes are worked on together."""

    def __init__(self, parameters, decay=.02):
        self.decay, self.groups = decay, {}
        for p in parameters:
            self.groups.setdefault(tuple(p.shape), []).append(p)
        self.momentum = {shape: torch.zeros(len(ps), *ps[0].flatten(1).shape, device=ps[0].device)
                         for shape, ps in self.groups.items()}

    @torch.no_grad()
    def step(self, rate):
        for shape, parameters in self.groups.items():
            gradient = torch.stack([p.grad.flatten(1) for p in parameters]).float()
            momentum = self.momentum[shape].mul_(.95).add_(gradient, alpha=.05)
            update = orthogonalised(gradient * .05 + momentum * .95)
            size = .2 * max(update.shape[1:]) ** .5 * rate
            for p, u in zip(parameters, update):
                p.mul_(1 - rate * self.decay).add_(u.reshape(p.shape).to(p.dtype), alpha=-size)


def orthogonalised(x):
    """Newton–Schulz towards U·Vᵀ of x's singular value decomposition, a batch of matrices."""
    flip = x.shape[1] > x.shape[2]
    x = x.transpose(1, 2) if flip else x
    x = (x if SMALL else x.bfloat16())
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.transpose(1, 2) if flip else x


class Optimiser:
    """Muon for `matrices`, AdamW for the rest, gradient clipping, an average of the weights. Processes start
    from the same weights and share their gradients: each adds its own batch."""

    def __init__(self, module, matrices, adam_share, average=.998, clip=1.):
        from_first(*(p.data for p in module.parameters()))
        chosen = {id(p) for p in matrices}
        self.module, self.adam_share, self.clip = module, adam_share, clip
        self.muon = Muon(matrices)
        self.adam = torch.optim.AdamW([p for p in module.parameters() if id(p) not in chosen], 1e-3,
                                      betas=(.9, .98), weight_decay=0.)
        self.average = Average(module, average)

    def step(self, loss, rate):
        self.module.zero_grad(set_to_none=True)
        loss.backward()
        for p in self.module.parameters():
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        averaged([p.grad for p in self.module.parameters()])
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.clip)
        for group in self.adam.param_groups:
            group['lr'] = rate * self.adam_share
        self.adam.step()
        self.muon.step(rate)
        self.average.update(self.module)
