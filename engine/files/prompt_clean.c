/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Cleans a prompt as the published pipelines do before the tokenizer: repairs each line until
 * nothing changes, unescapes HTML twice more, collapses whitespace. Each pass is a function from
 * one array of characters to the next.
 */
#include "tokenizer.h"

#include <string.h>

#include "html_entities.h"

#define MAX_BYTES (64 * 1024)

/* Nested escapes ("&amp;amp;…") and doubly misread text need one round each. */
#define MAX_ROUNDS 16

typedef struct {
    const gunichar *chars;
    size_t n;
} Span;

static void put(GArray *out, gunichar c)
{
    g_array_append_val(out, c);
}

static void put_utf8(GArray *out, const char *text)
{
    for (; *text; text = g_utf8_next_char(text))
        put(out, g_utf8_get_char(text));
}

static Span span_of(const GArray *array)
{
    return (Span){(const gunichar *) (void *) array->data, array->len};
}

static gunichar char_at(Span in, size_t i)
{
    return i < in.n ? in.chars[i] : 0;
}

static bool contains(const gunichar *set, gunichar c)
{
    while (*set && *set != c)
        set++;
    return c && *set == c;
}

/* ---- Windows-1252 ---------------------------------------------------------------------------- */

/* Bytes 0x80…0x9F; unassigned bytes stand for themselves, as in web browsers. */
static const gunichar windows_1252[32] = {
    0x20ac, 0x81,   0x201a, 0x192,  0x201e, 0x2026, 0x2020, 0x2021, 0x2c6,  0x2030, 0x160,
    0x2039, 0x152,  0x8d,   0x17d,  0x8f,   0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
    0x2013, 0x2014, 0x2dc,  0x2122, 0x161,  0x203a, 0x153,  0x9d,   0x17e,  0x178};

/* The byte that was misread as `c`, by Latin-1 or Windows-1252; 0 when there is none. */
static uint8_t misread_byte(gunichar c)
{
    if (c >= 0x80 && c <= 0xff)
        return (uint8_t) c;
    for (int i = 0; i < 32; i++)
        if (windows_1252[i] == c)
            return (uint8_t) (0x80 + i);
    return 0;
}

/* ---- UTF-8 that was read as Windows-1252 ----------------------------------------------------- */

/* Characters that may follow a letter: closing quotes, dashes, an ellipsis, a bullet; then marks, a
 * no-break space, and the letters among the misread bytes ("KŘÍŽ"). */
static const gunichar closing[] = {0x2018, 0x2019, 0x201c, 0x201d, 0x203a, 0xbb,
                                   0xab,   0x2013, 0x2014, 0x2026, 0x2022, 0};
static const gunichar others[] = {0x2122, 0xae,  0xa9,  0xb0,  0xb7,  0xa0,  0xad, 0x160,
                                  0x161,  0x17d, 0x17e, 0x152, 0x153, 0x178, 0};

/* Whether the n characters at `i`, which are valid UTF-8 when read as bytes, are misread text for
 * sure. "Ã" and "Â" begin most misread text and hardly ever end a word; a no-break space after any
 * other letter is French typography ("voilà €"). */
static bool is_implausible(Span in, size_t i, size_t n)
{
    bool common = in.chars[i] == 0xc3 || in.chars[i] == 0xc2;
    for (size_t k = 1; k < n; k++)
        if (!contains(closing, in.chars[i + k]) && (common || !contains(others, in.chars[i + k])))
            return common || in.chars[i + 1] != 0xa0;
    bool after_letter = i > 0 && g_unichar_isalpha(in.chars[i - 1]);
    return common && (!after_letter || g_unichar_isalpha(char_at(in, i + n)));
}

/* The character that was misread as the text at `i`, and how many characters that text has; 0 when
 * it cannot be misread text. */
static gunichar misread_at(Span in, size_t i, size_t *n)
{
    char bytes[5] = {0};
    for (size_t k = 0; k < 4 && i + k < in.n; k++)
        bytes[k] = (char) misread_byte(in.chars[i + k]);
    gunichar c = g_utf8_get_char_validated(bytes, -1);
    bool valid = c >= 0x80 && c <= 0x10ffff;
    *n = valid ? (size_t) g_unichar_to_utf8(c, NULL) : 1;
    return valid ? c : 0;
}

/* Changes a line only if some of it is misread text for sure; then all that can be is read as such.
 * */
