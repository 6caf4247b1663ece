# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes data/demo.safetensors again, for other weights of the demo model.

    LF_REFERENCE_SOURCES=DIR /usr/bin/python3 make_demo.py MODEL_DIR OUT.safetensors

As README.md says: the public classes, unmodified, from checkouts in DIR:

    ll/     NVlabs/LongLive, branch v1.0, e52d9ef6865d843282a6b5e9d46d03b35f88929d
    taehv/  madebyollin/taehv, 1f14a568f24bf8811e0a0ac601613e04fc1581e8

PyTorch 1.13, NumPy and SentencePiece of Debian 12 (python3-torch, -numpy, -sentencepiece). One CPU
thread, float32.
"""
import json
import math
import os
import struct
import sys
import time
import types

sys.dont_write_bytecode = True

import numpy as np
import torch

SOURCES = os.environ.get('LF_REFERENCE_SOURCES', '.')

# What demo.c names.
PROMPT = 'a big red circle moving left on a green meadow'
CHUNKS, RECORDED_CHUNKS, RECORDED_FRAMES = 5, (0, 1, 4), (8, 20)


# ---- safetensors --------------------------------------------------------------------------------

def read_safetensors(path):
    """Every tensor as float32 (bf16 and f16 widen exactly)."""
    with open(path, 'rb') as f:
        data = f.read()
    start = 8 + struct.unpack('<Q', data[:8])[0]
    out = {}
    for name, info in json.loads(data[8:start]).items():
        if name == '__metadata__':
            continue
        first, last = info['data_offsets']
        raw = data[start + first:start + last]
        if info['dtype'] == 'BF16':
            values = (np.frombuffer(raw, '<u2').astype(np.uint32) << 16).view(np.float32)
        else:
            values = np.frombuffer(raw, {'F32': '<f4', 'F16': '<f2'}[info['dtype']])
        out[name] = torch.from_numpy(values.astype(np.float32).reshape(info['shape']))
    return out


def write_safetensors(path, tensors):
    types_ = {'uint8': 'U8', 'int64': 'I64', 'float32': 'F32'}
    header, blobs, offset = {}, [], 0
    for name in sorted(tensors):
        values = np.ascontiguousarray(tensors[name])
        blob = values.tobytes()
        header[name] = {'dtype': types_[values.dtype.name], 'shape': list(values.shape),
                        'data_offsets': [offset, offset + len(blob)]}
        offset += len(blob)
        blobs.append(blob)
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text + b''.join(blobs))


# ---- the generator ------------------------------------------------------------------------------

def numbers(name, count):
    """README, 'The generator', mean 0 and scale 1."""
    state = 0xcbf29ce484222325
    for byte in name.encode():
        state = (state ^ byte) * 0x100000001b3 % 2**64
    u = np.uint64
    z = np.arange(1, count + 1, dtype=u) * u(0x9e3779b97f4a7c15) + u(state)     # modulo 2^64
    z = (z ^ z >> u(30)) * u(0xbf58476d1ce4e5b9)
    z = (z ^ z >> u(27)) * u(0x94d049bb133111eb)
    z = z ^ z >> u(31)
    total = sum((z >> u(16 * i) & u(0xffff)).astype(np.float64) for i in range(4))
    return ((total - 131070.0) * (math.sqrt(3.0) / 65536.0)).astype(np.float32)


# ---- what this PyTorch lacks or a CPU cannot do: put in place before the import -------------------

class Empty(types.ModuleType):
    """A module in which every name is there, and nothing is behind it."""

    def __getattr__(self, name):
        if name.startswith('__'):
            raise AttributeError(name)
        return type(name, (), {})


def put_module(name, **names):
    module = Empty(name)
    module.__path__ = []
    for key, value in names.items():
        setattr(module, key, value)
    sys.modules[name] = module


def enter_package(name, directory):
    """A package, without its __init__."""
    module = types.ModuleType(name)
    module.__path__ = [directory]
    sys.modules[name] = module
    parent, _, child = name.rpartition('.')
    if parent:
        setattr(sys.modules[parent], child, module)


class ModelMixin(torch.nn.Module):
    sizes = {}

    @classmethod
    def from_pretrained(cls, path, **options):
        return cls(**ModelMixin.sizes, **options)


def attention(q, k, v, **options):
    """softmax(q·kᵀ/√d)·v in float32; [B, L, N, D]."""
    assert all(value is None for value in options.values()), options
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
    return (scores.softmax(-1) @ v).transpose(1, 2).contiguous()


def surroundings():
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    torch.cuda.current_device = lambda: 0
    torch.compile = lambda function, **options: function
    if not torch.distributed.is_available():
        torch.distributed.is_initialized = lambda: False
    for name in ('einops', 'ftfy', 'regex', 'transformers', 'diffusers', 'diffusers.models',
                 'torch.nn.attention', 'torch.nn.attention.flex_attention'):
        put_module(name)
    put_module('diffusers.configuration_utils', ConfigMixin=type('ConfigMixin', (), {}),
               register_to_config=lambda function: function)
    put_module('diffusers.models.modeling_utils', ModelMixin=ModelMixin)
    put_module('tqdm')
    put_module('tqdm.auto', tqdm=lambda items, **options: items)
    longlive = os.path.join(SOURCES, 'll')
    enter_package('wan', os.path.join(longlive, 'wan'))
    enter_package('wan.modules', os.path.join(longlive, 'wan', 'modules'))
    enter_package('pipeline', os.path.join(longlive, 'pipeline'))
    sys.path[:0] = [longlive, os.path.join(SOURCES, 'taehv')]      # utils.*; taehv
    import wan.modules.causal_model
    import wan.modules.causal_model_infinity
    import wan.modules.model
    wan.modules.causal_model.attention = attention
    wan.modules.causal_model_infinity.attention = attention
    wan.modules.model.flash_attention = attention
    for name, folder in (('wan.modules.causal_model_infinity', 'll'), ('utils.wan_wrapper', 'll'),
                         ('pipeline.causal_inference', 'll'), ('taehv', 'taehv')):
        file = os.path.realpath(__import__(name, fromlist=['_']).__file__)
        assert file.startswith(os.path.realpath(os.path.join(SOURCES, folder)) + os.sep), file


# ---- text ---------------------------------------------------------------------------------------

def make_text_encoder(directory, config):
    """WanTextEncoder with our sizes and weights; in place of its tokenizer, SentencePiece."""
    from utils.wan_wrapper import WanTextEncoder
    from wan.modules.t5 import T5Encoder
    c, rows = config['text_encoder'], config['transformer']['text_len']
    import sentencepiece
    pieces = sentencepiece.SentencePieceProcessor(
        model_file=os.path.join(directory, config['tokenizer']['file']))

    def tokenizer(prompts, return_mask, add_special_tokens):
        assert return_mask and add_special_tokens
        ids = torch.zeros([len(prompts), rows], dtype=torch.long)
        mask = torch.zeros_like(ids)
        for i, prompt in enumerate(prompts):
            tokens = pieces.encode(prompt) + [pieces.eos_id()]
            ids[i, :len(tokens)] = torch.tensor(tokens)
            mask[i, :len(tokens)] = 1
        return ids, mask

    class TextEncoder(WanTextEncoder):
        device = torch.device('cpu')

        def __init__(self):
            torch.nn.Module.__init__(self)      # theirs reads the published model's files
            assert c['max_distance'] == 128     # a literal of T5RelativeEmbedding
            self.text_encoder = T5Encoder(
                c['vocab'], c['dim'], c['attention_dim'], c['ffn'], c['heads'], c['layers'],
                c['buckets'], shared_pos=False).eval().requires_grad_(False)
            self.text_encoder.load_state_dict(read_safetensors(os.path.join(directory, c['file'])))
            self.tokenizer = tokenizer

    encoder = TextEncoder()
    ids, mask = tokenizer([PROMPT], True, True)
    return encoder, ids[0, :int(mask.sum())]


# ---- latents ------------------------------------------------------------------------------------

class Options(dict):
    __getattr__ = dict.__getitem__


class NoVideo(torch.nn.Module):
    """In place of the VAE: the latents are what we want."""

    def decode_to_pixel_chunk(self, latents, use_cache):
        return torch.zeros(1)


def make_pipeline(directory, config, text_encoder):
    from pipeline.causal_inference import CausalInferencePipeline
    t, video, cache, schedule = (config[k] for k in ('transformer', 'video', 'cache', 'schedule'))
    assert cache['positions'] == 'relative', 'only positions in the window: use_infinite_attention'
    ModelMixin.sizes = dict(
        text_len=t['text_len'], in_dim=t['channels'], out_dim=t['channels'], dim=t['dim'],
        ffn_dim=t['ffn'], freq_dim=t['freq_dim'], text_dim=t['text_dim'], num_heads=t['heads'],
        num_layers=t['layers'])
    args = types.SimpleNamespace(
        denoising_step_list=schedule['steps'], warp_denoising_step=True,
        num_frame_per_block=video['chunk'], context_noise=0,
        model_kwargs=Options(timestep_shift=schedule['shift'], local_attn_size=cache['window'],
                             sink_size=cache['sink'], use_infinite_attention=True))

    class Pipeline(CausalInferencePipeline):
        def _initialize_kv_cache(self, **options):
            """Theirs, with our heads for the literal 12 of 128."""
            super()._initialize_kv_cache(**options)
            for layer in self.kv_cache1:
                for key in ('k', 'v'):
                    size = layer[key].shape[:2] + (t['heads'], t['dim'] // t['heads'])
                    layer[key] = layer[key].new_zeros(size)

    pipeline = Pipeline(args, torch.device('cpu'), text_encoder=text_encoder, vae=NoVideo())
    pipeline.num_transformer_blocks = t['layers']
    pipeline.frame_seq_length = (video['height'] // 16) * (video['width'] // 16)
    pipeline.generator.model.load_state_dict(
        read_safetensors(os.path.join(directory, t['file'])))
    return pipeline.eval().requires_grad_(False)


def make_latents(pipeline, config):
    video, steps = config['video'], len(config['schedule']['steps'])
    frame = [config['transformer']['channels'], video['height'] // 8, video['width'] // 8]
    shape = [CHUNKS, steps, video['chunk']] + frame
    noise = torch.from_numpy(numbers('demo.noise', math.prod(shape)).reshape(shape))
    given = (noise[chunk, step] for chunk in range(CHUNKS) for step in range(1, steps))

    def randn_like(like):
        out = next(given)
        assert out.shape == like.shape and out.dtype == like.dtype
        return out

    theirs, torch.randn_like = torch.randn_like, randn_like
    try:
        _, latents = pipeline.inference(noise[:, 0].reshape([1, -1] + frame), [PROMPT],
                                        return_latents=True)
    finally:
        torch.randn_like = theirs
    assert next(given, None) is None
    return latents[0].reshape([CHUNKS, video['chunk']] + frame)


# ---- frames -------------------------------------------------------------------------------------

def make_taehv(directory, config):
    """TAEHV with a decoder put together from its own blocks, in its order, with our widths."""
    from taehv import Clamp, MemBlock, TAEHV, TGrow, conv
    from torch import nn
    weights = read_safetensors(os.path.join(directory, config['decoder']['file']))
    w = [weights['decoder.%d.weight' % i].shape[0] for i in (1, 8, 14, 20)]
    blocks = [Clamp(), conv(config['transformer']['channels'], w[0]), nn.ReLU(inplace=True)]
    for i, times in enumerate((1, 2, 2)):
        blocks += [MemBlock(w[i], w[i]) for _ in range(3)]
        blocks += [nn.Upsample(scale_factor=2), TGrow(w[i], times), conv(w[i], w[i + 1], bias=False)]
    blocks += [nn.ReLU(inplace=True), conv(w[3], 3)]
    taehv = TAEHV(None)
    assert [type(b) for b in taehv.decoder] == [type(b) for b in blocks]
    assert [b.stride for b in taehv.decoder if isinstance(b, TGrow)] == [1, 2, 2]
    taehv.decoder = nn.Sequential(*blocks)
    prefix = 'decoder.'
    assert all(name.startswith(prefix) for name in weights)
    taehv.decoder.load_state_dict({n[len(prefix):]: x for n, x in weights.items()})
    return taehv.eval().requires_grad_(False)


def make_frames(taehv, latents):
    """Of the first chunks alone: the decoder is causal."""
    need = max(RECORDED_FRAMES) + taehv.frames_to_trim + 1
    clip = latents.flatten(0, 1)[None, :-(-need // taehv.t_upscale)]
    frames = taehv.decode_video(clip.clone(), parallel=True, show_progress_bar=False)[0]
    picked = frames[list(RECORDED_FRAMES)].permute(0, 2, 3, 1)
    return (picked * 255).to(torch.uint8)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    directory, output = sys.argv[1:]
    with open(os.path.join(directory, 'model.json')) as f:
        config = json.load(f)
    began = time.time()
    surroundings()
    text_encoder, ids = make_text_encoder(directory, config)
    text = text_encoder([PROMPT])['prompt_embeds'][0, :len(ids)]
    latents = make_latents(make_pipeline(directory, config, text_encoder), config)
    frames = make_frames(make_taehv(directory, config), latents)
    recorded = latents[list(RECORDED_CHUNKS)].flatten(0, 1)
    assert all(torch.isfinite(x).all() for x in (text, latents))
    write_safetensors(output, {'ids': ids.numpy(), 'text': text.numpy(),
                               'latents': recorded.numpy(), 'frames': frames.numpy()})
    print('%s: ids %s, latents %s, frames %s; %.0f s' % (
        output, list(ids.shape), list(recorded.shape), list(frames.shape), time.time() - began))


if __name__ == '__main__':
    main()
