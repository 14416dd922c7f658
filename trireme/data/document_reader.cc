#include "trireme/data/document_reader.h"

#include <algorithm>
#include <filesystem>
#include <numeric>

#include "trireme/base/error.h"
#include "trireme/base/files.h"
#include "trireme/base/utf8.h"

namespace trireme::data {
namespace {

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r\n\v\f") == std::string_view::npos;
}

}  // namespace

DocumentReader::DocumentReader(DocumentSource source, const DocumentPosition& begin)
    : source_(std::move(source)), position_(begin) {
  for (const std::string& file : source_.files) {
    format_of(file);
    sizes_.push_back(static_cast<int64_t>(file_size_bytes(file)));
  }
  total_bytes_ = std::accumulate(sizes_.begin(), sizes_.end(), int64_t{0});
}

TextFormat DocumentReader::format_of(const std::string& file) const {
  if (source_.format != TextFormat::kByName) return source_.format;
  for (const char* ending : {".jsonl", ".ndjson", ".json"}) {
    if (file.ends_with(ending)) return TextFormat::kJsonLines;
  }
  if (file.ends_with(".txt")) return TextFormat::kText;
  throw input_error(file,
                    ": its name does not say whether it is JSON lines (.jsonl) or plain text "
                    "(.txt); say --format jsonl or --format text");
}

int64_t DocumentReader::bytes_read() const {
  return std::accumulate(sizes_.begin(), sizes_.begin() + position_.file, position_.offset);
}

bool DocumentReader::open() {
  if (in_) return true;
  if (position_.file == static_cast<int64_t>(source_.files.size())) return false;
  const std::string& file = source_.files[static_cast<size_t>(position_.file)];
  in_.emplace(file, std::ios::binary);
  in_->seekg(position_.offset);
  if (!*in_) throw input_error(file, ": cannot be read");
  return true;
}

// With its end of line; false: the file has ended.
bool DocumentReader::read_line(std::string& line) {
  if (!std::getline(*in_, line)) {
    if (in_->bad())
      throw run_error(source_.files[static_cast<size_t>(position_.file)], ": reading failed");
    return false;
  }
  if (!in_->eof()) line += '\n';
  position_.offset += static_cast<int64_t>(line.size());
  position_.line += 1;
  return true;
}

bool DocumentReader::next_in_file(RawDocument& document) {
  const std::string& file = source_.files[static_cast<size_t>(position_.file)];
  document.is_json = format_of(file) == TextFormat::kJsonLines;
  document.file = position_.file;
  document.content.clear();
  const TextUnit unit = document.is_json ? TextUnit::kLine : source_.text_unit;
  std::string line;
  while (read_line(line)) {
    const bool blank = is_blank(line);
    if (document.content.empty()) {
      if (blank && unit != TextUnit::kFile) continue;
      document.line = position_.line;
    }
    if (blank && unit == TextUnit::kParagraph) break;
    document.content += line;
    if (unit == TextUnit::kLine) break;
  }
  if (unit != TextUnit::kFile) {  // the end of the last line is no part of it
    if (document.content.ends_with('\n')) document.content.pop_back();
    if (document.content.ends_with('\r')) document.content.pop_back();
  }
  return !document.content.empty();
}

bool DocumentReader::next(RawDocument& document) {
  while (open()) {
    if (next_in_file(document)) return true;
    in_.reset();
    position_ = {.file = position_.file + 1};
  }
  return false;
}

std::string document_text(RawDocument&& document, const std::string& file, const std::string& key) {
  const std::string where = cat(file, ":", document.line);
  if (!document.is_json) {
    if (!is_valid_utf8(document.content))
      throw input_error(where, ": the document that begins here is not UTF-8");
    return std::move(document.content);
  }
  Json object;
  try {
    object = parse_json(document.content, "");
  } catch (const Error& error) {
    // ":1:COLUMN: ...": the line in the file is another.
    const std::string message = error.what();
    throw input_error(where, message.starts_with(":1:") ? message.substr(2) : message);
  }
  if (!object.is_object()) throw input_error(where, ": is not a JSON object");
  return require_string(object, key, where);
}

}  // namespace trireme::data
