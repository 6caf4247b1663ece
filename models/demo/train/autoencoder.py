# SPDX-License-Identifier: LGPL-2.1-or-later
"""The decoder that ships, TAEHV's graph and tensor names with small widths, and the encoder that
only training needs."""
import torch
import torch.nn as nn
import torch.nn.functional as F

CHANNELS = 16
WIDTHS = (64, 64, 32, 16)


class MemoryBlock(nn.Module):
    """Three convolutions over a frame and the same block's input one frame earlier."""

    def __init__(self, c):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(2 * c, c, 3, padding=1), nn.ReLU(),
                                  nn.Conv2d(c, c, 3, padding=1), nn.ReLU(),
                                  nn.Conv2d(c, c, 3, padding=1))

    def forward(self, x, clips):
        frames = x.view(clips, -1, *x.shape[1:])
        past = F.pad(frames, (0, 0, 0, 0, 0, 0, 1, 0))[:, :-1].reshape(x.shape)
        return F.relu(self.conv(torch.cat([x, past], 1)) + x)


class Grow(nn.Module):
    """1×1 to `times` as many channels, which are `times` frames, the earlier first."""

    def __init__(self, c, times):
        super().__init__()
        self.conv = nn.Conv2d(c, c * times, 1, bias=False)

    def forward(self, x, clips):
        return self.conv(x).reshape(-1, *x.shape[1:])


class Squash(nn.Module):
    def forward(self, x):
        return torch.tanh(x / 3) * 3


class Residual(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.f = nn.Sequential(nn.SiLU(), nn.Conv2d(c, c, 3, padding=1), nn.SiLU(),
                               nn.Conv2d(c, c, 3, padding=1))

    def forward(self, x):
        return x + .3 * self.f(x)


def decoder(widths):
    a, b, c, d = widths

    def conv(i, o, bias=True):
        return nn.Conv2d(i, o, 3, padding=1, bias=bias)

    def memory(n):
        return [MemoryBlock(n), MemoryBlock(n), MemoryBlock(n)]

    def up(i, o, times):
        return [nn.Upsample(scale_factor=2), Grow(i, times), conv(i, o, False)]

    return nn.Sequential(Squash(), conv(CHANNELS, a), nn.ReLU(), *memory(a), *up(a, b, 1),
                         *memory(b), *up(b, c, 2), *memory(c), *up(c, d, 2), nn.ReLU(), conv(d, 3))


class Autoencoder(nn.Module):
    """Latents have unit variance: the last layer of the encoder is a normalisation without
    parameters. Patches of 4 frames × 8 × 8 pixels enter a linear stem, which, unlike a narrow
    stack of ReLUs, keeps colour from the first step on."""

    def __init__(self, widths=WIDTHS, width=160):
        super().__init__()
        self.decoder = decoder(widths)
        self.encoder = nn.Sequential(nn.Conv2d(768, width, 3, padding=1),
                                     *[Residual(width) for _ in range(4)],
                                     nn.Conv2d(width, CHANNELS, 1))
        self.normalise = nn.BatchNorm2d(CHANNELS, affine=False, momentum=.05)
        self.initialise()

    def initialise(self):
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                kind = 'relu' if module.kernel_size == (3, 3) else 'linear'
                nn.init.kaiming_normal_(module.weight, nonlinearity=kind)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, MemoryBlock):
                module.conv[4].weight.data.mul_(.1)
            if isinstance(module, Grow):      # every new frame begins as a copy
                weight, c = module.conv.weight.data, module.conv.in_channels
                weight.mul_(.2)
                weight[:, :, 0, 0] += torch.eye(c).repeat(weight.shape[0] // c, 1)
        self.decoder[-1].weight.data.mul_(.3)
        self.decoder[-1].bias.data.fill_(.5)

    def encode(self, x):
        """[n, T, 3, H, W] in [0, 1] → [n, T/4, 16, H/8, W/8]."""
        n, t, _, h, w = x.shape
        patches = ((x - .5) * 2).view(n, t // 4, 4, 3, h // 8, 8, w // 8, 8)
        patches = patches.permute(0, 1, 2, 3, 5, 7, 4, 6).reshape(n * t // 4, 768, h // 8, w // 8)
        z = self.normalise(self.encoder(patches.contiguous(memory_format=torch.channels_last)).float())
        return z.view(n, t // 4, *z.shape[1:])

    def decode(self, z):
        """[n, F, 16, h, w] → [n, 4·F, 3, 8·h, 8·w]."""
        n, f = z.shape[:2]
        x = z.reshape(n * f, *z.shape[2:]).contiguous(memory_format=torch.channels_last)
        for module in self.decoder:
            x = module(x, n) if isinstance(module, (MemoryBlock, Grow)) else module(x)
        return x.view(n, f * 4, *x.shape[1:])
