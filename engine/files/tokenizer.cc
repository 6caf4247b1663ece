/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * SentencePiece behind C. Every id, the normaliser's rules and the special pieces come from the
 * model file. As the published pipelines do, one end mark is added to SentencePiece's pieces; there
 * is no begin mark. (Their wrapper also turns a literal "</s>" or "<extra_id_7>" inside a prompt
 * into that special id; here such text stays text.)
 */
#include "tokenizer.h"
#include "charsmap.h"
#include "map.h"

#include <algorithm>
#include <exception>
#include <memory>
#include <sentencepiece_processor.h>
#include <string>
#include <vector>

struct LfTokenizer {
    sentencepiece::SentencePieceProcessor pieces;
    int32_t end;
};

static bool read_model(sentencepiece::SentencePieceProcessor &pieces, const char *path,
                       const char *bytes, size_t size, GError **error)
{
    /* The library reads the normaliser's tables without bounds checks. */
    if (!lf_charsmap_check(bytes, size))
        return lf_fail(error, LF_ERROR_FORMAT,
                       "%s: not a whole SentencePiece model; copy the tokenizer again", path);
    sentencepiece::util::Status status =
        pieces.LoadFromSerializedProto(absl::string_view(bytes, size));
    if (status.ok() && pieces.eos_id() >= 0)
        return true;
    return lf_fail(error, LF_ERROR_FORMAT, "%s: not a usable SentencePiece model: %s", path,
                   status.ok() ? "it has no end mark </s>" : status.error_message());
}

static std::unique_ptr<LfTokenizer> make(const char *path, const char *bytes, size_t size,
                                         GError **error)
try {
    std::unique_ptr<LfTokenizer> tokenizer(new LfTokenizer());
    if (!read_model(tokenizer->pieces, path, bytes, size, error))
        return nullptr;
    tokenizer->end = tokenizer->pieces.eos_id();
    return tokenizer;
} catch (const std::exception &e) {
    lf_fail(error, LF_ERROR_FORMAT, "%s: not a usable SentencePiece model: %s", path, e.what());
    return nullptr;
}

/* Published ones have 4 MB. */
static const gsize max_size = 64 << 20;

static LfTokenizer *make_of_file(const char *path, GMappedFile *file, GError **error)
{
    gsize size = g_mapped_file_get_length(file);
    if (size > 0 && size <= max_size)
        return make(path, g_mapped_file_get_contents(file), size, error).release();
    lf_fail(error, LF_ERROR_FORMAT, "%s: %" G_GSIZE_FORMAT " bytes are no tokenizer", path, size);
    return nullptr;
}

extern "C" LfTokenizer *lf_tokenizer_open(const char *path, GError **error)
{
    g_autoptr(GMappedFile) file = lf_map_file(path, error);
    return file ? make_of_file(path, file, error) : nullptr;
}

extern "C" void lf_tokenizer_free(LfTokenizer *tokenizer)
{
    delete tokenizer;
}

extern "C" int lf_tokenizer_size(const LfTokenizer *tokenizer)
{
    return tokenizer->pieces.GetPieceSize();
}

extern "C" int lf_tokenizer_encode(const LfTokenizer *tokenizer, const char *text, int32_t *ids,
                                   int capacity, GError **error)
try {
    std::vector<int> found;
    sentencepiece::util::Status status = tokenizer->pieces.Encode(text, &found);
    if (!status.ok() || capacity < 1 || !g_utf8_validate(text, -1, nullptr)) {
        lf_fail(error, LF_ERROR_TEXT, "prompt: cannot be split into tokens: %s",
                capacity < 1  ? "no room for one"
                : status.ok() ? "it is not UTF-8"
                              : status.error_message());
        return -1;
    }
    int n = (int) MIN(found.size(), (size_t) capacity - 1);
    std::copy_n(found.begin(), n, ids);
    ids[n] = tokenizer->end;
    return n + 1;
} catch (const std::exception &e) {
    lf_fail(error, LF_ERROR_TEXT, "prompt: cannot be split into tokens: %s", e.what());
    return -1;
}
