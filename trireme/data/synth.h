// Questions made by rule, in SQuAD 2.0 form: something to try the whole way from text to an answer
// on, when no data is at hand. Paragraphs state facts about people, towns, things and events in
// plain sentences; two subjects of a kind stand in one paragraph, so a reader must tell them apart.
//
//   write_synth("folder", {.seed = 7});   // folder/train.json, folder/dev.json
//
// The development part shares no name, no answer word and no wording with the training part: other
// people, towns, things, other sentence forms, other question forms. A third of the questions of
// each part has no answer: they ask for a fact of that kind of subject which the paragraph does not
// state about it, though it often states it about another. Nothing here is about real people.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trireme/data/squad.h"

namespace trireme::data {

struct SynthOptions {
  uint64_t seed = 1;
  int64_t train_questions = 2400;
  int64_t dev_questions = 400;
};

enum class SynthPart { kTrain, kDev };

// `questions` of a part; the same for the same seed. Throws input_error for fewer than 0.
std::vector<QaExample> make_synth(uint64_t seed, SynthPart part, int64_t questions);

// Both parts as train.json and dev.json in a folder (made when absent).
void write_synth(const std::string& folder, const SynthOptions& options);

}  // namespace trireme::data
