// The words and sentence forms of synth.h, as data. In a sentence {S} is the subject, {A} the
// answer; in a question {S} is the subject.
#pragma once

#include <span>
#include <string_view>
#include <vector>

namespace trireme::data {

enum class SubjectKind { kPerson, kTown, kThing, kEvent };
inline constexpr int kSubjectKinds = 4;

enum class AnswerKind {
  kPerson,
  kTown,
  kYear,    // "1874"
  kDate,    // "14 May"
  kCount,   // "3,200"
  kWeight,  // "85 pounds"
  kPrice,   // "4,500 dollars"
  kJob,
  kInstrument,
  kFood,
  kAnimal,
  kRiver,
  kProduct,
  kMaterial,
  kColour,
  kPrize,
};

using Words = std::vector<std::string_view>;

// The two parts have nothing in common.
struct Split {
  Words train;
  Words dev;
};

// A kind of fact: how it is said, how it is asked.
struct Relation {
  SubjectKind subject;
  AnswerKind answer;
  Split sentences;
  Split questions;
};

std::span<const Relation> synth_relations();

// Answers that are one word of a list; empty for the kinds that are put together.
const Split& synth_answer_words(AnswerKind kind);

const Split& synth_first_names();
const Split& synth_last_names();
const Split& synth_town_beginnings();  // "Ash" + an ending
const Split& synth_town_endings();     // "ford"
const Split& synth_thing_marks();      // the "Midnight" Lantern
const Split& synth_things();           // the Midnight "Lantern"
const Split& synth_event_marks();      // the "Harvest" Race
const Split& synth_events();           // the Harvest "Race"

}  // namespace trireme::data
