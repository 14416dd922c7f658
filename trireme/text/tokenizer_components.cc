// tokenizer.json: normalizer, pre_tokenizer, post_processor and decoder.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "trireme/base/error.h"
#include "trireme/base/json.h"
#include "trireme/base/utf8.h"
#include "trireme/text/tokenizer_json.h"

namespace trireme::text {
namespace {

// All Replace steps together may make a text this many times longer.
constexpr double kMostGrowth = 4096;

std::string type_of(const Json& component, const std::string& where) {
  return require_string(as_object(component, where), "type", where);
}

// The components of a list that may be nested in Sequences (their key is `list`), each with the
// place where it is; none for null or an absent key.
using Placed = std::pair<const Json*, std::string>;

void flatten(const Json& component, const char* list, const std::string& where,
             std::vector<Placed>& out) {
  if (type_of(component, where) != "Sequence") {
    out.emplace_back(&component, where);
    return;
  }
  const Json& parts = require_array(component, list, where);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    flatten(parts[i], list, cat(where, ": ", list, "[", i, "]"), out);
  }
}

std::vector<Placed> components_of(const Json& file, const char* key, const char* list,
                                  const std::string& where) {
  std::vector<Placed> components;
  const auto at = file.find(key);
  if (at != file.end() && !at->is_null()) flatten(*at, list, cat(where, ": ", key), components);
  return components;
}

NormalizerStep bert_step(const Json& step, const std::string& where) {
  BertNormalizerOptions options;
  options.clean_text = require_bool(step, "clean_text", where);
  options.handle_chinese_chars = require_bool(step, "handle_chinese_chars", where);
  const auto strip = step.find("strip_accents");
  if (strip != step.end() && !strip->is_null()) {
    options.strip_accents = require_bool(step, "strip_accents", where);
  }
  options.lowercase = require_bool(step, "lowercase", where);
  return options;
}

ReplaceStep replace_step(const Json& step, const std::string& where) {
  const Json& pattern = require_object(step, "pattern", where);
  const std::string pattern_where = where + ": pattern";
  if (pattern.contains("Regex")) throw unsupported(pattern_where, "Regex", "String");
  ReplaceStep replace{decode_utf8(require_string(pattern, "String", pattern_where)),
                      decode_utf8(require_string(step, "content", where))};
  if (replace.pattern.empty()) {
    throw input_error(pattern_where, ": is empty; take the Replace step out");
  }
  return replace;
}

NormalizerStep normalizer_step(const Json& step, const std::string& where) {
  const std::string type = type_of(step, where);
  if (type == "BertNormalizer") return bert_step(step, where);
  if (type == "NFC") return NormalForm::kNfc;
  if (type == "NFD") return NormalForm::kNfd;
  if (type == "NFKC") return NormalForm::kNfkc;
  if (type == "NFKD") return NormalForm::kNfkd;
  if (type == "Lowercase") return LowercaseStep{};
  if (type == "StripAccents") return StripAccentsStep{};
  if (type == "Strip") {
    return StripStep{.left = require_bool(step, "strip_left", where),
                     .right = require_bool(step, "strip_right", where)};
  }
  if (type == "Replace") return replace_step(step, where);
  throw unsupported(
      where, type,
      "BertNormalizer, NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, Replace, "
      "Sequence");
}

Normalizer normalizer_from_json(const Json& file, const std::string& where) {
  std::vector<NormalizerStep> steps;
  double growth = 1;
  for (const auto& [step, step_where] : components_of(file, "normalizer", "normalizers", where)) {
    steps.push_back(normalizer_step(*step, step_where));
    if (const auto* replace = std::get_if<ReplaceStep>(&steps.back())) {
      growth *= std::max(1.0, static_cast<double>(replace->content.size()) /
                                  static_cast<double>(replace->pattern.size()));
    }
    if (growth > kMostGrowth) {
      throw input_error(step_where, ": the Replace steps up to here may make a text more than ",
                        kMostGrowth, " times longer; shorten their content");
    }
  }
  return Normalizer(std::move(steps));
}

// The model settles what may split its text: the one pre-tokenizer that its vocabulary is made for.
void read_pre_tokenizer(const Json& file, TokenizerParts& parts) {
  auto* bpe = std::get_if<BpeParts>(&parts.model);
  const std::string wanted = bpe != nullptr ? "ByteLevel" : "BertPreTokenizer";
  const std::string model = bpe != nullptr ? "BPE" : "WordPiece";
  const std::vector<Placed> components =
      components_of(file, "pre_tokenizer", "pretokenizers", parts.where);
  for (const auto& [component, where] : components) {
    const std::string type = type_of(*component, where);
    if (type != wanted) throw unsupported(where, type, wanted + " (with a " + model + " model)");
  }
  if (components.size() != 1) {
    throw input_error(parts.where, ": pre_tokenizer: a ", model, " model needs one ", wanted,
                      ", and there are ", components.size());
  }
  if (bpe == nullptr) return;
  const auto& [byte_level, where] = components[0];
  bpe->byte_level.add_prefix_space = require_bool(*byte_level, "add_prefix_space", where);
  bpe->byte_level.use_regex = optional_bool(*byte_level, "use_regex", where, true);
}

std::int32_t id_in_vocab(std::int64_t id, const TokenizerParts& parts, const std::string& where) {
  const bool known =
      std::ranges::any_of(parts.vocab, [id](const VocabEntry& e) { return e.second == id; }) ||
      std::ranges::any_of(parts.added, [id](const AddedToken& t) { return t.id == id; });
  if (!known) throw input_error(where, ": no token has the id ", id);
  return static_cast<std::int32_t>(id);
}

TemplatePiece special_piece(std::int32_t id, std::uint8_t type_id) {
  return {TemplatePiece::Kind::kSpecial, {id}, type_id};
}

// ["[SEP]", 102].
std::int32_t token_pair(const Json& processor, const char* key, const TokenizerParts& parts,
                        const std::string& where) {
  const Json& pair = require_array(processor, key, where);
  const std::string at = cat(where, ": ", key);
  if (pair.size() != 2) throw input_error(at, ": must be a token and its id, [\"[SEP]\", 102]");
  as_string(pair[0], at);
  return id_in_vocab(as_int(pair[1], at), parts, at);
}

void set_bert_template(const Json& processor, const TokenizerParts& parts, const std::string& where,
                       PostProcessor& out) {
  using Kind = TemplatePiece::Kind;
  const std::int32_t cls = token_pair(processor, "cls", parts, where);
  const std::int32_t sep = token_pair(processor, "sep", parts, where);
  out.single = {special_piece(cls, 0), {Kind::kFirst, {}, 0}, special_piece(sep, 0)};
  out.pair = out.single;
  out.pair.push_back({Kind::kSecond, {}, 1});
  out.pair.push_back(special_piece(sep, 1));
}

// All of type 0, and two separators between the texts.
void set_roberta_template(const Json& processor, const TokenizerParts& parts,
                          const std::string& where, PostProcessor& out) {
  using Kind = TemplatePiece::Kind;
  const std::int32_t cls = token_pair(processor, "cls", parts, where);
  const std::int32_t sep = token_pair(processor, "sep", parts, where);
  out.single = {special_piece(cls, 0), {Kind::kFirst, {}, 0}, special_piece(sep, 0)};
  out.pair = out.single;
  out.pair.push_back(special_piece(sep, 0));
  out.pair.push_back({Kind::kSecond, {}, 0});
  out.pair.push_back(special_piece(sep, 0));
}

std::vector<std::int32_t> template_ids(const Json& special_tokens, const std::string& name,
                                       const TokenizerParts& parts, const std::string& where) {
  const std::string at = cat(where, ": special_tokens: '", name, "'");
  const auto special = special_tokens.find(name);
  if (special == special_tokens.end()) {
    throw input_error(where, ": the template has '", name, "', which special_tokens lacks");
  }
  std::vector<std::int32_t> ids;
  for (const Json& id : require_array(*special, "ids", at)) {
    ids.push_back(id_in_vocab(as_int(id, at), parts, at));
  }
  return ids;
}

// {"Sequence": {"id": "A", "type_id": 0}} or {"SpecialToken": {"id": "[CLS]", "type_id": 0}}.
TemplatePiece template_piece(const Json& piece, const Json& special_tokens,
                             const TokenizerParts& parts, const std::string& processor_where,
                             const std::string& where) {
  using Kind = TemplatePiece::Kind;
  const bool special = as_object(piece, where).contains("SpecialToken");
  const Json& body = require_object(piece, special ? "SpecialToken" : "Sequence", where);
  const std::string& id = require_string(body, "id", where);
  const std::int64_t type_id = require_int(body, "type_id", where);
  if (type_id < 0 || type_id > 255) {
    throw input_error(where, ": type_id ", type_id, " is out of range, 0 to 255");
  }
  const auto type = static_cast<std::uint8_t>(type_id);
  if (special) {
    return {Kind::kSpecial, template_ids(special_tokens, id, parts, processor_where), type};
  }
  if (id != "A" && id != "B") {
    throw input_error(where, ": Sequence '", id, "' is neither \"A\" nor \"B\"");
  }
  return {id == "A" ? Kind::kFirst : Kind::kSecond, {}, type};
}

Template template_from_json(const Json& processor, const char* key, const TokenizerParts& parts,
                            const std::string& where) {
  const Json& pieces = require_array(processor, key, where);
  const Json& special_tokens = require_object(processor, "special_tokens", where);
  Template result;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    result.push_back(template_piece(pieces[i], special_tokens, parts, where,
                                    cat(where, ": ", key, "[", i, "]")));
  }
  return result;
}

