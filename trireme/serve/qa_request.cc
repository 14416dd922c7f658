#include "trireme/serve/qa_request.h"

#include <algorithm>

#include "trireme/base/error.h"
#include "trireme/base/utf8.h"

namespace trireme::serve {
namespace {

[[noreturn]] void refuse(const std::string& field, const std::string& message, int status = 400) {
  throw QaRequestError(status, field, field.empty() ? message : cat(field, ": ", message));
}

Json parse_body(const std::string& body) {
  try {
    return parse_json(body, "body");
  } catch (const Error& error) {
    refuse("", error.what());
  }
}

void check_fields(const Json& object, const std::string& where,
                  const std::vector<std::string>& known) {
  for (const auto& [key, value] : object.items()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    std::string names;
    for (const std::string& name : known) names += (names.empty() ? "" : ", ") + name;
    refuse(where + key, cat("unknown field; the fields are ", names));
  }
}

const Json& member(const Json& object, const std::string& where, const std::string& name) {
  const auto found = object.find(name);
  if (found == object.end()) refuse(where + name, "the field is missing");
  return *found;
}

std::string_view text(const Json& value, const std::string& field, size_t max_chars) {
  if (!value.is_string()) refuse(field, cat("must be a string, is ", value.type_name()));
  const std::string_view text = value.get_ref<const std::string&>();
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos)
    refuse(field, "must not be blank");
  if (const size_t chars = count_code_points(text); chars > max_chars) {
    refuse(field, cat("has ", chars, " characters; the limit is ", max_chars), 413);
  }
  return text;
}

void check_items(size_t items, const std::string& field, const QaLimits& limits) {
  if (items == 0) refuse(field, "the list is empty");
  if (items > limits.max_items) {
    refuse(field, cat("has ", items, " items; the limit is ", limits.max_items), 413);
  }
}

int n_best_of(const Json& object, const QaLimits& limits) {
  const auto found = object.find("n_best");
  if (found == object.end()) return 1;
  const bool fits = found->is_number_integer() && *found >= 1 && *found <= limits.max_n_best;
  if (!fits) refuse("n_best", cat("must be an integer from 1 to ", limits.max_n_best));
  return found->get<int>();
}

// {"inputs": object or list of objects}
void read_inputs(const Json& root, const QaLimits& limits, QaRequest& request) {
  check_fields(root, "", {"inputs", "n_best"});
  const Json& inputs = root["inputs"];
  request.list = inputs.is_array();
  if (request.list) check_items(inputs.size(), "inputs", limits);
  const int n_best = n_best_of(root, limits);
  const size_t items = request.list ? inputs.size() : 1;
  for (size_t i = 0; i < items; ++i) {
    const Json& item = request.list ? inputs[i] : inputs;
    const std::string name = request.list ? cat("inputs[", i, "]") : "inputs";
    if (!item.is_object()) {
      refuse(name, cat("must be an object with question and context, is ", item.type_name()));
    }
    const std::string where = name + ".";
    check_fields(item, where, {"question", "context"});
    const auto read = [&](const char* field, size_t max_chars) {
      return text(member(item, where, field), where + field, max_chars);
    };
    request.queries.push_back({read("question", limits.max_question_chars),
                               read("context", limits.max_context_chars), n_best});
  }
}

// A text, or a list of them.
std::vector<std::string_view> texts(const Json& root, const std::string& field, size_t max_chars,
                                    const QaLimits& limits) {
  const Json& value = member(root, "", field);
  if (value.is_string()) return {text(value, field, max_chars)};
  if (!value.is_array()) {
    refuse(field, cat("must be a string or a list of strings, is ", value.type_name()));
  }
  check_items(value.size(), field, limits);
  std::vector<std::string_view> result;
  for (size_t i = 0; i < value.size(); ++i) {
    result.push_back(text(value[i], cat(field, "[", i, "]"), max_chars));
  }
  return result;
}

// {"question": text or list, "context": text or list}
void read_columns(const Json& root, const QaLimits& limits, QaRequest& request) {
  check_fields(root, "", {"question", "context", "n_best", "inputs"});
  const auto questions = texts(root, "question", limits.max_question_chars, limits);
  const auto contexts = texts(root, "context", limits.max_context_chars, limits);
  const bool question_list = root["question"].is_array();
  const bool context_list = root["context"].is_array();
  request.list = question_list || context_list;
  if (question_list && context_list && questions.size() != contexts.size()) {
    refuse("context", cat("has ", contexts.size(), " items, question has ", questions.size(),
                          "; two lists must be equally long"));
  }
  const int n_best = n_best_of(root, limits);
  for (size_t i = 0; i < std::max(questions.size(), contexts.size()); ++i) {
    request.queries.push_back(
        {questions[question_list ? i : 0], contexts[context_list ? i : 0], n_best});
  }
}

Json span_json(const QaSpan& span) {
  return {{"answer", span.text}, {"score", span.score}, {"start", span.start}, {"end", span.end}};
}

}  // namespace

QaRequest parse_qa_request(const std::string& body, const QaLimits& limits) {
  QaRequest request;
  const auto root = std::make_shared<const Json>(parse_body(body));
  if (!root->is_object()) refuse("", cat("the body must be a JSON object, is ", root->type_name()));
  request.body = root;
  if (root->contains("inputs")) {
    read_inputs(*root, limits, request);
  } else {
    read_columns(*root, limits, request);
  }
  for (const QaQuery& query : request.queries) {
    request.chars += count_code_points(query.question) + count_code_points(query.context);
  }
  return request;
}

Json to_json(const QaAnswer& answer) {
  Json body = span_json(answer.best);
  body["no_answer_score"] = answer.no_answer_score;
  body["n_best"] = Json::array();
  for (const QaSpan& span : answer.n_best) body["n_best"].push_back(span_json(span));
  return body;
}

}  // namespace trireme::serve
