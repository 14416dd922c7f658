// From text to token shards, on all cores: `trireme data prepare`.
//
//   const PrepareResult result = prepare({.source = {{"a.jsonl"}}, .prefix = "corpus"}, tokenizer);
//
// The output depends on the documents, the tokenizer and the options alone: any number of workers
// writes the same bytes. What is done so far is kept in the folder PREFIX.partial; the same call
// goes on from there, whenever the one before was killed, and ends with the same bytes. Memory is
// bounded by the documents in work (some tens of MB, or the longest document).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "trireme/data/document_reader.h"
#include "trireme/text/tokenizer.h"

namespace trireme::data {

struct PrepareProgress {
  int64_t documents = 0;
  int64_t tokens = 0;
  int64_t bytes = 0;  // of text files
  int64_t total_bytes = 0;
  bool resumed = false;  // the first call after another one was cut short
};

struct PrepareOptions {
  DocumentSource source;
  std::string prefix;                // of PREFIX.bin and PREFIX.idx
  std::string json_key = "text";     // of JSON lines: where the text is
  std::optional<int32_t> end_token;  // appended to each document
  bool skip_bad = false;             // leave out documents that cannot be read, and count them
  int workers = 1;
  double save_every_s = 10;                                      // progress that a kill may cost
  int64_t round_bytes = 16 << 20;                                // of text in work at a time
  std::function<void(const PrepareProgress&)> on_progress = {};  // after each round
};

struct PrepareResult {
  int64_t documents = 0;
  int64_t tokens = 0;         // end tokens included
  int64_t empty = 0;          // documents without text, left out
  int64_t skipped = 0;        // bad ones
  std::string first_skipped;  // what was wrong with the first of them
  int64_t tokens_here = 0;    // those that this call made, the rest was there
};

// `tokenizer_id` stands for the tokenizer where a later call asks whether it is the same. Throws
// input_error: bad documents (file:line and what is wrong), nothing to write, or a partial output
// of other input or options, which names what differs; run_error for a full disk.
PrepareResult prepare(const PrepareOptions& options, const text::Tokenizer& tokenizer,
                      const std::string& tokenizer_id);

}  // namespace trireme::data
