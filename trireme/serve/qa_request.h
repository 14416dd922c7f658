// The JSON of POST /v1/qa: a body into queries, answers into a body.
//
// Three forms, in each of which `question`, `context` or the object may be one or a list:
//   {"question": "...", "context": "...", "n_best": 3}          one answer object
//   {"question": ["...", "..."], "context": "..."}              {"answers": [...]}
//   {"inputs": [{"question": "...", "context": "..."}, ...]}    {"answers": [...]}
// In the second a single text goes with each of a list.
// An answer object: {"answer", "score", "start", "end", "no_answer_score", "n_best": [{"answer",
// "score", "start", "end"}, ...]}; start and end are code points of the context, end exclusive.
#pragma once

#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "trireme/base/json.h"
#include "trireme/serve/qa_engine.h"

namespace trireme::serve {

struct QaLimits {
  size_t max_items = 64;               // queries a request
  size_t max_question_chars = 4096;    // code points
  size_t max_context_chars = 262'144;  // code points
  int max_n_best = 20;
};

// A request that is wrong: the HTTP status, the field at fault ("context[3]"; empty for the whole
// body) and a message.
class QaRequestError : public std::runtime_error {
 public:
  QaRequestError(int status, std::string field, const std::string& message)
      : std::runtime_error(message), status_(status), field_(std::move(field)) {}
  int status() const { return status_; }
  const std::string& field() const { return field_; }

 private:
  int status_;
  std::string field_;
};

struct QaRequest {
  std::shared_ptr<const Json> body;  // holds the texts that the queries view
  std::vector<QaQuery> queries;      // at least one
  bool list = false;                 // answered by {"answers": [...]}
  size_t chars = 0;                  // code points of all questions and contexts
};

// Throws QaRequestError: 400 for malformed JSON, a missing, unknown, doubled or ill-typed field,
// 413 over a limit.
QaRequest parse_qa_request(const std::string& body, const QaLimits& limits);

Json to_json(const QaAnswer& answer);

}  // namespace trireme::serve
