# SPDX-License-Identifier: LGPL-2.1-or-later
"""Draws scenes: anti-aliased signed distance fields with an outline, shading, a highlight and a soft
shadow, on the GPU, thousands of frames a second.

The picture is a torus: what leaves at the left comes in at the right at the same time, so nothing is
ever out of sight and a stream can go on for ever. A change of scene is a morph over one chunk.
"""
import math
import random

import torch

from scenes import BACKGROUND, COLOUR, MOTION, SHAPE, SIZE, SPEED

HEIGHT, WIDTH, FPS = 160, 256, 16
CHUNK_FRAMES = 12
RGB = torch.tensor([[.90, .13, .16], [.98, .53, .08], [.98, .86, .14], [.16, .70, .27],
                    [.14, .40, .95], [.54, .22, .84], [.98, .44, .70], [.95, .95, .96]])
RADII = [21., 28.5, 38.]     # pixels
SPEEDS = [1.2, 2.2, 3.6]     # pixels a frame
SMALL_SPEEDS = [1.2, 2.0, 2.8]
FIELDS = ['shape', 'colour', 'radius', 'motion', 'speed', 'present', 'x', 'y', 'phase', 'slope',
          'orbit', 'angle', 'gain', 'swing', 'false_shape', 'false_colour', 'shape_doubt', 'colour_doubt']


def describe(rng, scenes):
    """Scenes → tensors [n, 2], one for each field; where there is no second object it is absent."""
    rows = []
    for scene in scenes:
        objects = scene['objects']
        for slot in range(2):
            obj = objects[min(slot, len(objects) - 1)]
            size, speed, motion = (SIZE.index(obj['size']), SPEED.index(obj['speed']),
                                   MOTION.index(obj['motion']))
            side = 0 if len(objects) == 1 else (-1, 1)[slot]
            x = WIDTH * (.5 + (side * rng.uniform(.19, .24) if side else rng.uniform(-.05, .05)))
            y = HEIGHT * (.5 + rng.uniform(-.05, .05))
            phase, orbit = rng.uniform(-.25, .25), rng.uniform(33, 39)
            if obj['motion'] == 'orbit':
                x, y = x + orbit * math.cos(phase), y + .8 * orbit * math.sin(phase)
            pixels = (SMALL_SPEEDS if size == 0 else SPEEDS)[speed] * rng.uniform(.96, 1.04)
            rows.append([SHAPE.index(obj['shape']), COLOUR.index(obj['colour']),
                         RADII[size] * rng.uniform(.96, 1.04), motion, pixels,
                         float(slot < len(objects)), x, y, phase, rng.uniform(.75, .85), orbit,
                         rng.uniform(-.05, .05), rng.uniform(.985, 1.005), .3, 0, 0, 0, 0])
    table = torch.tensor(rows).view(len(scenes), 2, len(FIELDS))
    return {name: table[..., i] for i, name in enumerate(FIELDS)}


def spoil(rng, table, i):
    """Makes clip i of the fields in `table` wrong in one or two ways, as a stream goes wrong after a while.
    → whether its motion stays what it was, so that the right one can simply go on."""
    goes_on = True
    for slot in range(2):
        f = {name: values[i, slot].item() for name, values in table.items()}
        motion = MOTION[int(f['motion'])]
        turns = motion == 'spin'
        faults = ['shape', 'shape', 'colour', 'radius', 'speed', 'motion']
        faults += ['swing', 'swing'] if motion == 'pulse' else [] if turns else ['angle']
        for fault in rng.sample(faults, rng.choice([1, 1, 2])):
            if fault == 'shape':
                f['false_shape'], f['shape_doubt'] = rng.randrange(len(SHAPE)), rng.uniform(.15, 1)
            elif fault == 'colour':
                f['false_colour'], f['colour_doubt'] = rng.randrange(len(COLOUR)), rng.uniform(.1, .6)
            elif fault == 'radius':
                f['radius'] *= rng.uniform(.65, 1.3)
            elif fault == 'angle':
                f['angle'] += rng.uniform(-.6, .6)
            elif fault == 'swing':
                f['swing'] = rng.uniform(0, .22)
            else:
                goes_on = False
                if fault == 'speed':
                    f['speed'] *= rng.choice([rng.uniform(0, .7), rng.uniform(1.25, 1.6)])
                else:
                    f['motion'] = rng.choice([MOTION.index('still'), rng.randrange(len(MOTION))])
        for name, values in table.items():
            values[i, slot] = f[name]
    return goes_on


