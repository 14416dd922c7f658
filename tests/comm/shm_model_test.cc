// Every order in which 2 and 3 ranks can go through rows of operations in shared memory, with the
// same shm_protocol.h that the executor runs. An act is an interval: while a rank is in one, no
// other may touch what it writes or write what it reads, and everything read must be what the
// operation put there. Broken protocols must be found out: they follow at the end.
#include "trireme/comm/shm_protocol.h"

#include <gtest/gtest.h>

#include <array>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace trireme::comm::shm {
namespace {

// What an operation's pieces are: an all_gather stages one piece for all, the others one a rank.
enum class Pieces { kOne, kOneARank };

struct Op {
  Form form;
  int64_t chunks = 1;
  Pieces pieces = Pieces::kOneARank;
};

struct Mutation {
  bool one_half = false;        // staging memory is not used in turn
  bool one_post = false;        // one place for posts
  bool late_by_one = false;     // step i waits for i - 1 steps of the others
  bool eager_take = false;      // results are taken before all are combined
  bool eager_end = false;       // a direct operation ends without waiting for the others
  bool whole_in_place = false;  // direct: every rank combines all of it
};

using Cell = std::string;
using Value = std::string;

// Of one step: what it reads (and must find) and what it writes.
struct Access {
  std::map<Cell, Value> reads;
  std::map<Cell, Value> writes;
};

struct Rank {
  int op = 0;
  int64_t step = 0;
  bool inside = false;
  auto operator<=>(const Rank&) const = default;
};

struct State {
  std::vector<Rank> ranks;
  std::vector<int64_t> progress;
  std::map<Cell, Value> memory;
  auto operator<=>(const State&) const = default;
};

std::string text(std::initializer_list<int64_t> numbers, const char* what) {
  std::string s = what;
  for (const int64_t n : numbers) s += " " + std::to_string(n);
  return s;
}

class Model {
 public:
  Model(int ranks, std::vector<Op> ops, Mutation mutation)
      : n_(ranks), ops_(std::move(ops)), mutation_(mutation) {
    int64_t base = 0, half = 0;
    for (const Op& op : ops_) {
      bases_.push_back(base);
      halves_.push_back(half);
      base += steps(op.form, op.chunks) - 1;
      half += halves(op.form, op.chunks);
    }
  }

  // Empty: no order goes wrong. Otherwise what did in the first that was found.
  std::string explore() {
    State start{std::vector<Rank>(n_), std::vector<int64_t>(n_, 0), {}};
    std::vector<State> open{start};
    seen_.insert(start);
    while (!open.empty()) {
      const State state = open.back();
      open.pop_back();
      bool moved = false, over = true;
      for (int r = 0; r < n_; ++r) {
        const Rank& rank = state.ranks[r];
        if (rank.op == static_cast<int>(ops_.size())) continue;
        over = false;
        if (!rank.inside && !may_begin(state, r)) continue;
        moved = true;
        State next = state;
        const std::string wrong = rank.inside ? end(next, r) : begin(next, r);
        if (!wrong.empty()) return wrong;
        if (seen_.insert(next).second) open.push_back(std::move(next));
      }
      if (!moved && !over) return "no rank can go on";
    }
    return "";
  }
  size_t states() const { return seen_.size(); }

 private:
  bool may_begin(const State& state, int r) const {
    const Rank& rank = state.ranks[r];
    const Op& op = ops_[rank.op];
    int64_t await = rank.step;
    const Act act = step(op.form, rank.step).act;
    if (mutation_.late_by_one && rank.step > 0) --await;
    if (mutation_.eager_take && op.form == Form::kStagedTwice && act == Act::kTakeAndPut) --await;
    if (mutation_.eager_end && op.form == Form::kDirect && rank.step == 2) --await;
    for (int other = 0; other < n_; ++other) {
      if (other != r && state.progress[other] < bases_[rank.op] + await) return false;
    }
    return true;
  }

  Cell post(int r, int op) const { return text({r, mutation_.one_post ? 0 : op % kPosts}, "post"); }
  Cell staged(int r, int op, int64_t chunk, int piece) const {
    return text({r, mutation_.one_half ? 0 : (halves_[op] + chunk) % 2, piece}, "stage");
  }
  static Cell buffer(int r, int slice) { return text({r, slice}, "buffer"); }

  Access access(int r, const Rank& rank) const {
    const Op& op = ops_[rank.op];
    const Step s = step(op.form, rank.step);
    Access a;
    if (rank.step == 0) {
      a.writes[post(r, rank.op)] = text({rank.op}, "op");
      // The caller's values, there before the operation.
      for (int slice = 0; slice < n_; ++slice) {
        a.writes[buffer(r, slice)] = text({rank.op}, "in");
      }
    }
    if (rank.step == 1) {
      for (int j = 0; j < n_; ++j) a.reads[post(j, rank.op)] = text({rank.op}, "op");
    }
    if (s.act == Act::kPut) put(a, r, rank.op, 0);
    if (s.act == Act::kDirect) {
      for (int j = 0; j < n_; ++j) {
        for (int slice = 0; slice < n_; ++slice) {
          if (slice != r && !mutation_.whole_in_place) continue;
          a.reads[buffer(j, slice)] = text({rank.op}, "in");
          a.writes[buffer(j, slice)] = text({rank.op}, "out");
        }
      }
    }
    if (s.act == Act::kCombine) {
      for (int j = 0; j < n_; ++j) {
        if (j != r) a.reads[staged(j, rank.op, s.chunk, r)] = text({rank.op, s.chunk}, "raw");
      }
      a.writes[staged(r, rank.op, s.chunk, r)] = text({rank.op, s.chunk}, "sum");
    }
    if (s.act == Act::kTakeAndPut) {
      for (int j = 0; j < n_; ++j) {
        if (j == r && op.form != Form::kSmall) continue;
        if (op.form == Form::kStagedTwice) {
          a.reads[staged(j, rank.op, s.chunk, j)] = text({rank.op, s.chunk}, "sum");
        } else {
          const int piece = op.pieces == Pieces::kOne ? 0 : r;
          a.reads[staged(j, rank.op, s.chunk, piece)] = text({rank.op, s.chunk}, "raw");
        }
      }
      if (s.chunk + 1 < op.chunks) put(a, r, rank.op, s.chunk + 1);
    }
    // The caller reads its results and may write anew.
    if (op.form == Form::kDirect && rank.step == 2) {
      for (int slice = 0; slice < n_; ++slice) {
        a.reads[buffer(r, slice)] = text({rank.op}, "out");
      }
    }
    return a;
  }

