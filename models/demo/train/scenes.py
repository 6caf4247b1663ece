# SPDX-License-Identifier: LGPL-2.1-or-later
"""What can happen in the demo's world, and how people say it.

A scene is one or two objects {shape, colour, size, motion, speed} before a background; a caption is
one of many English sentences for it. Nothing here draws: see render.py.
"""
import random

SHAPES = {
    'circle': ['circle', 'ball', 'disc', 'sphere', 'orb'],
    'square': ['square', 'box', 'cube', 'block'],
    'triangle': ['triangle', 'pyramid'],
    'star': ['star'],
    'ring': ['ring', 'donut', 'hoop'],
    'heart': ['heart'],
}
COLOURS = {
    'red': ['red', 'crimson', 'scarlet'],
    'orange': ['orange', 'tangerine'],
    'yellow': ['yellow', 'golden', 'lemon'],
    'green': ['green', 'emerald', 'lime'],
    'blue': ['blue', 'azure', 'cobalt'],
    'purple': ['purple', 'violet'],
    'pink': ['pink', 'rose', 'magenta'],
    'white': ['white', 'ivory', 'snowy'],
}
SIZES = {
    'small': ['small', 'tiny', 'little'],
    'medium': ['', '', '', 'medium', 'medium-sized'],
    'large': ['large', 'big', 'huge', 'giant'],
}
# (finite form, -ing form)
MOTIONS = {
    'left': [('moves left', 'moving left'), ('moves to the left', 'moving to the left'),
             ('drifts left', 'drifting left'), ('slides to the left', 'sliding left'),
             ('flies leftward', 'flying to the left'), ('travels from right to left', 'going left'),
             ('goes from right to left', 'travelling from right to left'),
             ('travels from right to left', 'moving from right to left')],
    'right': [('moves right', 'moving right'), ('moves to the right', 'moving to the right'),
              ('drifts right', 'drifting right'), ('slides to the right', 'sliding right'),
              ('flies rightward', 'flying to the right'),
              ('travels from left to right', 'going right'),
             ('goes from left to right', 'travelling from left to right'),
             ('travels from left to right', 'moving from left to right')],
    'up': [('rises', 'rising'), ('moves up', 'moving up'), ('floats upward', 'floating upwards'),
           ('climbs up', 'going up'), ('flies up', 'flying up')],
    'down': [('falls', 'falling'), ('moves down', 'moving down'), ('drops down', 'dropping'),
             ('sinks', 'sinking'), ('floats downward', 'going down')],
    'bounce': [('bounces around', 'bouncing around'), ('bounces', 'bouncing'),
               ('bounces off the walls', 'bouncing off the walls'),
               ('jumps around', 'jumping around')],
    'orbit': [('moves in a circle', 'moving in circles'), ('circles around', 'circling'),
              ('orbits the center', 'orbiting the center'),
              ('goes round and round', 'going round and round')],
    'spin': [('spins', 'spinning'), ('rotates', 'rotating'), ('spins in place', 'spinning in place'),
             ('turns around', 'turning')],
    'pulse': [('pulses', 'pulsing'), ('grows and shrinks', 'growing and shrinking'),
              ('throbs', 'throbbing'), ('breathes', 'breathing')],
    'still': [('stays still', 'standing still'), ('rests', 'resting'), ('hovers', 'hovering'),
              ('does not move', 'motionless')],
}
SPEEDS = {'slow': ['slowly', 'gently'], 'normal': ['', '', ''], 'fast': ['quickly', 'fast', 'rapidly']}
# background: (names that take an article and "background", whole phrases)
BACKGROUNDS = {
    'black': (['black'], []),
    'whitebg': (['white', 'plain white'], ['on white', 'against a plain white background']),
    'gray': (['gray', 'grey'], []),
    'navy': (['dark blue', 'navy', 'navy blue'], ['over dark blue']),
    'sky': (['light blue', 'pale blue'], ['on light blue']),
    'cream': (['cream', 'beige'], []),
    'forest': (['dark green', 'forest green'], ['on dark green']),
    'maroon': (['dark red', 'maroon'], ['over dark red']),
    'sunset': (['sunset', 'orange and purple', 'evening sky'],
               ['at sunset', 'in front of a sunset', 'in front of an orange sunset',
                'over a purple and orange sunset']),
    'ocean': (['ocean', 'teal', 'sea'],
              ['in the ocean', 'under water', 'in the blue ocean', 'in the blue sea']),
    'dawn': (['dawn', 'pastel', 'pink and blue'], ['at dawn', 'over a pink and blue dawn']),
    'night': ([], ['in the night sky', 'under a starry night sky', 'at night', 'in space',
                   'in front of the stars and the moon', 'on a starry sky',
                   'in the dark blue night sky', 'under a dark blue starry sky']),
    'meadow': ([], ['over a green meadow', 'on a green meadow', 'above the grass', 'on green grass',
                    'on a sunny day', 'over grass under a blue sky', 'in a sunny landscape',
                    'over green hills', 'in front of a green meadow']),
    'checker': (['checkerboard', 'checkered', 'chessboard'],
                ['on a checkerboard', 'over a chessboard']),
}
OPENINGS = ['', '', '', '', 'there is ', 'a video of ', 'an animation of ', 'we see ', 'show me ',
            'imagine ', 'a clip with ', 'now ']

