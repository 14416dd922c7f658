// Documents of text files, streamed in order: JSON lines, or plain text cut as the user says.
//
//   DocumentReader reader({{"a.jsonl", "b.txt"}}, {});
//   for (RawDocument document; reader.next(document);) use(document_text(document, "text"));
//
// Reading can begin where another reader was (position()): the documents that follow are the same.
#pragma once

#include <cstdint>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "trireme/base/json.h"

namespace trireme::data {

enum class TextFormat { kByName, kJsonLines, kText };  // kByName: .jsonl, .ndjson, .json; .txt
// What one document of a plain text is: the whole file, what stands between blank lines, a line.
enum class TextUnit { kFile, kParagraph, kLine };

struct DocumentSource {
  std::vector<std::string> files;
  TextFormat format = TextFormat::kByName;
  TextUnit text_unit = TextUnit::kFile;
};

struct DocumentPosition {
  int64_t file = 0;    // in the list
  int64_t offset = 0;  // bytes of it that are read
  int64_t line = 0;    // lines of it that are read
  bool operator==(const DocumentPosition&) const = default;
};

// As it stands in the file: a line of JSON, or text. Whoever takes it apart does so on any thread.
struct RawDocument {
  std::string content;
  bool is_json = false;
  int64_t file = 0;
  int64_t line = 0;  // where it begins, from 1
};

class DocumentReader {
 public:
  // Throws input_error: a file that cannot be read, or whose name says no format.
  explicit DocumentReader(DocumentSource source, const DocumentPosition& begin = {});

  // The next document; false: there is none. Blank lines are no documents.
  bool next(RawDocument& document);
  // Behind the last document.
  DocumentPosition position() const { return position_; }
  int64_t total_bytes() const { return total_bytes_; }  // of all files
  int64_t bytes_read() const;                           // those in front of the position

 private:
  bool open();  // the file at the position; false: no more files
  bool read_line(std::string& line);
  bool next_in_file(RawDocument& document);
  TextFormat format_of(const std::string& file) const;

  DocumentSource source_;
  std::vector<int64_t> sizes_;
  int64_t total_bytes_ = 0;
  DocumentPosition position_;
  std::optional<std::ifstream> in_;
};

// The text of a document, UTF-8; of a JSON line, what it holds under `key`. Throws input_error that
// begins with file:line.
std::string document_text(RawDocument&& document, const std::string& file, const std::string& key);

}  // namespace trireme::data
