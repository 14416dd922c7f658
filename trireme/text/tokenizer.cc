#include "trireme/text/tokenizer.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>
#include <variant>
#include <vector>

#include "trireme/base/error.h"
#include "trireme/base/utf8.h"
#include "trireme/text/code_point_table.h"
#include "trireme/text/code_points.h"
#include "trireme/text/splitters.h"
#include "trireme/text/tokenizer_parts.h"

namespace trireme::text {
namespace {

constexpr std::size_t kMostTextBytes = std::size_t{1} << 30;
// Ids may leave gaps, this many in all.
constexpr std::size_t kMostGaps = std::size_t{1} << 20;

// Splits and tokenizes one part of a text that holds no added token.
struct WordPieceModel {
  BertSplitter splitter;
  WordPiece wordpiece;

  void encode(SourcedView text, Encoding& out) const {
    for (Span word = splitter.next(text.bytes, 0); word.begin < word.end;
         word = splitter.next(text.bytes, word.end)) {
      wordpiece.encode(text.part(word.begin, word.end), out);
    }
  }
};

struct BpeModel {
  ByteLevelOptions options;
  Gpt2Splitter splitter;
  Bpe bpe;

  void encode(SourcedView text, Encoding& out) const {
    if (text.bytes.empty()) return;
    if (!options.add_prefix_space || text.bytes[0] == ' ') return encode_pieces(text, out);
    // The added blank counts as part of the first character.
    SourcedText prefixed;
    prefixed.bytes.reserve(text.bytes.size() + 1);
    prefixed.bytes = ' ';
    prefixed.bytes += text.bytes;
    prefixed.source.reserve(prefixed.bytes.size());
    prefixed.source.push_back(text.source[0]);
    prefixed.source.insert(prefixed.source.end(), text.source, text.source + text.bytes.size());
    encode_pieces(prefixed.view(), out);
  }

  void encode_pieces(SourcedView text, Encoding& out) const {
    if (!options.use_regex) return bpe.encode(text, out);
    for (std::size_t at = 0; at < text.bytes.size();) {
      const std::size_t end = splitter.piece_end(text.bytes, at);
      bpe.encode(text.part(at, end), out);
      at = end;
    }
  }
};

// What a trim of offsets leaves out.
TokenBlanks blanks_of(std::string_view token) {
  std::vector<bool> blank;
  for (std::size_t at = 0; at < token.size();) {
    const SizedCodePoint c = decode_valid_utf8(token.data() + at);
    blank.push_back(c.code_point == 0x120 || is_white_space(c.code_point));
    at += c.bytes;
  }
  const auto run = [](auto begin, auto end) {
    return static_cast<std::uint32_t>(std::find(begin, end, false) - begin);
  };
  return {run(blank.begin(), blank.end()), run(blank.rbegin(), blank.rend())};
}

// An added token found in a text: its place in the encoding, and the blanks of the text it took.
struct AddedHit {
  std::size_t index;
  TokenBlanks blanks;
};

}  // namespace

struct Tokenizer::Impl {
  std::variant<WordPieceModel, BpeModel> model;
  Normalizer normalizer;
  PostProcessor post_processor;
  Decoder decoder;
  std::vector<AddedToken> added;
  AddedTokenMatcher raw_matcher;         // in the text given
  AddedTokenMatcher normalized_matcher;  // in the normalised text
  TokenTable ids;                        // of all tokens
  std::vector<std::string> tokens;       // by id; empty: no such id
  std::vector<bool> special;             // by id
  std::vector<TokenBlanks> blanks;       // by id, when the post-processor trims
  std::optional<std::int32_t> cls, sep, pad, mask, unk, bos, eos;

  // Ids and offsets of a text, trimmed, without special tokens.
  Encoding encode(std::string_view text) const;