SHAPE, COLOUR, SIZE, MOTION, SPEED, BACKGROUND = (
    list(x) for x in (SHAPES, COLOURS, SIZES, MOTIONS, SPEEDS, BACKGROUNDS))


def clashes(obj, background):
    """White on white, and spins that cannot be seen."""
    return (obj['colour'] == 'white' and background in ('whitebg', 'cream') or
            obj['motion'] == 'spin' and obj['shape'] in ('circle', 'ring'))


def random_object(rng, crowded):
    hard = rng.random() < .35       # the motions that take longest to learn come more often
    return {'shape': rng.choice(SHAPE), 'colour': rng.choice(COLOUR),
            'size': rng.choice(SIZE[:2] if crowded else SIZE),
            'motion': rng.choice(['spin', 'spin', 'pulse', 'orbit', 'bounce'] if hard else MOTION),
            'speed': rng.choice(['slow', 'normal', 'normal', 'normal', 'fast'])}


def random_scene(rng, n_objects=None):
    n = n_objects or (2 if rng.random() < .33 else 1)
    background = rng.choice(BACKGROUND)
    objects = []
    while len(objects) < n:
        obj = random_object(rng, n == 2)
        if not clashes(obj, background) and all(obj['colour'] != o['colour'] for o in objects):
            objects.append(obj)
    return {'objects': objects, 'background': background}


def edited_scene(rng, scene):
    """A scene that differs in one attribute, or, half of the time, a new one."""
    while rng.random() > .5:
        new = {'objects': [dict(o) for o in scene['objects']], 'background': scene['background']}
        what = rng.choice(['shape', 'colour', 'size', 'motion', 'motion', 'colour', 'background',
                           'background'])
        if what == 'background':
            new['background'] = rng.choice(BACKGROUND)
        else:
            values = {'shape': SHAPE, 'colour': COLOUR, 'size': SIZE, 'motion': MOTION}[what]
            rng.choice(new['objects'])[what] = rng.choice(values)
        colours = [o['colour'] for o in new['objects']]
        if new != scene and len(set(colours)) == len(colours) and not any(
                clashes(o, new['background']) for o in new['objects']):
            return new
    return random_scene(rng)


def with_article(words):
    return ('an ' if words[0] in 'aeiou' else 'a ') + words


def object_words(rng, obj):
    words = [rng.choice(SIZES[obj['size']]), rng.choice(COLOURS[obj['colour']]),
             rng.choice(SHAPES[obj['shape']])]
    return ' '.join(w for w in words if w)


def motion_words(rng, obj, form):
    words, speed = rng.choice(MOTIONS[obj['motion']])[form], rng.choice(SPEEDS[obj['speed']])
    if not speed or obj['motion'] == 'still':
        return words
    return f'{speed} {words}' if rng.random() < .5 else f'{words} {speed}'


def background_words(rng, name):
    nouns, phrases = BACKGROUNDS[name]
    if phrases and (not nouns or rng.random() < .5):
        return rng.choice(phrases)
    noun = rng.choice(nouns)
    return rng.choice([f'on {with_article(noun)} background', f'on {with_article(noun)} background',
                       f'against {with_article(noun)} background',
                       f'in front of {with_article(noun)} backdrop', f'over {noun}', f'on {noun}'])


def caption(rng, scene, complete=False):
    """One sentence. Unless `complete`, now and then it leaves the background or a motion unsaid."""
    objects, form = scene['objects'], rng.randrange(2)
    where = background_words(rng, scene['background'])
    if not complete and rng.random() < .06:
        where = ''
    parts = [with_article(object_words(rng, o)) +
             (' ' + motion_words(rng, o, form) if complete or rng.random() > .04 else '')
             for o in objects]
    body = rng.choice([' and ', ', ', ' while ', ' with ']).join(parts)
    shape = rng.random()
    if shape < .66 or not where:
        text = f'{rng.choice(OPENINGS)}{body} {where}'
    elif shape < .86:
        text = f'{where}, {rng.choice(OPENINGS)}{body}'
    elif len(objects) == 1:
        obj = object_words(rng, objects[0])
        moving = motion_words(rng, objects[0], 1)
        text = rng.choice([f'{obj}, {moving}, {where}', f'{moving} {obj} {where}'])
    else:
        text = f'{body}, {where}'
    return ' '.join(text.split()).strip(' ,') + ('.' if rng.random() < .3 else '')