  void put(Access& a, int r, int op, int64_t chunk) const {
    for (int piece = 0; piece < n_; ++piece) {
      const bool own = piece == r && ops_[op].form != Form::kSmall;
      if (ops_[op].pieces == Pieces::kOne ? piece == 0 : !own) {
        a.writes[staged(r, op, chunk, piece)] = text({op, chunk}, "raw");
      }
    }
  }

  std::string begin(State& state, int r) const {
    const Access mine = access(r, state.ranks[r]);
    for (const auto& [cell, value] : mine.reads) {
      const auto found = state.memory.find(cell);
      if (found == state.memory.end() || found->second != value) {
        return "rank " + std::to_string(r) + " reads '" + cell + "' for '" + value +
               "' and finds '" + (found == state.memory.end() ? "nothing" : found->second) + "'";
      }
    }
    for (int other = 0; other < n_; ++other) {
      if (other == r || !state.ranks[other].inside) continue;
      const Access theirs = access(other, state.ranks[other]);
      for (const auto& [cell, value] : mine.writes) {
        if (theirs.writes.contains(cell) || theirs.reads.contains(cell)) return "race at " + cell;
      }
      for (const auto& [cell, value] : mine.reads) {
        if (theirs.writes.contains(cell)) return "race at " + cell;
      }
    }
    state.ranks[r].inside = true;
    return "";
  }

  std::string end(State& state, int r) const {
    Rank& rank = state.ranks[r];
    for (const auto& [cell, value] : access(r, rank).writes) state.memory[cell] = value;
    rank.inside = false;
    const Op& op = ops_[rank.op];
    if (++rank.step == steps(op.form, op.chunks)) {
      ++rank.op;
      rank.step = 0;
    } else {
      state.progress[r] = bases_[rank.op] + rank.step;
    }
    return "";
  }

  static constexpr int kPosts = 2;
  int n_;
  std::vector<Op> ops_;
  Mutation mutation_;
  std::vector<int64_t> bases_, halves_;
  std::set<State> seen_;
};

const std::vector<Op> kKinds{
    {Form::kSmall},
    {Form::kDirect},
    {Form::kStagedTwice, 1},
    {Form::kStagedTwice, 3},
    {Form::kStaged, 1, Pieces::kOneARank},
    {Form::kStaged, 3, Pieces::kOne},
};

TEST(ShmModel, NoOrderOfTwoRanksGoesWrong) {
  size_t states = 0;
  for (const Op& a : kKinds) {
    for (const Op& b : kKinds) {
      for (const Op& c : kKinds) {
        Model model(2, {a, b, c}, {});
        ASSERT_EQ(model.explore(), "");
        states += model.states();
      }
    }
  }
  EXPECT_GT(states, 20000u);
}

TEST(ShmModel, NoOrderOfThreeRanksGoesWrong) {
  for (const Op& a : kKinds) {
    for (const Op& b : kKinds) {
      Model model(3, {a, b, a}, {});
      ASSERT_EQ(model.explore(), "");
    }
  }
}

// The worst that any row of two or three operations shows.
std::string fault_of(const Mutation& mutation) {
  for (const Op& a : kKinds) {
    for (const Op& b : kKinds) {
      for (const std::vector<Op>& row : {std::vector<Op>{a, b}, std::vector<Op>{a, a, b}}) {
        const std::string wrong = Model(2, row, mutation).explore();
        if (!wrong.empty()) return wrong;
      }
    }
  }
  return "";
}

TEST(ShmModel, BrokenProtocolsAreFoundOut) {
  EXPECT_NE(fault_of({.one_half = true}), "");
  EXPECT_NE(fault_of({.one_post = true}), "");
  EXPECT_NE(fault_of({.late_by_one = true}), "");
  EXPECT_NE(fault_of({.eager_take = true}), "");
  EXPECT_NE(fault_of({.eager_end = true}), "");
  EXPECT_NE(fault_of({.whole_in_place = true}), "");
}

TEST(ShmProtocol, SlicesCoverEverythingOnce) {
  for (int64_t n : {0, 1, 15, 16, 17, 1000, 50257}) {
    for (int64_t parts : {1, 2, 3, 7}) {
      int64_t end = 0;
      for (int64_t r = 0; r < parts; ++r) {
        const Range s = slice(n, parts, r, 16);
        EXPECT_EQ(s.begin, end);
        EXPECT_TRUE(s.begin % 16 == 0 || s.begin == n);
        end = s.end;
      }
      EXPECT_EQ(end, n);
    }
  }
}

}  // namespace
}  // namespace trireme::comm::shm