def bounced(x, low, high):
    span = (high - low).clamp(min=1.)
    u = torch.remainder(x - low, 2 * span)
    return low + torch.where(u > span, 2 * span - u, u)


def trajectory(s, t):
    """Fields [n, 2], times [n, T] in frames → x, y, radius, angle [n, 2, T] (x, y on the torus)."""
    t = t[:, None, :]
    f = {name: value[..., None] for name, value in s.items()}
    is_ = {name: f['motion'] == i for i, name in enumerate(MOTION)}
    step = f['speed'] * t
    x, y = f['x'] + 0 * t, f['y'] + 0 * t
    x = x + step * (is_['right'].float() - is_['left'].float())
    y = y + step * (is_['down'].float() - is_['up'].float())
    edge = f['radius'] + 2
    x = torch.where(is_['bounce'], bounced(f['x'] + 1.1 * step, edge, WIDTH - edge), x)
    y = torch.where(is_['bounce'], bounced(f['y'] + f['slope'] * step, edge, HEIGHT - edge), y)
    centre_x = f['x'] - f['orbit'] * torch.cos(f['phase'])
    centre_y = f['y'] - .8 * f['orbit'] * torch.sin(f['phase'])
    turn = f['phase'] + step / f['orbit']
    x = torch.where(is_['orbit'], centre_x + f['orbit'] * torch.cos(turn), x)
    y = torch.where(is_['orbit'], centre_y + .8 * f['orbit'] * torch.sin(turn), y)
    angle = f['angle'] + torch.where(is_['spin'], .035 * step, 0 * step)
    pulse = 1 + f['swing'] * torch.sin(f['phase'] + .09 * step)
    radius = f['radius'] * torch.where(is_['pulse'], pulse, torch.ones_like(pulse))
    return x, y, radius, angle


