#include "trireme/text/added_tokens.h"

#include <algorithm>
#include <functional>

#include "trireme/text/code_point_table.h"
#include "trireme/text/code_points.h"

namespace trireme::text {
namespace {

std::size_t before(std::string_view text, std::size_t at) {
  --at;
  while (is_continuation_byte(text[at])) --at;
  return at;
}

bool touches_word(std::string_view text, std::size_t begin, std::size_t end) {
  const auto is_word_at = [text](std::size_t at) {
    return is_word(decode_valid_utf8(text.data() + at).code_point);
  };
  return (begin > 0 && is_word_at(before(text, begin))) || (end < text.size() && is_word_at(end));
}

std::size_t skip_space_left(std::string_view text, std::size_t at) {
  while (at > 0) {
    const std::size_t previous = before(text, at);
    if (!is_white_space(decode_valid_utf8(text.data() + previous).code_point)) break;
    at = previous;
  }
  return at;
}

std::size_t skip_space_right(std::string_view text, std::size_t at) {
  while (at < text.size()) {
    const SizedCodePoint c = decode_valid_utf8(text.data() + at);
    if (!is_white_space(c.code_point)) break;
    at += c.bytes;
  }
  return at;
}

}  // namespace

void AddedTokenMatcher::add(const std::string& pattern, std::int32_t token) {
  if (patterns_.find(pattern) >= 0) return;
  patterns_.set(pattern, token);
  auto& lengths = lengths_[static_cast<unsigned char>(pattern[0])];
  const auto at = std::ranges::lower_bound(lengths, pattern.size(), std::greater<>());
  if (at == lengths.end() || *at != pattern.size()) lengths.insert(at, pattern.size());
}

AddedTokenMatcher::Match AddedTokenMatcher::next(std::string_view text, std::size_t at) const {
  for (; at < text.size(); ++at) {
    for (const std::size_t length : lengths_[static_cast<unsigned char>(text[at])]) {
      if (length > text.size() - at) continue;
      const std::int32_t token = patterns_.find(text.substr(at, length));
      if (token >= 0) return {at, at + length, token};
    }
  }
  return {at, at, -1};
}

std::vector<Segment> AddedTokenMatcher::split(std::string_view text,
                                              const std::vector<AddedToken>& tokens) const {
  std::vector<Segment> segments;
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size();) {
    const Match match = next(text, at);
    if (match.token < 0) break;
    at = match.end;
    const AddedToken& token = tokens[match.token];
    if (token.single_word && touches_word(text, match.begin, match.end)) continue;
    const std::size_t begin =
        token.lstrip ? std::max(done, skip_space_left(text, match.begin)) : match.begin;
    const std::size_t end = token.rstrip ? skip_space_right(text, match.end) : match.end;
    if (done < begin) segments.push_back({done, begin, -1});
    segments.push_back({begin, end, match.token});
    done = end;
  }
  if (done < text.size() || segments.empty()) segments.push_back({done, text.size(), -1});
  return segments;
}

}  // namespace trireme::text
