// What the data folder makes of files, as text for comparison with other programs (tests/interop):
//   data_probe synth FOLDER SEED TRAIN_QUESTIONS DEV_QUESTIONS
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "trireme/base/error.h"
#include "trireme/data/synth.h"

int main(int argc, char** argv) {
  using namespace trireme;
  const std::vector<std::string> args(argv + 1, argv + argc);
  try {
    if (args.size() == 5 && args[0] == "synth") {
      data::write_synth(args[1], {.seed = std::stoull(args[2]),
                                  .train_questions = std::stoll(args[3]),
                                  .dev_questions = std::stoll(args[4])});
      return 0;
    }
    std::cerr << "usage: data_probe synth FOLDER SEED TRAIN_QUESTIONS DEV_QUESTIONS\n";
    return 2;
  } catch (const Error& e) {
    std::cerr << "data_probe: " << e.what() << "\n";
    return e.exit_code();
  }
}
