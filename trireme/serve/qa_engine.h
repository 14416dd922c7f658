// What the QA service needs from a model: answers for a batch of queries. Implemented by the caller
// (who knows the model), and by a fake in the tests.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace trireme::serve {

// Valid UTF-8, not blank, within the service's limits; the views live as long as the call.
struct QaQuery {
  std::string_view question;
  std::string_view context;
  int n_best = 1;  // candidates wanted, at least 1
};

// A span of the context: code points [start, end), and their text. Empty text at [0, 0) says "no
// answer".
struct QaSpan {
  std::string text;
  double score = 0;
  int64_t start = 0;
  int64_t end = 0;
};

struct QaAnswer {
  QaSpan best;
  double no_answer_score = 0;
  std::vector<QaSpan> n_best;  // best first, at most QaQuery::n_best
  std::string refusal;  // not empty: why this query cannot be answered, with the limit that it
                        // breaks; answered 400
};

class QaEngine {
 public:
  virtual ~QaEngine() = default;

  // One answer a query, in their order. A query's answer does not depend on its neighbours in the
  // batch. Called from one thread only, the one that loaded the engine. May throw: the batch is
  // then tried again query by query, so that one query's failure is not its neighbours'.
  virtual std::vector<QaAnswer> answer(std::span<const QaQuery> queries) = 0;
};

}  // namespace trireme::serve
