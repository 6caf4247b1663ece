/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * SentencePiece behind C. Every id, the normaliser's rules and the special pieces come from the
 * model file. As the published pipelines do, one end mark is added to SentencePiece's pieces; there
 * is no begin mark. (Their wrapper also turns a literal "</s>" or "<extra_id_7>" inside a prompt
 * into that special id; here such text stays text.)
 */
#include "tokenizer.h"
#include "charsmap.h"
#include "spiece.h"
#include "tokenizer_file.h"

#include <algorithm>
#include <exception>
#include <memory>
#include <sentencepiece_processor.h>
#include <string>
#include <vector>

struct LfTokenizer {
    sentencepiece::SentencePieceProcessor pieces;
    std::string charsmap;
    const char *format;
    int32_t end;
};

static bool read_model(LfTokenizer &tokenizer, const char *path, LfSpan model, GError **error)
{
    g_autoptr(GByteArray) checked = nullptr;
    LfSpan charsmap;
    const char *problem = lf_spiece_check(model, &checked, &charsmap);
    if (problem)
        return lf_fail(error, LF_ERROR_FORMAT, "%s: %s", path, problem);
    if (charsmap.size > 0)
        tokenizer.charsmap.assign((const char *) charsmap.data, charsmap.size);
    sentencepiece::util::Status status = tokenizer.pieces.LoadFromSerializedProto(
        absl::string_view((const char *) checked->data, checked->len));
    tokenizer.end = status.ok() ? tokenizer.pieces.eos_id() : -1;
    if (tokenizer.end >= 0)
        return true;
    return lf_fail(error, LF_ERROR_FORMAT, "%s: not a usable SentencePiece model: %s", path,
                   status.ok() ? "it has no end mark </s>" : status.error_message());
}

static std::unique_ptr<LfTokenizer> make(const char *path, LfSpan model, GError **error)
try {
    std::unique_ptr<LfTokenizer> tokenizer(new LfTokenizer());
    if (!read_model(*tokenizer, path, model, error))
        return nullptr;
    return tokenizer;
} catch (const std::exception &e) {
    lf_fail(error, LF_ERROR_FORMAT, "%s: not a usable SentencePiece model: %s", path, e.what());
    return nullptr;
}

extern "C" LfTokenizer *lf_tokenizer_open(const char *path, GError **error)
{
    const char *format;
    g_autoptr(GBytes) model = lf_tokenizer_file_read(path, &format, error);
    if (!model)
        return nullptr;
    gsize size;
    const void *bytes = g_bytes_get_data(model, &size);
    std::unique_ptr<LfTokenizer> tokenizer = make(path, {(const uint8_t *) bytes, size}, error);
    if (tokenizer)
        tokenizer->format = format;
    return tokenizer.release();
}

extern "C" void lf_tokenizer_free(LfTokenizer *tokenizer)
{
    delete tokenizer;
}

extern "C" int lf_tokenizer_size(const LfTokenizer *tokenizer)
{
    return tokenizer->pieces.GetPieceSize();
}

extern "C" const char *lf_tokenizer_format(const LfTokenizer *tokenizer)
{
    return tokenizer->format;
}

/* SentencePiece's time and memory grow with the text as the character map makes it, and, where it
 * knows none of the characters, with the square of that. Real prompts stay far below. */
static const size_t max_reach = 256 << 10;

static const char *fault_of(const LfTokenizer *tokenizer, const char *text, int capacity)
{
    LfSpan map = {(const uint8_t *) tokenizer->charsmap.data(), tokenizer->charsmap.size()};
    if (capacity < 1)
        return "no room for one";
    if (!g_utf8_validate(text, -1, nullptr))
        return "it is not UTF-8";
    if (lf_charsmap_reach(map, text, max_reach) > max_reach)
        return "the tokenizer's character map makes it longer than 256 KiB; shorten it";
    return nullptr;
}

static int keep(const LfTokenizer *tokenizer, const std::vector<int> &found, int32_t *ids,
                int capacity, LfTokenCount *count)
{
    int n = (int) MIN(found.size(), (size_t) capacity - 1);
    std::copy_n(found.begin(), n, ids);
    ids[n] = tokenizer->end;
    if (count)
        *count = {(int) found.size() + 1, (int) std::count_if(ids, ids + n, [&](int32_t id) {
                      return tokenizer->pieces.IsUnknown(id);
                  })};
    return n + 1;
}

extern "C" int lf_tokenizer_encode(const LfTokenizer *tokenizer, const char *text, int32_t *ids,
                                   int capacity, LfTokenCount *count, GError **error)
try {
    std::vector<int> found;
    const char *fault = fault_of(tokenizer, text, capacity);
    sentencepiece::util::Status status;
    if (!fault)
        status = tokenizer->pieces.Encode(text, &found);
    if (!fault && status.ok())
        return keep(tokenizer, found, ids, capacity, count);
    lf_fail(error, LF_ERROR_TEXT, "prompt: cannot be split into tokens: %s",
            fault ? fault : status.error_message());
    return -1;
} catch (const std::exception &e) {
    lf_fail(error, LF_ERROR_TEXT, "prompt: cannot be split into tokens: %s", e.what());
    return -1;
}