 private:
  void encode_raw_part(std::string_view text, std::uint32_t first, Encoding& out,
                       std::vector<AddedHit>& hits) const;
  void encode_normalized(SourcedView text, Encoding& out) const {
    std::visit([&](const auto& m) { m.encode(text, out); }, model);
  }
  void append_added(std::int32_t token, std::string_view text, Offset offset, Encoding& out,
                    std::vector<AddedHit>& hits) const;
  void trim(Encoding& out, const std::vector<AddedHit>& hits) const;
};

Encoding Tokenizer::Impl::encode(std::string_view text) const {
  if (text.size() >= kMostTextBytes) {
    throw input_error("a text of ", text.size(), " bytes is too long to tokenize (limit ",
                      kMostTextBytes, "); cut it into parts");
  }
  std::string cleaned;
  if (!is_valid_utf8(text)) {
    cleaned = clean_utf8(text);
    text = cleaned;
  }
  Encoding out;
  std::vector<AddedHit> hits;
  const std::vector<Segment> segments = raw_matcher.split(text, added);
  std::size_t counted_bytes = 0;  // code points before this byte:
  std::uint32_t counted = 0;
  const auto count_to = [&](std::size_t byte) {
    const auto between = [&](std::size_t a, std::size_t b) {
      return static_cast<std::uint32_t>(count_code_points(text.substr(a, b - a)));
    };
    // Back only where a token reaches into the blanks that the one before it took.
    counted = byte >= counted_bytes ? counted + between(counted_bytes, byte)
                                    : counted - between(byte, counted_bytes);
    counted_bytes = byte;
    return counted;
  };
  for (const Segment& segment : segments) {
    const std::string_view part = text.substr(segment.begin, segment.end - segment.begin);
    const std::uint32_t first = count_to(segment.begin);
    if (segment.token < 0) {
      encode_raw_part(part, first, out, hits);
    } else {
      append_added(segment.token, part, {first, count_to(segment.end)}, out, hits);
    }
  }
  if (!post_processor.trims.empty()) trim(out, hits);
  return out;
}

void Tokenizer::Impl::encode_raw_part(std::string_view text, std::uint32_t first, Encoding& out,
                                      std::vector<AddedHit>& hits) const {
  SourcedText normalized;
  normalizer.apply(text, first, normalized);
  const SourcedView view = normalized.view();
  if (normalized_matcher.empty()) return encode_normalized(view, out);
  for (const Segment& segment : normalized_matcher.split(view.bytes, added)) {
    const SourcedView part = view.part(segment.begin, segment.end);
    if (segment.token < 0) {
      encode_normalized(part, out);
    } else {
      const Offset offset = {part.source[0], part.source[part.bytes.size() - 1] + 1};
      append_added(segment.token, part.bytes, offset, out, hits);
    }
  }
}

void Tokenizer::Impl::append_added(std::int32_t token, std::string_view text, Offset offset,
                                   Encoding& out, std::vector<AddedHit>& hits) const {
  if (!post_processor.trims.empty()) hits.push_back({out.size(), blanks_of(text)});
  out.ids.push_back(added[token].id);
  out.offsets.push_back(offset);
}

void Tokenizer::Impl::trim(Encoding& out, const std::vector<AddedHit>& hits) const {
  for (const OffsetTrim& trim : post_processor.trims) {
    auto hit = hits.begin();
    trim.apply(out.offsets, [&](std::size_t i) {
      if (hit != hits.end() && hit->index == i) return (hit++)->blanks;
      return blanks[out.ids[i]];
    });
  }
}

Tokenizer Tokenizer::from_json(std::string_view text, const std::string& where) {
  return TokenizerBuilder::build(parts_from_json(text, where));
}

Encoding Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  return impl_->post_processor.apply(impl_->encode(text), nullptr, options.add_special);
}

Encoding Tokenizer::encode_pair(std::string_view first, std::string_view second,
                                EncodeOptions options) const {
  const Encoding other = impl_->encode(second);
  return impl_->post_processor.apply(impl_->encode(first), &other, options.add_special);
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special) const {
  std::vector<std::string_view> tokens;
  tokens.reserve(ids.size());
  for (const std::int32_t id : ids) {
    const std::string_view token = id_to_token(id);
    if (!token.empty() && !(skip_special && impl_->special[id])) tokens.push_back(token);
  }
  return decode_tokens(impl_->decoder, tokens);
}

std::int64_t Tokenizer::vocab_size() const {
  return static_cast<std::int64_t>(impl_->tokens.size());
}

std::optional<std::int32_t> Tokenizer::token_to_id(std::string_view token) const {
  const std::int32_t id = impl_->ids.find(token);
  return id >= 0 ? std::optional(id) : std::nullopt;
}

std::string_view Tokenizer::id_to_token(std::int32_t id) const {
  if (id < 0 || id >= vocab_size()) return {};
  return impl_->tokens[id];
}

std::optional<std::int32_t> Tokenizer::cls_id() const {
  return impl_->cls;
}
std::optional<std::int32_t> Tokenizer::sep_id() const {
  return impl_->sep;
}
std::optional<std::int32_t> Tokenizer::pad_id() const {
  return impl_->pad;
}
std::optional<std::int32_t> Tokenizer::mask_id() const {
  return impl_->mask;
}
std::optional<std::int32_t> Tokenizer::unk_id() const {
  return impl_->unk;
}
std::optional<std::int32_t> Tokenizer::bos_id() const {
  return impl_->bos;
}
std::optional<std::int32_t> Tokenizer::eos_id() const {
  return impl_->eos;
}