bool has_kind(const Template& pieces, TemplatePiece::Kind kind) {
  return std::ranges::any_of(pieces, [kind](const TemplatePiece& p) { return p.kind == kind; });
}

void set_template(const Json& processor, const TokenizerParts& parts, const std::string& where,
                  PostProcessor& out) {
  using Kind = TemplatePiece::Kind;
  out.single = template_from_json(processor, "single", parts, where);
  out.pair = template_from_json(processor, "pair", parts, where);
  if (has_kind(out.single, Kind::kSecond)) {
    throw input_error(where, ": single: takes one text, but has Sequence \"B\"");
  }
  if (!has_kind(out.pair, Kind::kFirst) || !has_kind(out.pair, Kind::kSecond)) {
    throw input_error(where, ": pair: must have both Sequence \"A\" and Sequence \"B\"");
  }
}

PostProcessor post_processor_from_json(const Json& file, const TokenizerParts& parts) {
  PostProcessor result;
  bool has_template = false;
  for (const auto& [processor, where] :
       components_of(file, "post_processor", "processors", parts.where)) {
    const std::string type = type_of(*processor, where);
    if (has_template) {
      throw input_error(where,
                        ": nothing may come behind the processor that adds special tokens, "
                        "and this is a ",
                        type);
    }
    const bool roberta = type == "RobertaProcessing";
    if ((roberta || type == "ByteLevel") && require_bool(*processor, "trim_offsets", where)) {
      result.trims.push_back({require_bool(*processor, "add_prefix_space", where)});
    }
    if (type == "ByteLevel") continue;
    has_template = true;
    if (type == "BertProcessing") {
      set_bert_template(*processor, parts, where, result);
    } else if (roberta) {
      set_roberta_template(*processor, parts, where, result);
    } else if (type == "TemplateProcessing") {
      set_template(*processor, parts, where, result);
    } else {
      throw unsupported(where, type,
                        "BertProcessing, RobertaProcessing, ByteLevel, TemplateProcessing, "
                        "Sequence");
    }
  }
  return result;
}

