// A tokenizer for tests: words between spaces, hashed ids, every character above U+FFFF split into
// two tokens of the same offsets (as byte-level and WordPiece tokenizers do with some characters).
#pragma once

#include "trireme/base/utf8.h"
#include "trireme/data/qa_windows.h"

namespace trireme::data {

inline constexpr int32_t kFakeCls = 1;
inline constexpr int32_t kFakeSep = 2;

// "w12" has id 1012; other words an id by their first byte, below 1000.
inline TokenizedText fake_encode(std::string_view text) {
  TokenizedText out;
  const std::u32string points = decode_utf8(text);
  for (size_t at = 0; at < points.size();) {
    if (points[at] == U' ') {
      ++at;
      continue;
    }
    const size_t begin = at;
    int32_t id = 100 + static_cast<int32_t>(points[at] % 800);
    if (points[at] == U'w') id = 1000;
    ++at;
    if (points[begin] > 0xFFFF) {
      out.ids.push_back(3);
      out.offsets.push_back({static_cast<int32_t>(begin), static_cast<int32_t>(at)});
    } else {
      int32_t number = 0;
      while (at < points.size() && points[at] != U' ' && points[at] <= 0xFFFF) {
        if (points[at] >= U'0' && points[at] <= U'9') {
          number = 10 * number + static_cast<int32_t>(points[at] - U'0');
        }
        ++at;
      }
      id += number;
    }
    out.ids.push_back(id);
    out.offsets.push_back({static_cast<int32_t>(begin), static_cast<int32_t>(at)});
  }
  return out;
}

inline WindowTokenizer fake_tokenizer() {
  return {.encode = fake_encode, .cls_id = kFakeCls, .sep_id = kFakeSep};
}

}  // namespace trireme::data
