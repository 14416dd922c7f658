#include "trireme/text/token_table.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cstring>

namespace trireme::text {
namespace {

std::uint64_t hash_of(std::string_view token) {
  return XXH3_64bits(token.data(), token.size());
}

std::uint32_t tag_of(std::uint64_t hash) {
  return static_cast<std::uint32_t>(hash >> 32);
}

}  // namespace

std::size_t TokenTable::slot_of(std::string_view token, std::uint64_t hash) const {
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t at = hash & mask;; at = (at + 1) & mask) {
    const Slot& slot = slots_[at];
    if (slot.id < 0 ||
        (slot.tag == tag_of(hash) && slot.length == token.size() &&
         std::memcmp(bytes_.data() + slot.offset, token.data(), token.size()) == 0)) {
      return at;
    }
  }
}

std::int32_t TokenTable::find(std::string_view token) const {
  if (token.size() > longest_bytes_ || slots_.empty()) return -1;
  return slots_[slot_of(token, hash_of(token))].id;
}

void TokenTable::set(std::string_view token, std::int32_t id) {
  if (2 * (size_ + 1) > slots_.size()) grow();
  const std::uint64_t hash = hash_of(token);
  Slot& slot = slots_[slot_of(token, hash)];
  if (slot.id < 0) {
    slot = {tag_of(hash), id, static_cast<std::uint32_t>(bytes_.size()),
            static_cast<std::uint32_t>(token.size())};
    bytes_ += token;
    ++size_;
    longest_bytes_ = std::max(longest_bytes_, token.size());
  }
  slot.id = id;
}

void TokenTable::grow() {
  const std::vector<Slot> old = std::move(slots_);
  slots_.assign(std::max<std::size_t>(16, 2 * old.size()), Slot{});
  for (const Slot& slot : old) {
    if (slot.id < 0) continue;
    const std::string_view token(bytes_.data() + slot.offset, slot.length);
    slots_[slot_of(token, hash_of(token))] = slot;
  }
}

}  // namespace trireme::text