Decoder decoder_from_json(const Json& file, const std::string& where) {
  const std::vector<Placed> components = components_of(file, "decoder", "decoders", where);
  if (components.empty()) return JoinDecoder{};
  const auto& [decoder, decoder_where] = components[0];
  const std::string type = type_of(*decoder, decoder_where);
  if (type != "WordPiece" && type != "ByteLevel") {
    throw unsupported(decoder_where, type, "WordPiece, ByteLevel");
  }
  if (components.size() > 1) {
    throw input_error(where, ": decoder: one is supported, and there are ", components.size());
  }
  if (type == "ByteLevel") return ByteLevelDecoder{};
  return WordPieceDecoder{.prefix = require_string(*decoder, "prefix", decoder_where),
                          .cleanup = require_bool(*decoder, "cleanup", decoder_where)};
}

}  // namespace

Error unsupported(const std::string& where, const std::string& type, std::string_view supported) {
  return input_error(where, ": type '", type, "' is not supported; supported: ", supported);
}

void read_components(const Json& file, TokenizerParts& parts) {
  parts.normalizer = normalizer_from_json(file, parts.where);
  read_pre_tokenizer(file, parts);
  parts.post_processor = post_processor_from_json(file, parts);
  parts.decoder = decoder_from_json(file, parts.where);
}

}  // namespace trireme::text
