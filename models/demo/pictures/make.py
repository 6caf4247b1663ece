# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes the pictures beside it with the element, from the build folder's shell (Pillow is needed):

    meson devenv -C build python3 ../models/demo/pictures/make.py ../models/demo/pictures

`prompts.jpg` shows every ninth frame; `changes.webp` is a stream whose prompt changes
three times. Everything is drawn with the element's defaults, that is, with sparse attention."""
import os
import subprocess
import sys
import time

from PIL import Image, ImageDraw

SIZE, FPS, EVERY = (256, 160), 16, 9
PROMPTS = ['a big red heart bouncing on a green meadow',
           'a large golden star moving left in the night sky',
           'a huge purple triangle spinning on a checkerboard',
           'a pink ball rising in the ocean',
           'a big white square pulsing in front of a dark red background',
           'a large orange ring moves in a circle at dawn']
CHANGES = ['a big red heart bouncing on a green meadow', 'a big golden star spinning in the night sky',
           'a large white ring moving left in the ocean', 'a big purple square pulsing at sunset']


def frames_of(data):
    length = SIZE[0] * SIZE[1] * 3
    return [Image.frombytes('RGB', SIZE, data[i:i + length])
            for i in range(0, len(data) - length + 1, length)]


def stream(prompt, n, seed):
    command = ['gst-launch-1.0', '-q', 'lightforcingsrc', f'prompt={prompt}', f'seed={seed}', f'num-buffers={n}',
               '!', 'video/x-raw,format=RGB', '!', 'fdsink']
    return frames_of(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def changing_stream(prompts, seconds):
    """The next prompt every so many seconds of a stream that plays at its own speed."""
    path = f'/tmp/changing-{os.getpid()}.rgb'
    output = f'videoconvert ! video/x-raw,format=RGB ! clocksync ! filesink location={path}'
    program = subprocess.Popen(['pipelines/interactive-prompts', '--source', 'seed=3', '--output', output, prompts[0]],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    while b' s: "' not in program.stdout.readline():     # it tells when a prompt is seen first
        pass
    for line in prompts[1:] + ['/quit']:
        time.sleep(seconds)
        program.stdin.write(line.encode() + b'\n')
        program.stdin.flush()
    program.wait()
    with open(path, 'rb') as file:
        frames = frames_of(file.read())
    os.remove(path)
    return frames


def sheet(path, rows, width=128, gap=2):
    height = width * SIZE[1] // SIZE[0]
    image = Image.new('RGB', (max(map(len, rows)) * (width + gap) - gap, len(rows) * (height + gap) - gap), 'white')
    for y, row in enumerate(rows):
        for x, frame in enumerate(row):
            image.paste(frame.resize((width, height), Image.LANCZOS), (x * (width + gap), y * (height + gap)))
    image.save(path, quality=88)


def animation(path, frames, every=2):
    kept = frames[::every]
    kept[0].save(path, save_all=True, append_images=kept[1:], duration=1000 * every // FPS, loop=0,
                 quality=55, method=6)


def main(folder):
    sheet(os.path.join(folder, 'prompts.jpg'),
          [stream(prompt, 81, seed)[::EVERY] for seed, prompt in enumerate(PROMPTS, 1)])
    animation(os.path.join(folder, 'changes.webp'), changing_stream(CHANGES, 3))


if __name__ == '__main__':
    main(sys.argv[1])
