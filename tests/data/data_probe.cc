// What the data folder makes of files, for comparison with other programs (tests/interop):
//   data_probe synth FOLDER SEED TRAIN_QUESTIONS DEV_QUESTIONS
//   data_probe windows FILE TOKENIZER_FOLDER    one JSON object a line: ids, first token of the
//                                               context, label, places of the context's tokens
//   data_probe score FILE PREDICTIONS           EM and F1 of SQuAD predictions
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "trireme/base/error.h"
#include "trireme/data/qa_tokenizer.h"
#include "trireme/data/squad_metric.h"
#include "trireme/data/synth.h"

namespace trireme::data {
namespace {

void print_windows(const std::string& file, const std::string& tokenizer_folder) {
  const text::Tokenizer tokenizer = text::Tokenizer::load(tokenizer_folder);
  const std::vector<QaExample> examples = read_squad(file);
  for (const QaWindow& window : make_qa_windows(examples, window_tokenizer(tokenizer), {})) {
    Json offsets = Json::array();
    for (int32_t i = window.context_begin; i < window.length() - 1; ++i) {
      offsets.push_back({window.offset(i).begin, window.offset(i).end});
    }
    std::cout << dump_json({{"id", examples[static_cast<size_t>(window.example)].id},
                            {"ids", window.ids},
                            {"context_begin", window.context_begin},
                            {"start", window.start},
                            {"end", window.end},
                            {"offsets", std::move(offsets)}})
              << "\n";
  }
}

void print_score(const std::string& file, const std::string& predictions) {
  std::map<std::string, ScoredText> scored;
  for (const auto& [id, text] : read_predictions(predictions)) scored[id] = {text, 0};
  std::cout << dump_json(to_json(score_squad(read_squad(file), scored))) << "\n";
}

}  // namespace
}  // namespace trireme::data

int main(int argc, char** argv) {
  using namespace trireme;
  const std::vector<std::string> args(argv + 1, argv + argc);
  try {
    if (args.size() == 5 && args[0] == "synth") {
      data::write_synth(args[1], {.seed = std::stoull(args[2]),
                                  .train_questions = std::stoll(args[3]),
                                  .dev_questions = std::stoll(args[4])});
    } else if (args.size() == 3 && args[0] == "windows") {
      data::print_windows(args[1], args[2]);
    } else if (args.size() == 3 && args[0] == "score") {
      data::print_score(args[1], args[2]);
    } else {
      throw input_error(
          "usage: data_probe synth FOLDER SEED TRAIN DEV | windows FILE TOKENIZER | score FILE "
          "PREDICTIONS");
    }
    return 0;
  } catch (const Error& e) {
    std::cerr << "data_probe: " << e.what() << "\n";
    return e.exit_code();
  }
}
