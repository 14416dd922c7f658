// The protocol of collectives in shared memory, apart from the memory: pure functions that the
// executor (shm_collective.cc) runs and that tests/comm/shm_model_test.cc explores in every order.
//
// An operation is a row of steps. A rank begins step i when every rank of the group has finished i
// steps of the operation, and says so after each of its own (but the last) by adding one to its
// counter, which never goes back: base + steps finished, base being the sum over the operations
// before. So a rank is never more than one step ahead, and what follows needs no other
// synchronisation:
//  - A rank posts what it is about to do before it finishes step 0; all posts are read in step 1.
//    There are two places for posts, by the operation's parity: a rank that is ahead writes the one
//    while a peer still reads the other.
//  - Staging memory has two halves, used in turn, one a chunk. A half is written again two chunks
//    later: by then every rank has begun the chunk between, and has read the first.
//
// Forms (their order of addition is the same: that of the ranks)
//  - kSmall, by size alone: all is staged at once, and every rank combines everything. One meeting.
//  - kDirect, when the posts say that all buffers are in shared memory: each rank combines its
//    slice of all buffers and writes it to all of them.
//  - kStaged: chunk by chunk; what others need is staged, then taken from their staging memory.
//  - kStagedTwice: all_reduce; staged parts are combined by one rank each, then the results taken.
#pragma once

#include <algorithm>
#include <cstdint>

namespace trireme::comm::shm {

enum class Form { kSmall, kDirect, kStaged, kStagedTwice };

enum class Act {
  kNothing,
  kPut,         // stage chunk 0
  kDirect,      // all of it, from and to the peers' buffers
  kCombine,     // combine this rank's slice of `chunk` from what was staged, and stage the result
  kTakeAndPut,  // take `chunk` from what was staged; stage chunk + 1, if there is one
};

struct Step {
  Act act = Act::kNothing;
  int64_t chunk = 0;
};

// Steps of an operation. `chunks` is at least 1.
constexpr int64_t steps(Form form, int64_t chunks) {
  switch (form) {
    case Form::kSmall:
      return 2;
    case Form::kDirect:
      return 3;
    case Form::kStaged:
      return 2 + chunks;
    default:
      return 2 + 2 * chunks;
  }
}

// The i-th one. Step 0 of the three large forms is the same: the form is known in step 1.
constexpr Step step(Form form, int64_t i) {
  if (form == Form::kSmall) return i == 0 ? Step{Act::kPut, 0} : Step{Act::kTakeAndPut, 0};
  if (form == Form::kDirect) return i == 1 ? Step{Act::kDirect, 0} : Step{};
  if (i < 2) return i == 1 ? Step{Act::kPut, 0} : Step{};
  if (form == Form::kStaged) return {Act::kTakeAndPut, i - 2};
  return {i % 2 == 0 ? Act::kCombine : Act::kTakeAndPut, (i - 2) / 2};
}

// Staging halves that it uses, in turn from where the operation before stopped.
constexpr int64_t halves(Form form, int64_t chunks) {
  return form == Form::kDirect ? 0 : form == Form::kSmall ? 1 : chunks;
}

struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

// Part `r` of n elements cut into `parts`, at multiples of `unit`.
constexpr Range slice(int64_t n, int64_t parts, int64_t r, int64_t unit) {
  const int64_t each = ((n + parts - 1) / parts + unit - 1) / unit * unit;
  return {std::min(n, r * each), std::min(n, (r + 1) * each)};
}

}  // namespace trireme::comm::shm