def make_backgrounds(device):
    """[14, 3, HEIGHT, WIDTH], in the order of BACKGROUND."""
    yy, xx = torch.meshgrid(torch.arange(HEIGHT, device=device) + .5,
                            torch.arange(WIDTH, device=device) + .5, indexing='ij')

    def colour(*c):
        return torch.tensor(c, device=device)

    def gradient(top, bottom):
        k = (yy / HEIGHT)[..., None]
        return colour(*top) * (1 - k) + colour(*bottom) * k

    def disc(image, x, y, radius, fill, glow, strength):
        d = ((xx - x) ** 2 + (yy - y) ** 2).sqrt()
        inside = (radius - d).clamp(0, 1)[..., None]
        image = image + (torch.exp(-(d / glow) ** 2) * strength)[..., None]
        return image * (1 - inside) + colour(*fill) * inside

    vignette = (1 - .32 * ((xx / WIDTH - .5) ** 2 + (yy / HEIGHT - .5) ** 2))[..., None]
    plain = {'black': (.05, .05, .06), 'whitebg': (.96, .96, .96), 'gray': (.52, .53, .55),
             'navy': (.07, .10, .34), 'sky': (.62, .82, .97), 'cream': (.95, .89, .74),
             'forest': (.05, .27, .14), 'maroon': (.36, .05, .09)}

    def sunset():
        d = ((xx - 128) ** 2 + (yy - 150) ** 2).sqrt()
        glow = (torch.exp(-(d / 46) ** 2) * .35)[..., None] * colour(1., .8, .4)
        return gradient((.36, .16, .46), (.99, .60, .25)) + glow

    def night():
        image, rng = gradient((.02, .03, .12), (.13, .09, .28)), random.Random(7)
        for _ in range(46):
            x, y = rng.uniform(4, WIDTH - 4), rng.uniform(4, HEIGHT - 4)
            light, size = rng.uniform(.35, .95), rng.uniform(1.0, 1.6)
            star = torch.exp(-((xx - x) ** 2 + (yy - y) ** 2) / size ** 2) * light
            image = image + star[..., None]
        return disc(image, 214, 30, 13.5, (.96, .94, .82), 26, .16)

    def meadow():
        image = disc(gradient((.36, .66, .96), (.86, .95, .99)), 40, 30, 13.5, (1., .93, .55), 30, .25)
        for level, height, length, phase, green in (
                (104, 9, 43, 1., (.45, .76, .36)), (122, 7, 61, 3., (.26, .60, .24))):
            hill = (yy - (level + height * torch.sin(xx / length + phase))).clamp(0, 1)[..., None]
            shade = (1 - .3 * ((yy - level) / (HEIGHT - level)).clamp(0, 1))[..., None]
            image = image * (1 - hill) + colour(*green) * shade * hill
        return image

    def checker():
        k = (((xx // 32).long() + (yy // 32).long()) % 2)[..., None].float()
        return (colour(.80, .80, .84) * k + colour(.33, .34, .42) * (1 - k)) * vignette

    drawn = {'sunset': sunset, 'night': night, 'meadow': meadow, 'checker': checker,
             'ocean': lambda: gradient((.20, .72, .74), (.02, .16, .38)),
             'dawn': lambda: gradient((.60, .74, .96), (.99, .74, .78))}
    images = [gradient(plain[b], tuple(c * .93 for c in plain[b])) * vignette if b in plain
              else drawn[b]() for b in BACKGROUND]
    return torch.stack([i.clamp(0, 1).permute(2, 0, 1) for i in images])


def distance(u, v, weights):
    """Signed distance to a mix of the six unit shapes, `weights` in the order of SHAPE."""
    length = (u * u + v * v + 1e-6).sqrt()
    au, av, zero = u.abs(), v.abs(), torch.zeros_like(u)
    d = weights[0] * (length - 1)
    qx, qy = au - .72, av - .72
    corner = (qx.clamp(min=0) ** 2 + qy.clamp(min=0) ** 2 + 1e-6).sqrt()
    d = d + weights[1] * (corner + torch.minimum(torch.maximum(qx, qy), zero) - .10)
    low = v + .12
    d = d + weights[2] * (torch.maximum(low, .866 * au - .5 * low) - .58)
    fifth = 2 * math.pi / 5
    angle = (torch.remainder(torch.atan2(u, -v) + fifth / 2, fifth) - fifth / 2).abs()
    tip, inner_x, inner_y = 1.12, .5 * math.cos(math.pi / 5), .5 * math.sin(math.pi / 5)
    nx, ny = inner_y, tip - inner_x
    norm = math.hypot(nx, ny)
    d = d + weights[3] * ((length * torch.cos(angle) - tip) * nx + length * torch.sin(angle) * ny) / norm
    d = d + weights[4] * ((length - .72).abs() - .27)
    px, py = au * .62, .53 - v * .62
    lobe = ((px - .25) ** 2 + (py - .75) ** 2 + 1e-6).sqrt() - .35355
    m = .5 * (px + py).clamp(min=0)
    point = torch.minimum(px ** 2 + (py - 1) ** 2, (px - m) ** 2 + (py - m) ** 2).add(1e-6).sqrt()
    point = point * torch.sign(px - py)
    return d + weights[5] * torch.where(px + py > 1, lobe, point) / .62


def render(background, other, mix, gain, objects, images):
    """background, other [n] (numbers), mix, gain [n]; objects [n, 2, 14]: x, y, radius, angle, rgb,
    six shape weights, presence → [n, 3, HEIGHT, WIDTH] in [0, 1]."""
    n, device = mix.shape[0], mix.device
    yy = (torch.arange(HEIGHT, device=device) + .5).view(1, HEIGHT, 1)
    xx = (torch.arange(WIDTH, device=device) + .5).view(1, 1, WIDTH)
    k = mix.view(n, 1, 1, 1)
    image = (images[background] * (1 - k) + images[other] * k) * gain.view(n, 1, 1, 1)
    for slot in range(2):
        f = [objects[:, slot, i].view(n, 1, 1) for i in range(14)]
        present = f[13]
        r = (f[2] * present).clamp(min=.5)
        dx = torch.remainder(xx - f[0] + WIDTH / 2, WIDTH) - WIDTH / 2
        dy = torch.remainder(yy - f[1] + HEIGHT / 2, HEIGHT) - HEIGHT / 2
        cos, sin = torch.cos(f[3]), torch.sin(f[3])
        shadow = .34 * present * torch.exp(
            -(((dx - .14 * r - 3) ** 2 + (dy - .2 * r - 4) ** 2) / (r * r * .95 + 9)) ** 2)
        d = distance((cos * dx + sin * dy) / r, (-sin * dx + cos * dy) / r, f[7:13]) * r
        cover = (.5 - d).clamp(0, 1) * (present > .02).to(d.dtype)
        inner = (.5 - (d + (.10 * r).clamp(min=1.6))).clamp(0, 1)
        light = torch.exp(-((dx / r + .35) ** 2 + (dy / r + .42) ** 2) / .16) * .38
        channels = []
        for c in range(3):
            colour = f[4 + c]
            fill = (colour * (1.06 - .20 * dy / r) + light * (1.05 - colour * .4)).clamp(0, 1)
            fill = fill * inner + colour * .50 * (1 - inner)
            channels.append(image[:, c] * (1 - shadow) * (1 - cover) + fill * cover)
        image = torch.stack(channels, 1)
    return image.clamp(0, 1)


class Clips:
    """A batch of clips on `device`: each shows scene a, and from frame `switch` on scene b.

    Where `repairs` says so, a is b gone wrong: from the start, or little by little up to the switch. What
    follows then teaches how to get it right again."""

    def __init__(self, rng, pairs, switches, device, repairs=None):
        def numbers(scenes):
            return torch.tensor([BACKGROUND.index(s['background']) for s in scenes], device=device)

        first, second = [p[0] for p in pairs], [p[1] for p in pairs]
        a, b = describe(rng, first), describe(rng, second)
        goes_on, slowly = torch.zeros(len(pairs), 1), torch.zeros(len(pairs), 1)
        for i, repair in enumerate(repairs or []):
            if repair:
                for name in FIELDS:
                    a[name][i] = b[name][i]
                goes_on[i] = float(spoil(rng, a, i))
                slowly[i] = float(goes_on[i] > 0 and rng.random() < .6)
        self.a = {k: v.to(device) for k, v in a.items()}
        self.b = {k: v.to(device) for k, v in b.items()}
        self.goes_on, self.slowly = goes_on.to(device), slowly.to(device)
        self.background_a, self.background_b = numbers(first), numbers(second)
        self.switch = torch.tensor([float(s) for s in switches], device=device)
        self.gain = torch.tensor([rng.uniform(.985, .995) for _ in pairs], device=device)
        tints = [rng.uniform(-.08, .08) if repair and rng.random() < .5 else 0.
                 for repair in repairs or [False] * len(pairs)]
        self.false_gain = torch.tensor(tints, device=device)

    def doubt(self, t):
        """How far scene a is what it is, and not yet b, before the switch: [n, T]."""
        ramp = (t / self.switch[:, None].clamp(1, 1e4)).clamp(0, 1)
        return torch.where(self.slowly > .5, ramp, torch.ones_like(t))

    def states(self, t):
        """t [n, T] in frames → background mix [n, T] and objects [n, T, 2, 14]."""
        a, b, switch = self.a, dict(self.b), self.switch[:, None].clamp(max=1e4)
        both = (a['present'] > .5) & (b['present'] > .5)
        xs, ys, _, angle_s = (v[..., 0] for v in trajectory(a, switch))
        margin, goes_on = 24, self.goes_on > .5
        begins = both & ~goes_on
        b['x'] = torch.where(begins, torch.remainder(xs, WIDTH).clamp(margin, WIDTH - margin), b['x'])
        b['y'] = torch.where(begins, torch.remainder(ys, HEIGHT).clamp(margin, HEIGHT - margin), b['y'])
        b['angle'] = torch.where((a['motion'] == MOTION.index('spin')) & ~goes_on, angle_s, b['angle'])
        start = switch * self.goes_on
        now_a = trajectory(a, torch.minimum(t, switch + CHUNK_FRAMES + 2))
        now_b = trajectory(b, (t - switch).clamp(min=0) + start)
        k = ((t - switch + 1) / CHUNK_FRAMES).clamp(0, 1)
        k = k * k * (3 - 2 * k)
        kk = k[:, None, :]
        start_b = trajectory(b, start)
        after = (t >= switch)[:, None, :]

        def followed(now_a, now_b, at_switch, start, size):
            jump = torch.remainder(at_switch[..., None] - start + size / 2, size) - size / 2
            return torch.where(after, now_b + jump * (1 - kk), now_a)

        x = followed(now_a[0], now_b[0], xs, start_b[0], WIDTH)
        y = followed(now_a[1], now_b[1], ys, start_b[1], HEIGHT)
        right = trajectory(b, t)
        doubt = self.doubt(t)[:, None, :]
        now_a = (*now_a[:2], *(r + (w - r) * doubt for w, r in zip(now_a[2:], right[2:])))
        radius = now_a[2] * (1 - kk) + now_b[2] * kk
        angle = now_a[3] * (1 - kk) + now_b[3] * kk
        in_a, in_b = (s['present'][..., None] > .5 for s in (a, b))

        def chosen(mixed, only_a, only_b):
            """An absent object has the looks of the scene where it exists: it grows, not recolours."""
            return torch.where(in_a, torch.where(in_b, mixed, only_a), only_b)

        x, y, radius, angle = (chosen(m, p, q) for m, p, q in zip(
            (x, y, radius, angle), now_a, now_b))
        rgb = RGB.to(t.device)

        def looks(s):
            def mixed(kind, kinds):
                k = s[kind + '_doubt'][..., None]
                return kinds[s[kind].long()] * (1 - k) + kinds[s['false_' + kind].long()] * k

            shapes = torch.eye(len(SHAPE), device=t.device)
            return torch.cat([mixed('colour', rgb) * s['gain'][..., None], mixed('shape', shapes)],
                             -1)[:, :, None]

        la, lb, e = looks(a), looks(b), kk[..., None]
        la = lb + (la - lb) * doubt[..., None]
        one_a, one_b = in_a[..., None], in_b[..., None]
        look = torch.where(one_a, la, lb) * (1 - e) + torch.where(one_b, lb, la) * e
        present = a['present'][..., None] * (1 - kk) + b['present'][..., None] * kk
        geometry = torch.stack([x, y, radius, angle], -1)
        return k, torch.cat([geometry, look, present[..., None]], -1).transpose(1, 2)

    def frames(self, t, images, draw=render):
        """t [n, T] → [n, T, 3, HEIGHT, WIDTH], and the objects' states."""
        n, frames = t.shape
        mix, objects = self.states(t)
        gain = self.gain[:, None] * (1 + self.false_gain[:, None] * (1 - mix) * self.doubt(t))

        def each(v):
            return v[:, None].expand(n, frames).reshape(-1)

        image = draw(each(self.background_a), each(self.background_b), mix.reshape(-1),
                     gain.reshape(-1), objects.reshape(n * frames, 2, 14), images)
        return image.view(n, frames, 3, HEIGHT, WIDTH), objects
