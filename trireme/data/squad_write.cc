#include <algorithm>
#include <utility>

#include "trireme/base/error.h"
#include "trireme/base/files.h"
#include "trireme/base/json.h"
#include "trireme/data/squad.h"

namespace trireme::data {
namespace {

Json question_json(const QaExample& example) {
  Json answers = Json::array();
  for (const QaAnswer& answer : example.answers) {
    answers.push_back({{"text", answer.text}, {"answer_start", answer.start}});
  }
  return {{"id", example.id},
          {"question", example.question},
          {"answers", std::move(answers)},
          {"is_impossible", example.is_impossible}};
}

// The article that begins at examples[at], which moves behind it.
Json article_json(std::span<const QaExample> examples, size_t& at) {
  const std::string& title = examples[at].title;
  Json paragraphs = Json::array();
  while (at < examples.size() && examples[at].title == title) {
    const std::shared_ptr<const std::string>& context = examples[at].context;
    Json questions = Json::array();
    for (; at < examples.size() && examples[at].context == context && examples[at].title == title;
         ++at) {
      questions.push_back(question_json(examples[at]));
    }
    paragraphs.push_back({{"qas", std::move(questions)}, {"context", *context}});
  }
  return {{"title", title}, {"paragraphs", std::move(paragraphs)}};
}

}  // namespace

void write_squad(const std::string& path, std::span<const QaExample> examples) {
  AtomicFile file(path);
  file.write("{\"version\": \"v2.0\", \"data\": [");
  for (size_t at = 0; at < examples.size();) {
    file.write(at == 0 ? "\n" : ",\n");
    file.write(dump_json(article_json(examples, at)));
  }
  file.write("\n]}\n");
  file.commit();
}

void write_predictions(const std::string& path, const std::map<std::string, std::string>& texts) {
  Json out = Json::object();
  auto& members = out.get_ref<Json::object_t&>();  // adding by key would search for it first
  for (const auto& [id, text] : texts) members.emplace_back(id, text);
  write_file_atomic(path, dump_json(out, 1) + "\n");
}

std::map<std::string, std::string> read_predictions(const std::string& path) {
  const Json file = read_json_file(path);
  std::map<std::string, std::string> out;
  for (const auto& [id, text] : as_object(file, path).items()) {
    out.emplace(id, as_string(text, cat(path, ": prediction for ", dump_json(id))));
  }
  return out;
}

void write_null_odds(const std::string& path, const std::map<std::string, double>& odds) {
  constexpr double kMost = 1e30;
  Json out = Json::object();
  auto& members = out.get_ref<Json::object_t&>();
  for (const auto& [id, value] : odds) members.emplace_back(id, std::clamp(value, -kMost, kMost));
  write_file_atomic(path, dump_json(out, 1) + "\n");
}

}  // namespace trireme::data
