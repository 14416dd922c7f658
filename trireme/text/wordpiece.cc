#include "trireme/text/wordpiece.h"

#include <algorithm>

#include "trireme/base/error.h"
#include "trireme/base/utf8.h"
#include "trireme/text/code_point_table.h"

namespace trireme::text {

WordPiece::WordPiece(std::span<const VocabEntry> vocab, const WordPieceOptions& options,
                     const std::string& where)
    : max_chars_(options.max_input_chars_per_word) {
  const std::string& prefix = options.continuing_subword_prefix;
  for (const auto& [token, id] : vocab) {
    whole_.set(token, id);
    if (token.starts_with(prefix)) {
      continuing_.set(std::string_view(token).substr(prefix.size()), id);
    }
  }
  unk_id_ = whole_.find(options.unk_token);
  if (unk_id_ < 0) {
    throw input_error(where, ": the vocabulary has no unknown token '", options.unk_token,
                      "'; add it, or name another one as unk_token");
  }
}

void WordPiece::encode(SourcedView word, Encoding& out) const {
  const std::string_view bytes = word.bytes;
  const std::size_t before = out.ids.size();
  bool known = bytes.size() <= max_chars_ || count_code_points(bytes) <= max_chars_;
  for (std::size_t begin = 0; known && begin < bytes.size();) {
    const TokenTable& table = begin == 0 ? whole_ : continuing_;
    std::size_t end = std::min(bytes.size(), begin + table.longest_bytes());
    std::int32_t id = -1;
    for (; end > begin; --end) {
      if (end < bytes.size() && is_continuation_byte(bytes[end])) continue;
      id = table.find(bytes.substr(begin, end - begin));
      if (id >= 0) break;
    }
    known = id >= 0;
    if (known) {
      out.ids.push_back(id);
      out.offsets.push_back({word.source[begin], word.source[end - 1] + 1});
      begin = end;
    }
  }
  if (!known) {
    out.ids.resize(before);
    out.offsets.resize(before);
    out.ids.push_back(unk_id_);
    out.offsets.push_back({word.source[0], word.source[bytes.size() - 1] + 1});
  }
}

}  // namespace trireme::text
