// A model folder's tokenizer: which files there are, and the formats before tokenizer.json.
#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "trireme/base/error.h"
#include "trireme/base/files.h"
#include "trireme/base/json.h"
#include "trireme/base/utf8.h"
#include "trireme/text/code_point_table.h"
#include "trireme/text/code_points.h"
#include "trireme/text/tokenizer_json.h"
#include "trireme/text/tokenizer_parts.h"

namespace trireme::text {
namespace {

// Lines split at \n; one behind the last \n counts when it is not empty.
std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

std::string read_utf8_file(const std::string& path) {
  std::string content = read_file(path);
  if (!is_valid_utf8(content)) {
    throw input_error(path, ": not a UTF-8 text; take the file as the model's author published it");
  }
  return content;
}

std::string_view without_trailing_space(std::string_view line) {
  while (!line.empty()) {
    std::size_t last = line.size() - 1;
    while (last > 0 && is_continuation_byte(line[last])) --last;
    if (!is_white_space(decode_valid_utf8(line.data() + last).code_point)) break;
    line = line.substr(0, last);
  }
  return line;
}

bool contains(const std::vector<VocabEntry>& vocab, std::string_view token) {
  return std::ranges::any_of(vocab, [&](const VocabEntry& e) { return e.first == token; });
}

std::string name_of(const TokenizerParts& parts, std::string_view role, const std::string& usual) {
  const auto named = parts.special_names.find(role);
  return named == parts.special_names.end() ? usual : named->second;
}

// Refuses a tokenizer of a class that reads the same files in another way. The first of `classes`
// is what a folder without a class has; those of the Rust library end in Fast.
void require_class(const Json& config, const std::string& config_where,
                   const std::vector<std::string>& classes, std::string_view files) {
  const std::string named =
      optional_string(config, "tokenizer_class", config_where, classes.front());
  for (const std::string& known : classes) {
    if (named == known || named == known + "Fast") return;
  }
  throw input_error(config_where, ": tokenizer_class '", named, "' cannot be read from ", files,
                    " (", classes.front(), " can); save the tokenizer with a tokenizer.json");
}

AddedToken special_token(const std::string& content) {
  return {.content = content, .id = 0, .special = true};
}

std::int32_t require_token(const TokenizerParts& parts, const std::string& token) {
  for (const auto& [name, id] : parts.vocab) {
    if (name == token) return id;
  }
  throw input_error(parts.where, ": the special token '", token,
                    "' is not in the vocabulary; add it, or name another one in "
                    "tokenizer_config.json");
}

TemplatePiece special_piece(std::int32_t id, std::uint8_t type_id) {
  return {TemplatePiece::Kind::kSpecial, {id}, type_id};
}

}  // namespace

TokenizerParts parts_from_vocab_txt(const std::string& folder, const Json& config,
                                    const std::string& config_where) {
  // Those behind BertTokenizer are copies of it.
  require_class(config, config_where,
                {"BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "MobileBertTokenizer"},
                "vocab.txt");
  if (!optional_bool(config, "do_basic_tokenize", config_where, true)) {
    throw input_error(config_where, ": 'do_basic_tokenize' is false, which cannot be read from ",
                      "vocab.txt; save the tokenizer with a tokenizer.json");
  }
  TokenizerParts parts;
  parts.where = folder + "/vocab.txt";
  parts.special_names = special_names_of(config, config_where);
  const std::string content = read_utf8_file(parts.where);
  for (const std::string_view line : lines_of(content)) {
    parts.vocab.emplace_back(without_trailing_space(line),
                             static_cast<std::int32_t>(parts.vocab.size()));
  }
  WordPieceParts wordpiece;
  wordpiece.options.unk_token = name_of(parts, "unk_token", "[UNK]");
  parts.model = wordpiece;

  BertNormalizerOptions bert;
  bert.lowercase = optional_bool(config, "do_lower_case", config_where, true);
  bert.handle_chinese_chars = optional_bool(config, "tokenize_chinese_chars", config_where, true);
  if (config.contains("strip_accents") && !config["strip_accents"].is_null()) {
    bert.strip_accents = require_bool(config, "strip_accents", config_where);
  }
  parts.normalizer = Normalizer({bert});

  const std::string cls = name_of(parts, "cls_token", "[CLS]");
  const std::string sep = name_of(parts, "sep_token", "[SEP]");
  const std::int32_t cls_id = require_token(parts, cls);
  const std::int32_t sep_id = require_token(parts, sep);
  for (const std::string& token :
       {name_of(parts, "pad_token", "[PAD]"), wordpiece.options.unk_token, cls, sep,
        name_of(parts, "mask_token", "[MASK]")}) {
    if (contains(parts.vocab, token)) parts.added.push_back(special_token(token));
  }
  using Kind = TemplatePiece::Kind;
  parts.post_processor.single = {
      special_piece(cls_id, 0), {Kind::kFirst, {}, 0}, special_piece(sep_id, 0)};
  parts.post_processor.pair = parts.post_processor.single;
  parts.post_processor.pair.push_back({Kind::kSecond, {}, 1});
  parts.post_processor.pair.push_back(special_piece(sep_id, 1));
  parts.decoder = WordPieceDecoder{};
  assign_added_ids(parts);
  return parts;
}

TokenizerParts parts_from_merges(const std::string& folder, const Json& config,
                                 const std::string& config_where) {
  require_class(config, config_where, {"GPT2Tokenizer"}, "vocab.json and merges.txt");
  TokenizerParts parts;
  parts.where = folder + "/vocab.json";
  parts.special_names = special_names_of(config, config_where);
  const Json vocab = read_json_file(parts.where);
  parts.vocab = vocab_from_json(vocab, parts.where);
  BpeParts bpe;
  bpe.byte_level.add_prefix_space = optional_bool(config, "add_prefix_space", config_where, false);
  const std::string merges_path = folder + "/merges.txt";
  const std::string content = read_utf8_file(merges_path);
  std::size_t number = 0;
  for (std::string_view line : lines_of(content)) {
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.starts_with("#version")) continue;
    bpe.options.merges.push_back(merge_of_line(line, cat(merges_path, ":", number)));
  }
  parts.model = std::move(bpe);
  for (const std::string_view role : {"unk_token", "bos_token", "eos_token", "pad_token"}) {
    const std::string token = name_of(parts, role, role == "pad_token" ? "" : "<|endoftext|>");
    if (contains(parts.vocab, token)) parts.added.push_back(special_token(token));
  }
  parts.decoder = ByteLevelDecoder{};
  assign_added_ids(parts);
  return parts;
}

SpecialNames special_names_of(const Json& config, const std::string& where) {
  SpecialNames names;
  for (const char* role : {"cls_token", "sep_token", "pad_token", "mask_token", "unk_token",
                           "bos_token", "eos_token"}) {
    const auto at = config.find(role);
    if (at == config.end() || at->is_null()) continue;
    names[role] = at->is_object() ? require_string(*at, "content", cat(where, ": ", role))
                                  : require_string(config, role, where);
  }
  return names;
}

Tokenizer Tokenizer::load(const std::string& folder) {
  if (!dir_exists(folder)) {
    throw input_error(folder, ": no such folder; give the folder of a Hugging Face model");
  }
  const std::string config_where = folder + "/tokenizer_config.json";
  const Json config = file_exists(config_where) ? read_json_file(config_where) : Json::object();
  as_object(config, config_where);
  const auto has = [&](const char* name) { return file_exists(folder + "/" + name); };
  if (has("tokenizer.json")) {
    const std::string where = folder + "/tokenizer.json";
    TokenizerParts parts = parts_from_json(read_file(where), where);
    parts.special_names = special_names_of(config, config_where);
    return TokenizerBuilder::build(std::move(parts));
  }
  if (has("vocab.json") && has("merges.txt")) {
    return TokenizerBuilder::build(parts_from_merges(folder, config, config_where));
  }
  if (has("vocab.txt")) {
    return TokenizerBuilder::build(parts_from_vocab_txt(folder, config, config_where));
  }
  throw input_error(folder,
                    ": no tokenizer here; it takes tokenizer.json, or vocab.json and "
                    "merges.txt, or vocab.txt");
}

}  // namespace trireme::text
