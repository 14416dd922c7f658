// Byte-level byte pair encoding: a piece of text, as bytes, is joined pair by pair, the pair of the
// lowest rank first and the leftmost of equals (Sennrich, Haddow, Birch, "Neural Machine
// Translation of Rare Words with Subword Units", 2016; over bytes: Radford et al., 2019).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "trireme/text/encoding.h"
#include "trireme/text/sourced_text.h"
#include "trireme/text/token_table.h"
#include "trireme/text/wordpiece.h"

namespace trireme::text {

struct BpeOptions {
  std::vector<std::pair<std::string, std::string>> merges;  // in order of rank
  std::optional<std::string> unk_token = {};  // for bytes that are not in the vocabulary; they are
                                              // left out when unset
  bool fuse_unk = false;                      // one unknown token for a run of them
  bool ignore_merges = false;                 // a piece that is a token is that token
};

// Most pieces of real text are one token: those whose merges give themselves are found in a table
// made at load. There is no cache to warm up or to lock.
class Bpe {
 public:
  // Tokens and merges are written in the byte alphabet. Throws input_error(where, ...) when a merge
  // or the unknown token is not in the vocabulary.
  Bpe(std::span<const VocabEntry> vocab, const BpeOptions& options, const std::string& where);

  // Adds the ids and offsets of one piece (not empty).
  void encode(SourcedView piece, Encoding& out) const;
  std::optional<std::int32_t> unk_id() const { return unk_id_; }

 private:
  struct Symbol {
    std::int32_t id;
    std::uint32_t length;  // in bytes of the piece
  };
  struct Merge {
    std::uint32_t rank;
    std::int32_t id;
  };
  // Pairs to merges, open addressing.
  class MergeTable {
   public:
    explicit MergeTable(std::size_t merges);
    void set(std::int32_t left, std::int32_t right, Merge merge);
    Merge find(std::int32_t left, std::int32_t right) const;  // rank kNoRank when absent

   private:
    struct Slot {
      std::uint64_t pair;
      Merge merge;
    };
    std::size_t slot_of(std::uint64_t pair) const;
    std::vector<Slot> slots_;
  };
  static constexpr std::uint32_t kNoRank = 0xFFFFFFFF;
  static constexpr std::size_t kShortPiece = 32;

  void read_merges(const TokenTable& table, const BpeOptions& options, const std::string& where);
  void find_whole_tokens(std::span<const VocabEntry> vocab, bool ignore_merges);
  std::size_t merge_short(Symbol* symbols, std::size_t size) const;
  void merge_long(std::vector<Symbol>& symbols) const;
  void merge_all(std::vector<Symbol>& symbols) const;
  void encode_with_gaps(SourcedView piece, Encoding& out) const;

  std::array<std::int32_t, 256> byte_ids_;  // -1: the byte is not in the vocabulary
  bool has_all_bytes_ = true;
  std::optional<std::int32_t> unk_id_;
  bool fuse_unk_;
  MergeTable merges_;
  TokenTable whole_;  // by raw bytes
};

}  // namespace trireme::text
