#include "trireme/text/post_processor.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace trireme::text {

void OffsetTrim::apply(std::vector<Offset>& offsets,
                       const std::function<TokenBlanks(std::size_t i)>& blanks) const {
  for (std::size_t i = 0; i < offsets.size(); ++i) {
    auto [leading, trailing] = blanks(i);
    Offset& offset = offsets[i];
    if (add_prefix_space && leading == 1 && (i == 0 || offset.begin == 0)) leading = 0;
    offset.begin = std::min(offset.begin + leading, offset.end);
    if (offset.end >= trailing) offset.end = std::max(offset.end - trailing, offset.begin);
  }
}

Encoding PostProcessor::apply(Encoding first, const Encoding* second, bool add_special) const {
  const Template& pieces = second != nullptr ? pair : single;
  // The usual case of no specials needs no copy.
  if (second == nullptr && !add_special) {
    const auto is_text = [](const TemplatePiece& p) {
      return p.kind == TemplatePiece::Kind::kFirst;
    };
    if (std::ranges::count_if(pieces, is_text) == 1) {
      first.type_ids.assign(first.size(), std::ranges::find_if(pieces, is_text)->type_id);
      first.special_mask.assign(first.size(), 0);
      return first;
    }
  }
  Encoding out;
  const std::size_t room = first.size() + (second != nullptr ? second->size() : 0) + pieces.size();
  out.ids.reserve(room);
  out.offsets.reserve(room);
  for (const TemplatePiece& piece : pieces) {
    const bool special = piece.kind == TemplatePiece::Kind::kSpecial;
    if (special && add_special) {
      out.ids.insert(out.ids.end(), piece.ids.begin(), piece.ids.end());
      out.offsets.resize(out.ids.size());
    } else if (!special) {
      const Encoding& text = piece.kind == TemplatePiece::Kind::kFirst ? first : *second;
      out.ids.insert(out.ids.end(), text.ids.begin(), text.ids.end());
      out.offsets.insert(out.offsets.end(), text.offsets.begin(), text.offsets.end());
    }
    out.type_ids.resize(out.size(), piece.type_id);
    out.special_mask.resize(out.size(), special ? 1 : 0);
  }
  return out;
}

}  // namespace trireme::text