static void repair_misread(GArray *out, Span in)
{
    bool found = false;
    for (size_t i = 0, n; i < in.n && !found; i++)
        found = in.chars[i] >= 0xc2 && misread_at(in, i, &n) && is_implausible(in, i, n);
    for (size_t i = 0, n = 1; i < in.n; i += n) {
        gunichar c = found ? misread_at(in, i, &n) : 0;
        put(out, c ? c : in.chars[i]);
    }
}

/* ---- HTML ------------------------------------------------------------------------------------ */

/* The value of the name in.chars[0…n), its ';' included, or NULL. */
static const char *find_entity(Span in, size_t n)
{
    char name[40] = {0};
    if (n >= sizeof(name))
        return NULL;
    for (size_t i = 0; i < n; i++)
        name[i] = in.chars[i] < 0x80 ? (char) in.chars[i] : 0x7f;
    for (size_t low = 0, high = G_N_ELEMENTS(entities); low < high;) {
        size_t middle = (low + high) / 2;
        int order = strcmp(name, entity_text + entities[middle].name);
        if (order == 0)
            return entity_text + entities[middle].value;
        *(order < 0 ? &high : &low) = order < 0 ? middle : middle + 1;
    }
    return NULL;
}

/* The longest name that in.chars[0…n) begins with. */
static const char *find_entity_prefix(Span in, size_t n, size_t *length)
{
    for (*length = n; *length > 1; --*length) {
        const char *value = find_entity(in, *length);
        if (value)
            return value;
    }
    return NULL;
}

/* Reads "#38" or "#x26" at in.chars[0]; returns its length without a ';', 0 if it is neither. */
static size_t read_number(Span in, uint32_t *value)
{
    bool hex = char_at(in, 1) == 'x' || char_at(in, 1) == 'X';
    size_t begin = hex ? 2 : 1, i = begin;
    *value = 0;
    for (; i < in.n && in.chars[i] < 0x80; i++) {
        int digit = hex ? g_ascii_xdigit_value((char) in.chars[i])
                        : g_ascii_digit_value((char) in.chars[i]);
        if (digit < 0)
            break;
        *value = MIN(*value * (hex ? 16 : 10) + (uint32_t) digit, 0x110000);
    }
    return char_at(in, 0) == '#' && i > begin ? i : 0;
}

