#include "trireme/text/bpe.h"

#include <algorithm>
#include <queue>
#include <string_view>
#include <tuple>

#include "trireme/base/error.h"
#include "trireme/base/random.h"
#include "trireme/base/utf8.h"
#include "trireme/text/byte_alphabet.h"

namespace trireme::text {
namespace {

constexpr std::uint64_t kNoPair = ~std::uint64_t{0};

std::uint64_t pair_of(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
         static_cast<std::uint32_t>(right);
}

void append_token(Encoding& out, std::int32_t id, const std::uint32_t* source, std::size_t begin,
                  std::size_t end) {
  out.ids.push_back(id);
  out.offsets.push_back({source[begin], source[end - 1] + 1});
}

}  // namespace

Bpe::MergeTable::MergeTable(std::size_t merges) {
  std::size_t slots = 16;
  while (slots < 2 * merges) slots *= 2;
  slots_.assign(slots, {kNoPair, {kNoRank, -1}});
}

std::size_t Bpe::MergeTable::slot_of(std::uint64_t pair) const {
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = splitmix64(pair) & mask;
  while (slots_[at].pair != pair && slots_[at].pair != kNoPair) at = (at + 1) & mask;
  return at;
}

void Bpe::MergeTable::set(std::int32_t left, std::int32_t right, Merge merge) {
  const std::uint64_t pair = pair_of(left, right);
  slots_[slot_of(pair)] = {pair, merge};
}

Bpe::Merge Bpe::MergeTable::find(std::int32_t left, std::int32_t right) const {
  return slots_[slot_of(pair_of(left, right))].merge;
}

Bpe::Bpe(std::span<const VocabEntry> vocab, const BpeOptions& options, const std::string& where)
    : fuse_unk_(options.fuse_unk), merges_(options.merges.size()) {
  TokenTable table;
  for (const auto& [token, id] : vocab) table.set(token, id);
  for (int byte = 0; byte < 256; ++byte) {
    std::string token;
    append_utf8(token, char_of_byte(static_cast<std::uint8_t>(byte)));
    byte_ids_[byte] = table.find(token);
    has_all_bytes_ = has_all_bytes_ && byte_ids_[byte] >= 0;
  }
  if (options.unk_token) {
    unk_id_ = table.find(*options.unk_token);
    if (*unk_id_ < 0) {
      throw input_error(where, ": the vocabulary has no unknown token '", *options.unk_token,
                        "'; add it, or set unk_token to null");
    }
  }
  read_merges(table, options, where);
  find_whole_tokens(vocab, options.ignore_merges);
}

void Bpe::read_merges(const TokenTable& table, const BpeOptions& options,
                      const std::string& where) {
  std::uint32_t rank = 0;
  for (const auto& merge : options.merges) {
    const std::string& left = merge.first;  // no structured binding: clang 14 captures none
    const std::string& right = merge.second;
    const auto id_of = [&](const std::string& token) {
      const std::int32_t id = table.find(token);
      if (id < 0) {
        throw input_error(where, ": merge ", rank + 1, " ('", left, "' '", right, "'): '", token,
                          "' is not in the vocabulary; the vocabulary and the merges must be of "
                          "the same tokenizer");
      }
      return id;
    };
    const std::int32_t left_id = id_of(left);
    const std::int32_t right_id = id_of(right);
    merges_.set(left_id, right_id, {rank, id_of(left + right)});
    ++rank;
  }
}

void Bpe::find_whole_tokens(std::span<const VocabEntry> vocab, bool ignore_merges) {
  std::vector<std::pair<std::string, std::int32_t>> whole;
  std::vector<std::uint32_t> source;
  for (const auto& [token, id] : vocab) {
    const std::optional<std::string> raw = to_raw_bytes(token);
    if (!raw || raw->empty()) continue;
    bool is_whole = ignore_merges;
    if (!is_whole && std::ranges::all_of(*raw, [this](char c) {
          return byte_ids_[static_cast<unsigned char>(c)] >= 0;
        })) {
      source.resize(raw->size());
      Encoding encoding;
      encode({*raw, source.data()}, encoding);
      is_whole = encoding.ids == std::vector<std::int32_t>{id};
    }
    if (is_whole) whole.emplace_back(*raw, id);
  }
  for (const auto& [raw, id] : whole) whole_.set(raw, id);
}

void Bpe::encode(SourcedView piece, Encoding& out) const {
  const std::string_view bytes = piece.bytes;
  if (const std::int32_t id = whole_.find(bytes); id >= 0) {
    return append_token(out, id, piece.source, 0, bytes.size());
  }
  if (!has_all_bytes_) return encode_with_gaps(piece, out);
  const auto symbol = [this](char c) {
    return Symbol{byte_ids_[static_cast<unsigned char>(c)], 1};
  };
  const auto append = [&](std::span<const Symbol> symbols) {
    std::size_t at = 0;
    for (const Symbol s : symbols) {
      append_token(out, s.id, piece.source, at, at + s.length);
      at += s.length;
    }
  };
  if (bytes.size() <= kShortPiece) {
    std::array<Symbol, kShortPiece> symbols;
    std::ranges::transform(bytes, symbols.begin(), symbol);
    append({symbols.data(), merge_short(symbols.data(), bytes.size())});
  } else {
    std::vector<Symbol> symbols(bytes.size());
    std::ranges::transform(bytes, symbols.begin(), symbol);
    merge_long(symbols);
    append(symbols);
  }
}

// Bytes that are not in the vocabulary become the unknown token or fall out. As in `tokenizers`,
// offsets then count the bytes of the alphabet's text that are left, so tokens behind one that fell
// out point too far to the left.
void Bpe::encode_with_gaps(SourcedView piece, Encoding& out) const {
  std::vector<Symbol> symbols;
  std::vector<std::uint32_t> source;  // of each byte of the piece written in the alphabet
  bool after_unknown = false;
  for (std::size_t i = 0; i < piece.bytes.size(); ++i) {
    const auto byte = static_cast<std::uint8_t>(piece.bytes[i]);
    const std::uint32_t length = char_of_byte(byte) < 0x80 ? 1 : 2;
    source.insert(source.end(), length, piece.source[i]);
    const bool known = byte_ids_[byte] >= 0;
    if (!known && unk_id_ && after_unknown && fuse_unk_) {
      symbols.back().length += length;
    } else if (known || unk_id_) {
      symbols.push_back({known ? byte_ids_[byte] : *unk_id_, length});
    }
    after_unknown = !known;
  }
  merge_all(symbols);
  std::size_t at = 0;
  for (const Symbol& s : symbols) {
    append_token(out, s.id, source.data(), at, at + s.length);
    at += s.length;
  }
}

void Bpe::merge_all(std::vector<Symbol>& symbols) const {
  if (symbols.size() <= kShortPiece) {
    symbols.resize(merge_short(symbols.data(), symbols.size()));
  } else {
    merge_long(symbols);
  }
}

// The lowest of the ranks of all neighbours, again and again; returns how many symbols are left.
std::size_t Bpe::merge_short(Symbol* symbols, std::size_t size) const {
  std::array<Merge, kShortPiece> merges;  // [i]: of symbols i and i + 1
  for (std::size_t i = 0; i + 1 < size; ++i) {
    merges[i] = merges_.find(symbols[i].id, symbols[i + 1].id);
  }
  while (size > 1) {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < size; ++i) {
      if (merges[i].rank < merges[best].rank) best = i;
    }
    if (merges[best].rank == kNoRank) break;
    symbols[best] = {merges[best].id, symbols[best].length + symbols[best + 1].length};
    --size;
    std::copy(symbols + best + 2, symbols + size + 1, symbols + best + 1);
    std::copy(merges.data() + best + 1, merges.data() + size, merges.data() + best);
    if (best > 0) merges[best - 1] = merges_.find(symbols[best - 1].id, symbols[best].id);
    if (best + 1 < size) merges[best] = merges_.find(symbols[best].id, symbols[best + 1].id);
  }
  return size;
}