namespace {

std::variant<WordPieceModel, BpeModel> build_model(const TokenizerParts& parts) {
  if (const auto* wordpiece = std::get_if<WordPieceParts>(&parts.model)) {
    return WordPieceModel{{}, WordPiece(parts.vocab, wordpiece->options, parts.where)};
  }
  const auto& bpe = std::get<BpeParts>(parts.model);
  return BpeModel{bpe.byte_level, {}, Bpe(parts.vocab, bpe.options, parts.where)};
}

// By id; the vocabulary's tokens, then the added ones over them.
std::vector<std::string> tokens_by_id(const TokenizerParts& parts) {
  std::size_t size = 0;
  for (const auto& [token, id] : parts.vocab) size = std::max<std::size_t>(size, id + 1);
  for (const AddedToken& added : parts.added) size = std::max<std::size_t>(size, added.id + 1);
  if (size > parts.vocab.size() + parts.added.size() + kMostGaps) {
    throw input_error(parts.where, ": the largest id is ", size - 1, ", but there are only ",
                      parts.vocab.size(), " tokens; number them without such gaps");
  }
  std::vector<std::string> tokens(size);
  for (const auto& [token, id] : parts.vocab) tokens[id] = token;
  for (const AddedToken& added : parts.added) tokens[added.id] = added.content;
  return tokens;
}

// The token that has a role: the one named for it, else the first usual name that is there.
std::optional<std::int32_t> find_special(const TokenizerParts& parts, const TokenTable& ids,
                                         std::string_view role,
                                         std::span<const std::string_view> usual) {
  if (const auto named = parts.special_names.find(role); named != parts.special_names.end()) {
    const std::int32_t id = ids.find(named->second);
    return id >= 0 ? std::optional(id) : std::nullopt;
  }
  for (const std::string_view name : usual) {
    if (const std::int32_t id = ids.find(name); id >= 0) return id;
  }
  return std::nullopt;
}

}  // namespace

Tokenizer TokenizerBuilder::build(TokenizerParts parts) {
  std::vector<std::string> tokens = tokens_by_id(parts);
  auto impl =
      std::make_shared<Tokenizer::Impl>(Tokenizer::Impl{.model = build_model(parts),
                                                        .normalizer = parts.normalizer,
                                                        .post_processor = parts.post_processor,
                                                        .decoder = parts.decoder,
                                                        .added = parts.added,
                                                        .raw_matcher = {},
                                                        .normalized_matcher = {},
                                                        .ids = {},
                                                        .tokens = std::move(tokens),
                                                        .special = {},
                                                        .blanks = {},
                                                        .cls = {},
                                                        .sep = {},
                                                        .pad = {},
                                                        .mask = {},
                                                        .unk = {},
                                                        .bos = {},
                                                        .eos = {}});
  for (const auto& [token, id] : parts.vocab) impl->ids.set(token, id);
  impl->special.resize(impl->tokens.size());
  for (std::size_t i = 0; i < impl->added.size(); ++i) {
    const AddedToken& token = impl->added[i];
    impl->ids.set(token.content, token.id);
    impl->special[token.id] = token.special;
    const std::string pattern =
        token.normalized ? impl->normalizer.apply(token.content) : token.content;
    if (pattern.empty()) {
      throw input_error(parts.where, ": nothing is left of the added token '", token.content,
                        "' when it is normalised; set its \"normalized\" to false");
    }
    (token.normalized ? impl->normalized_matcher : impl->raw_matcher)
        .add(pattern, static_cast<std::int32_t>(i));
    impl->tokens[token.id] = pattern;  // what decoding shows
  }
  if (!impl->post_processor.trims.empty()) {
    for (const std::string& token : impl->tokens) impl->blanks.push_back(blanks_of(token));
  }
  const auto special = [&](std::string_view role, std::initializer_list<std::string_view> usual) {
    return find_special(parts, impl->ids, role, {usual.begin(), usual.size()});
  };
  impl->cls = special("cls_token", {"[CLS]", "<s>"});
  impl->sep = special("sep_token", {"[SEP]", "</s>"});
  impl->pad = special("pad_token", {"[PAD]", "<pad>"});
  impl->mask = special("mask_token", {"[MASK]", "<mask>"});
  impl->bos = special("bos_token", {"<s>", "<|begin_of_text|>", "<|endoftext|>"});
  impl->eos = special("eos_token", {"</s>", "<|end_of_text|>", "<|endoftext|>"});
  if (const auto* wordpiece = std::get_if<WordPieceModel>(&impl->model)) {
    impl->unk = wordpiece->wordpiece.unk_id();
  } else {
    impl->unk = std::get<BpeModel>(impl->model).bpe.unk_id();
    if (!impl->unk) impl->unk = special("unk_token", {"<unk>"});
  }
  return Tokenizer(std::move(impl));
}

}  // namespace trireme::text