/* The character of a number, as HTML's standard corrects it. */
static void put_numbered(GArray *out, uint32_t value)
{
    if (value >= 0x80 && value < 0xa0)
        put(out, windows_1252[value - 0x80]);
    else if (value == 0 || value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
        put(out, 0xfffd);
    else if ((value >= 0x20 && value != 0x7f && (value & 0xfffe) != 0xfffe &&
              !(value >= 0xfdd0 && value <= 0xfdef)) ||
             value == '\t' || value == '\n' || value == '\f' || value == '\r')
        put(out, value);
}

/* How many characters of `in` may be a name: up to HTML's terminators, a ';' included. */
static size_t name_length(Span in)
{
    static const gunichar ends[] = {'\t', '\n', '\f', ' ', '<', '&', '#', 0};
    size_t n = 0;
    while (n < in.n && n < 32 && in.chars[n] != ';' && !contains(ends, in.chars[n]))
        n++;
    return n > 0 && char_at(in, n) == ';' ? n + 1 : n;
}

/* Puts the characters of the entity after an '&' and returns the entity's length, or 0. */
static size_t unescape_one(GArray *out, Span in)
{
    uint32_t value;
    size_t n = read_number(in, &value);
    if (n > 0) {
        put_numbered(out, value);
        return n + (char_at(in, n) == ';');
    }
    const char *text = find_entity_prefix(in, name_length(in), &n);
    if (!text)
        return 0;
    put_utf8(out, text);
    return n;
}

/* "&EACUTE;", which only a change of case made of "&eacute;". */
static size_t unescape_shouted(GArray *out, Span in, size_t n)
{
    gunichar name[32];
    size_t prefix;
    if (n > 25 || find_entity_prefix(in, n, &prefix))
        return 0;
    for (size_t i = 0; i < n; i++) {
        if (g_unichar_islower(in.chars[i]))
            return 0;
        name[i] = g_unichar_tolower(in.chars[i]);
    }
    const char *text = find_entity((Span){name, n}, n);
    if (!text)
        return 0;
    g_autofree char *upper = g_utf8_strup(text, -1);
    put_utf8(out, upper);
    return n;
}

/* As unescape_one, but only complete names that end in ';'. */
static size_t unescape_one_strictly(GArray *out, Span in)
{
    uint32_t value;
    size_t n = read_number(in, &value);
    if (n > 0 && (char_at(in, n) != ';' || value == ';' || n > 25))
        return 0;
    if (n > 0)
        return unescape_one(out, in);
    n = name_length(in);
    if (n < 2 || n > 25 || in.chars[n - 1] != ';')
        return 0;
    return find_entity(in, n) ? unescape_one(out, in) : unescape_shouted(out, in, n);
}

static void unescape(GArray *out, Span in, size_t (*one)(GArray *, Span))
{
    for (size_t i = 0; i < in.n; i++) {
        Span rest = {in.chars + i + 1, in.n - i - 1};
        size_t n = in.chars[i] == '&' ? one(out, rest) : 0;
        if (n == 0)
            put(out, in.chars[i]);
        i += n;
    }
}

static void unescape_all(GArray *out, Span in)
{
    unescape(out, in, unescape_one);
}

static void unescape_strictly(GArray *out, Span in)
{
    unescape(out, in, unescape_one_strictly);
}

/* ---- single characters ----------------------------------------------------------------------- */

static bool is_control(gunichar c)
{
    return (c < 0x20 && c != '\t' && c != '\n' && c != '\f' && c != '\r') || c == 0x7f ||
           (c >= 0x206a && c <= 0x206f) || c == 0xfeff || (c >= 0xfff9 && c <= 0xfffc);
}

/* Ligatures of Latin letters and the full-width and half-width forms, whose compatibility
 * decompositions are the plain characters. */
static bool is_dressed_up(gunichar c)
{
    return c == 0x132 || c == 0x133 || c == 0x149 || (c >= 0x1c4 && c <= 0x1cc) ||
           (c >= 0x1f1 && c <= 0x1f3) || (c >= 0xfb00 && c <= 0xfb06) || c == 0x3000 ||
           (c >= 0xff01 && c <= 0xffef);
}

static void put_plain(GArray *out, gunichar c)
{
    gunichar parts[G_UNICHAR_MAX_DECOMPOSITION_LENGTH];
    if (c >= 0x80 && c < 0xa0 && windows_1252[c - 0x80] != c)
        put_plain(out, windows_1252[c - 0x80]);
    else if (c == 0x2bc || (c >= 0x2018 && c <= 0x201b))
        put(out, '\'');
    else if (c >= 0x201c && c <= 0x201f)
        put(out, '"');
    else if (is_dressed_up(c))
        g_array_append_vals(out, parts,
                            (guint) g_unichar_fully_decompose(c, true, parts, G_N_ELEMENTS(parts)));
    else if (!is_control(c))
        put(out, c);
}

/* Length of a terminal's escape sequence, ESC [ digits letter; 0 when there is none. */
static size_t terminal_escape(Span in, size_t i)
{
    size_t end = i + 2;
    if (in.chars[i] != 0x1b || char_at(in, i + 1) != '[')
        return 0;
    while (char_at(in, end) == ';' || g_unichar_isdigit(char_at(in, end)))
        end++;
    return char_at(in, end) < 0x80 && g_ascii_isalpha((char) char_at(in, end)) ? end + 1 - i : 0;
}

static void make_plain(GArray *out, Span in)
{
    for (size_t i = 0; i < in.n; i++) {
        size_t n = terminal_escape(in, i);
        if (n > 0)
            i += n - 1;
        else
            put_plain(out, in.chars[i]);
    }
}

/* No character before it can compose with it, or trade places with it. Besides marks, the letters
 * that do are vowels and finals of Hangul, and the vowel signs of Kirat Rai. */
static bool starts_afresh(gunichar c)
{
    bool hangul = (c >= 0x1160 && c < 0x1200) || (c >= 0xd7b0 && c < 0xd800);
    bool kirat_rai = c >= 0x16d40 && c < 0x16d80;
    return g_unichar_combining_class(c) == 0 && !g_unichar_ismark(c) && !hangul && !kirat_rai;
}

static void compose_part(GArray *out, Span in)
{
    g_autofree char *text = g_ucs4_to_utf8(in.chars, (glong) in.n, NULL, NULL, NULL);
    g_autofree char *composed = text ? g_utf8_normalize(text, -1, G_NORMALIZE_NFC) : NULL;
    put_utf8(out, composed ? composed : "");
}

/* In parts, because GLib moves the rest of the text for each pair that it composes. */
static void compose(GArray *out, Span in)
{
    enum { PART = 64 };
    for (size_t begin = 0, end; begin < in.n; begin = end) {
        end = MIN(begin + PART, in.n);
        while (end < in.n && !starts_afresh(in.chars[end]))
            end++;
        compose_part(out, (Span){in.chars + begin, end - begin});
    }
}

/* ---- all passes ------------------------------------------------------------------------------ */

typedef void (*Pass)(GArray *out, Span in);

/* Replaces `text` by pass(text). */
static void apply(GArray **text, Pass pass)
{
    GArray *out = g_array_sized_new(false, false, sizeof(gunichar), (*text)->len + 16);
    pass(out, span_of(*text));
    g_array_unref(*text);
    *text = out;
}

static bool equal(const GArray *text, Span other)
{
    return text->len == other.n &&
           (other.n == 0 || memcmp(text->data, other.chars, other.n * sizeof(gunichar)) == 0);
}

static GArray *copy_of(Span in)
{
    GArray *text = g_array_sized_new(false, false, sizeof(gunichar), (guint) in.n + 16);
    g_array_append_vals(text, in.chars, (guint) in.n);
    return text;
}

/* Applies `pass` until it changes nothing. */
static void apply_until_stable(GArray **text, Pass pass)
{
    bool still = false;
    for (int round = 0; round < MAX_ROUNDS && !still; round++) {
        GArray *before = copy_of(span_of(*text));
        apply(text, pass);
        still = equal(*text, span_of(before));
        g_array_unref(before);
    }
}

static void repair_line(GArray *out, Span in)
{
    GArray *text = copy_of(in);
    apply_until_stable(&text, repair_misread);
    apply(&text, make_plain);
    apply(&text, compose);
    g_array_append_vals(out, text->data, text->len);
    g_array_unref(text);
}

static void unescape_and_repair_line(GArray *out, Span in)
{
    GArray *text = copy_of(in);
    apply(&text, unescape_strictly);
    repair_line(out, span_of(text));
    g_array_unref(text);
}

/* Line by line. From the first line with a tag to the end, nothing is unescaped here. */
static void repair_lines(GArray *out, Span in)
{
    bool has_tags = false;
    for (size_t begin = 0, end; begin < in.n; begin = end) {
        for (end = begin; end < in.n && (end == begin || in.chars[end - 1] != '\n'); end++)
            has_tags |= in.chars[end] == '<';
        GArray *line = copy_of((Span){in.chars + begin, end - begin});
        apply_until_stable(&line, has_tags ? repair_line : unescape_and_repair_line);
        g_array_append_vals(out, line->data, line->len);
        g_array_unref(line);
    }
}

static bool is_space(gunichar c)
{
    return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

static void collapse_space(GArray *out, Span in)
{
    for (size_t i = 0; i < in.n; i++) {
        if (!is_space(in.chars[i]))
            put(out, in.chars[i]);
        else if (i > 0 && !is_space(in.chars[i - 1]))
            put(out, ' ');
    }
    if (out->len > 0 && g_array_index(out, gunichar, out->len - 1) == ' ')
        g_array_set_size(out, out->len - 1);
}

char *lf_prompt_clean(const char *prompt, GError **error)
{
    size_t size = strnlen(prompt, MAX_BYTES + 1);
    const char *wrong;
    if (size > MAX_BYTES) {
        lf_fail(error, LF_ERROR_TEXT, "prompt: longer than %d KiB; shorten it", MAX_BYTES / 1024);
        return NULL;
    }
    if (!g_utf8_validate_len(prompt, size, &wrong)) {
        lf_fail(error, LF_ERROR_TEXT, "prompt: not UTF-8 from byte %td on; convert it to UTF-8",
                wrong - prompt);
        return NULL;
    }
    GArray *text = copy_of((Span){NULL, 0});
    put_utf8(text, prompt);
    apply(&text, repair_lines);
    apply(&text, unescape_all);
    apply(&text, unescape_all);
    apply(&text, collapse_space);
    char *clean =
        g_ucs4_to_utf8((const gunichar *) (void *) text->data, (glong) text->len, NULL, NULL, NULL);
    g_array_unref(text);
    return clean;
}
