# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes HTML's named characters as a C table, from Python's own copy of the standard's list.

Names stand as there, with their ';' or, for the old ones that may go without, also without.
"""
import html.entities
import sys

text, rows = b'', []
for name, value in sorted((n.encode(), v.encode()) for n, v in html.entities.html5.items()):
    rows.append((len(text), len(text) + len(name) + 1))
    text += name + b'\0' + value + b'\0'
assert len(text) < 65536

octal = ''.join(chr(b) if chr(b).isalnum() and b < 128 else f'\\{b:03o}' for b in text)
with open(sys.argv[1], 'w', encoding='ascii') as out:
    out.write('static const char entity_text[] = "' + octal + '";\n')
    out.write('static const struct { unsigned short name, value; } entities[] = {\n')
    out.writelines('{%d, %d},\n' % row for row in rows)
    out.write('};\n')