// The same with a heap of merges over a linked list: O(n log n).
void Bpe::merge_long(std::vector<Symbol>& symbols) const {
  const std::size_t size = symbols.size();
  std::vector<std::size_t> previous(size);
  std::vector<std::size_t> next(size);
  for (std::size_t i = 0; i < size; ++i) {
    previous[i] = i - 1;  // wraps for the first, which is never looked up
    next[i] = i + 1;
  }
  struct Candidate {
    std::uint32_t rank;
    std::size_t left;
    std::size_t right;
    std::uint32_t length;  // of both when it was found: tells that neither has changed since
    bool operator>(const Candidate& o) const {
      return std::tie(rank, left) > std::tie(o.rank, o.left);
    }
  };
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto consider = [&](std::size_t left, std::size_t right) {
    const Merge merge = merges_.find(symbols[left].id, symbols[right].id);
    if (merge.rank == kNoRank) return;
    queue.push({merge.rank, left, right, symbols[left].length + symbols[right].length});
  };
  for (std::size_t i = 0; i + 1 < size; ++i) consider(i, i + 1);
  while (!queue.empty()) {
    const auto [rank, left, right, length] = queue.top();
    queue.pop();
    if (symbols[left].length == 0 || next[left] != right ||
        symbols[left].length + symbols[right].length != length) {
      continue;
    }
    symbols[left] = {merges_.find(symbols[left].id, symbols[right].id).id, length};
    symbols[right].length = 0;
    next[left] = next[right];
    if (next[left] < size) {
      previous[next[left]] = left;
      consider(left, next[left]);
    }
    if (left > 0) consider(previous[left], left);
  }
  std::erase_if(symbols, [](const Symbol& s) { return s.length == 0; });
}

}  // namespace trireme::text
