// tokenizer.json: the top level, the model, added tokens. Its other components are in
// tokenizer_components.cc.
#include "trireme/text/tokenizer_json.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include "trireme/base/error.h"
#include "trireme/base/json.h"
#include "trireme/text/token_table.h"

namespace trireme::text {
namespace {

void require_empty(const Json& model, const char* key, const std::string& where) {
  const auto at = model.find(key);
  if (at == model.end() || at->is_null() || *at == false) return;
  if (at->is_string() && at->get_ref<const std::string&>().empty()) return;
  throw input_error(where, ": key '", key,
                    "' is not supported in a byte-level BPE model; only null",
                    at->is_boolean()  ? " or false"
                    : at->is_string() ? " or \"\""
                                      : "",
                    " is");
}

std::vector<std::pair<std::string, std::string>> merges_from_json(const Json& merges,
                                                                  const std::string& where) {
  std::vector<std::pair<std::string, std::string>> result;
  result.reserve(merges.size());
  for (std::size_t i = 0; i < merges.size(); ++i) {
    const Json& merge = merges[i];
    const std::string at = cat(where, ": merges[", i, "]");
    if (merge.is_string()) {
      result.push_back(merge_of_line(merge.get_ref<const std::string&>(), at));
    } else if (merge.is_array() && merge.size() == 2) {
      result.emplace_back(as_string(merge[0], at), as_string(merge[1], at));
    } else {
      throw input_error(at, ": must be two tokens, \"a b\" or [\"a\", \"b\"]");
    }
  }
  return result;
}

WordPieceParts wordpiece_from_json(const Json& model, const std::string& where) {
  const std::int64_t most_chars = require_int(model, "max_input_chars_per_word", where);
  if (most_chars < 0) {
    throw input_error(where, ": key 'max_input_chars_per_word' is ", most_chars,
                      "; it must not be negative");
  }
  return {{.unk_token = require_string(model, "unk_token", where),
           .continuing_subword_prefix = require_string(model, "continuing_subword_prefix", where),
           .max_input_chars_per_word = static_cast<std::size_t>(most_chars)}};
}

BpeParts bpe_from_json(const Json& model, const std::string& where) {
  for (const char* key :
       {"dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"}) {
    require_empty(model, key, where);
  }
  BpeParts bpe;
  bpe.options.merges = merges_from_json(require_array(model, "merges", where), where);
  if (model.contains("unk_token") && !model["unk_token"].is_null()) {
    bpe.options.unk_token = require_string(model, "unk_token", where);
  }
  bpe.options.fuse_unk = optional_bool(model, "fuse_unk", where, false);
  bpe.options.ignore_merges = optional_bool(model, "ignore_merges", where, false);
  return bpe;
}

// Old files have no type: the keys tell.
std::string type_of_model(const Json& model, const std::string& where) {
  if (model.contains("type")) return require_string(model, "type", where);
  if (model.contains("merges")) return "BPE";
  if (model.contains("max_input_chars_per_word")) return "WordPiece";
  return require_string(model, "type", where);  // says that it is missing
}

std::variant<WordPieceParts, BpeParts> model_from_json(const Json& model,
                                                       const std::string& where) {
  const std::string type = type_of_model(model, where);
  if (type == "WordPiece") return wordpiece_from_json(model, where);
  if (type == "BPE") return bpe_from_json(model, where);
  throw unsupported(where, type, "WordPiece, BPE");
}

AddedToken added_token_from_json(const Json& token, const std::string& where) {
  const std::int64_t id = require_int(token, "id", where);
  if (id < 0 || id > std::numeric_limits<std::int32_t>::max()) {
    throw input_error(where, ": id ", id, " is out of range");
  }
  return {.content = require_string(token, "content", where),
          .id = static_cast<std::int32_t>(id),
          .single_word = require_bool(token, "single_word", where),
          .lstrip = require_bool(token, "lstrip", where),
          .rstrip = require_bool(token, "rstrip", where),
          .normalized = require_bool(token, "normalized", where),
          .special = require_bool(token, "special", where)};
}

// The ids that the file gives must be those that the tokens get.
void read_added_tokens(const Json& file, TokenizerParts& parts) {
  const auto at = file.find("added_tokens");
  if (at == file.end()) return;
  const Json& tokens = as_array(*at, parts.where + ": added_tokens");
  std::vector<std::int32_t> stated;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    AddedToken token =
        added_token_from_json(tokens[i], cat(parts.where, ": added_tokens[", i, "]"));
    if (token.content.empty()) continue;
    stated.push_back(token.id);
    parts.added.push_back(std::move(token));
  }
  assign_added_ids(parts);
  for (std::size_t i = 0; i < stated.size(); ++i) {
    if (parts.added[i].id != stated[i]) {
      throw input_error(parts.where, ": the added token '", parts.added[i].content, "' has id ",
                        stated[i], ", but its place in the vocabulary gives ", parts.added[i].id,
                        "; added tokens take the ids behind the model's vocabulary, in order");
    }
  }
}

}  // namespace

std::vector<VocabEntry> vocab_from_json(const Json& vocab, const std::string& where) {
  std::vector<VocabEntry> entries;
  entries.reserve(as_object(vocab, where).size());
  std::vector<std::int32_t> ids;
  ids.reserve(vocab.size());
  for (const auto& [token, value] : vocab.items()) {
    const std::int64_t id =
        value.is_number_integer() ? as_int(value, where + ": '" + token + "'") : -1;
    if (id < 0 || id > std::numeric_limits<std::int32_t>::max() - 1) {
      throw input_error(where, ": the id of '", token, "' must be an integer from 0 on, not ",
                        dump_json(value).substr(0, 40));
    }
    entries.emplace_back(token, static_cast<std::int32_t>(id));
    ids.push_back(static_cast<std::int32_t>(id));
  }
  std::ranges::sort(ids);
  if (const auto twice = std::ranges::adjacent_find(ids); twice != ids.end()) {
    throw input_error(where, ": two tokens have the id ", *twice);
  }
  return entries;
}

std::pair<std::string, std::string> merge_of_line(std::string_view line, const std::string& where) {
  const std::size_t blank = line.find(' ');
  if (blank == std::string_view::npos || line.find(' ', blank + 1) != std::string_view::npos) {
    throw input_error(where, ": a merge is two tokens with one blank between, not '",
                      line.substr(0, 80), "'");
  }
  return {std::string(line.substr(0, blank)), std::string(line.substr(blank + 1))};
}

void assign_added_ids(TokenizerParts& parts) {
  TokenTable ids;
  for (const auto& [token, id] : parts.vocab) ids.set(token, id);
  auto next = static_cast<std::int32_t>(ids.size());
  for (AddedToken& token : parts.added) {
    const std::int32_t known = ids.find(token.content);
    token.id = known >= 0 ? known : next++;
    ids.set(token.content, token.id);
  }
}

TokenizerParts parts_from_json(std::string_view text, const std::string& where) {
  const Json file = parse_json(text, where);
  as_object(file, where);
  const std::string version = optional_string(file, "version", where, "1.0");
  if (version != "1.0") {
    throw input_error(where, ": version '", version, "' is not supported; 1.0 is");
  }
  TokenizerParts parts;
  parts.where = where;
  const Json& model = require_object(file, "model", where);
  const std::string model_where = where + ": model";
  parts.model = model_from_json(model, model_where);
  parts.vocab =
      vocab_from_json(require_object(model, "vocab", model_where), model_where + ": vocab");
  read_added_tokens(file, parts);
  read_components(file, parts);
  return parts;
}

}  // namespace trireme::text
