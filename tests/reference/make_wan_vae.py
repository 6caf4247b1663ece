# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes data/wan_vae.safetensors: the decoder of Wan 2.1's VAE on small random weights.

    LF_REFERENCE_SOURCES=DIR /usr/bin/python3 make_wan_vae.py OUT.safetensors

As README.md says: the public class, unmodified, from a checkout of Wan-Video/Wan2.1,
9737cba9c1c3c4d04b33fcad41c111989865d315, in DIR/wan21. PyTorch 1.13 and NumPy of Debian 12
(python3-torch, -numpy). One CPU thread, float32.
"""
import importlib.util
import os
import sys

sys.dont_write_bytecode = True

import torch

from make_demo import numbers, put_module, write_safetensors

SOURCES = os.environ.get('LF_REFERENCE_SOURCES', '.')
LATENTS, CHANNELS, HEIGHT, WIDTH = 5, 16, 2, 3

# What wan_vae.c names: the class's `dim`, and the latents that are decoded.
CASES = {'narrow': (8, 5), 'light': (24, 2)}


def rearrange(x, pattern, t=None):
    """The two patterns that the class uses of einops."""
    if pattern.replace(' ', '') == 'bcthw->(bt)chw':
        b, c, n, h, w = x.shape
        return x.permute(0, 2, 1, 3, 4).reshape(b * n, c, h, w)
    assert pattern.replace(' ', '') == '(bt)chw->bcthw', pattern
    n, c, h, w = x.shape
    return x.reshape(n // t, t, c, h, w).permute(0, 2, 1, 3, 4)


def attention(q, k, v):
    """softmax(q·kᵀ/√d)·v, which this PyTorch lacks."""
    return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1) @ v


def published():
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    torch.nn.functional.scaled_dot_product_attention = attention
    put_module('einops', rearrange=rearrange)
    spec = importlib.util.spec_from_file_location(
        'vae', os.path.join(SOURCES, 'wan21', 'wan', 'modules', 'vae.py'))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def weight(name, shape):
    """README, 'The generator'."""
    count = int(torch.tensor(shape).prod())
    values = torch.from_numpy(numbers(name, count)).double()
    if name.endswith('gamma'):
        values = 1 + 0.25 * values
    elif name.endswith('bias'):
        values = 0.125 * values
    else:
        values = values * (count / shape[0]) ** -0.5
    return values.float().reshape(shape)


def statistics(module):
    """The published means and deviations, which WanVAE's constructor sets."""
    module._video_vae = lambda **options: torch.nn.Module()
    return module.WanVAE(device='cpu').scale


def decode(module, dim, n):
    model = module.WanVAE_(dim=dim, z_dim=CHANNELS, dim_mult=[1, 2, 4, 4], num_res_blocks=2,
                           temperal_downsample=[False, True, True]).eval()
    state = {name: weight(name, tuple(value.shape)) for name, value in model.state_dict().items()
             if name.startswith(('decoder.', 'conv2.'))}
    model.load_state_dict(state, strict=False)
    z = torch.from_numpy(numbers('wan_vae.latents', LATENTS * CHANNELS * HEIGHT * WIDTH))
    z = z.reshape(LATENTS, CHANNELS, HEIGHT, WIDTH)[:n].transpose(0, 1)[None]
    kept = {}

    def keep():     # decode() clears the histories at its end
        kept['histories'] = getattr(model, '_feat_map', None)
        type(model).clear_cache(model)

    model.clear_cache = keep
    frames = model.decode(z, statistics(module)).clamp(-1, 1)[0]
    return frames.permute(1, 2, 3, 0), kept['histories']


def main():
    module, out = published(), {}
    for name, (dim, n) in CASES.items():
        frames, histories = decode(module, dim, n)
        out[name + '.frames'] = frames.numpy()
        used = [history for history in histories if history is not None]
        for i, history in enumerate(used if name == 'narrow' else []):
            out['%s.past.%d' % (name, i)] = history[0].permute(1, 2, 3, 0).numpy()
        print(name, tuple(frames.shape), float(frames.std()))
    write_safetensors(sys.argv[1], out)


if __name__ == '__main__':
    main()
