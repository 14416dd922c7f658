// A rank of a run that computes nothing: time and memory go by as they would. Layers are played on
// it (played_units.h), engines too (played_engine.h).
//
//   DryRun run({.rates = &machine.rates(2, 1), .dtype = Dtype::kBf16, ...});
//   Block y = run.take(run.matrix(1024, 768));
//   run.product(Product::kLinear, 1024, 768, 768);
//   run.seconds();
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "trireme/plan/machine.h"
#include "trireme/plan/memory_model.h"

namespace trireme::plan {

enum class Axis { kPp, kData, kCp, kTp };
inline constexpr std::array<const char*, 4> kAxisNames = {"pp", "dp", "cp", "tp"};

// The ranks that a rank shares an axis with, itself among them, and on how many hosts: as many on
// each. Those of a host share memory; hosts have a network.
struct Peers {
  int64_t ranks = 1;
  int64_t hosts = 1;

  int64_t on_host() const { return ranks / hosts; }
};

struct Traffic {
  int64_t bytes = 0;     // that this rank gives others
  int64_t messages = 0;  // operations
  double seconds = 0;
};

struct DryRunOptions {
  const Machine* machine = nullptr;
  const ComputeRates* rates = nullptr;
  Dtype dtype = Dtype::kFp32;
  std::array<Peers, kAxisNames.size()> peers{};
  // Cores are left for the threads that communicate: what need not be waited for at once costs no
  // time.
  bool cores_to_spare = false;
  double crowding = 1;  // ranks that share a core: how much longer computing takes
};

class DryRun {
 public:
  explicit DryRun(const DryRunOptions& options) : options_(options) {}

  Dtype dtype() const { return options_.dtype; }
  int64_t threads() const { return options_.rates->threads; }
  const Peers& peers(Axis axis) const { return options_.peers[static_cast<size_t>(axis)]; }
  int64_t ranks(Axis axis) const { return peers(axis).ranks; }
  // Bytes of a matrix in the compute dtype.
  int64_t matrix(int64_t rows, int64_t columns) const {
    return rows * columns * bytes_of(options_.dtype);
  }

  // Private memory; memory that the ranks of an axis share, where they do.
  Block take(int64_t bytes) { return heap_.take(bytes); }
  Block take_shared(Axis axis, int64_t bytes);
  HeapModel& heap() { return heap_; }
  ArenaModel& arena() { return arena_; }

  void product(Product product, int64_t rows, int64_t in, int64_t out);
  void row_op(RowOp op, int64_t elements);
  // Of `heads`, `share` of whose pairs of a query and a key are computed here.
  void attention(AttentionKind kind, int64_t heads, int64_t head_size,
                 std::span<const int32_t> lengths, double share);
  void optimizer(int64_t elements);
  void grad_norm(int64_t elements);
  void zero(int64_t elements);
  void nodes(int64_t count) { spend(static_cast<double>(count) * options_.rates->node_s); }

  // A weight's gradient: at once, or, while defers() (the B actions of a zero-bubble schedule),
  // with what it reads when run_deferred() is called.
  void weight_grad(int64_t rows, int64_t in, int64_t out, const Block& dy, const Block& x);
  void defer(bool on) { defers_ = on; }
  struct Deferred {
    double seconds = 0;
    std::vector<Block> reads;
  };
  Deferred take_deferred() { return std::exchange(deferred_, {}); }
  void run_deferred(const Deferred& deferred) { seconds_ += deferred.seconds; }

  // An operation over `bytes` of all ranks' parts together that is waited for at once. in_arena:
  // its buffers are of take_shared().
  void communicate(Axis axis, LinkOp op, int64_t bytes, bool in_arena);
  // One that goes on until wait_for_all().
  void start(Axis axis, LinkOp op, int64_t bytes, bool in_arena);
  void wait_for_all();

  double seconds() const { return seconds_; }
  // Of operations, waits for other ranks' computing apart.
  const std::array<Traffic, kAxisNames.size()>& traffic() const { return traffic_; }

 private:
  void spend(double s) { seconds_ += s * options_.crowding; }
  const DtypeRates& rates() const { return options_.rates->of(options_.dtype); }
  double cost(Axis axis, LinkOp op, int64_t bytes, bool in_arena);

  DryRunOptions options_;
  HeapModel heap_;
  ArenaModel arena_;
  double seconds_ = 0;
  bool defers_ = false;
  Deferred deferred_;
  double line_free_at_ = 0;  // when what was started is over
  std::array<Traffic, kAxisNames.size()> traffic_{};
};

}  // namespace trireme::plan
