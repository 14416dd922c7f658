// A set of ranks that communicate: the one interface that everything above comm/ uses.
//
//   group.all_reduce(bucket, ReduceOp::kSum, "grads/3")->wait();
//
// Invariants
// - Every rank of the group makes the same collective calls in the same order, with the same sizes
//   and dtypes, from one thread at a time.
// - A buffer belongs to the operation from the call until wait() returns: do not read, write or
//   resize it between. Results are in place only when wait() has returned. The operation of a Work
//   that is dropped without wait() still takes place; what its buffer then holds is undefined.
// - Every operation has a deadline (WorldOptions::timeout_s, from the call). When a peer dies, is
//   stuck or leaves, wait() throws run_error with its rank, host, pid and the operation, on every
//   surviving rank; the group is of no use afterwards, and any further operation throws the same
//   error.
// - Results of reductions are bitwise equal on all ranks and do not depend on timing.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trireme::comm {

// Of patient_barrier(): an hour for the default deadline of an operation.
constexpr int kPatience = 12;

// A page: what memory of several owners can be put together from.
constexpr int64_t kJoinedBytes = 4096;

enum class ReduceOp { kSum, kAvg, kMin, kMax };

// An operation under way.
class Work {
 public:
  virtual ~Work() = default;
  // Returns when the result is in its buffer. Throws run_error (deadline, dead peer). May be called
  // again.
  virtual void wait() = 0;
  // True: wait() will not block. Point-to-point operations may say false until waited for.
  virtual bool done() = 0;
};

using WorkPtr = std::shared_ptr<Work>;

// A Work that is over.
WorkPtr finished_work();

class Group {
 public:
  virtual ~Group() = default;

  // This rank's index in the group, and how many ranks it has.
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Memory for buffers, flat and not initialised: where the backend has memory that its ranks
  // share, operations work on it in place; any other tensor does too, at the price of copies. May
  // outlive the group.
  virtual at::Tensor empty(int64_t numel, at::ScalarType dtype);

  // Memory of which every rank owns a part that all others read in place.
  struct Joined {
    at::Tensor own;  // [numel]: this rank's part
    at::Tensor
        whole;  // [size() * numel]: everyone's, in rank order; the own part is `own`'s memory
  };
  // Made by all ranks together, of zeros; nothing where the backend's ranks share no memory.
  // `numel` values must be a multiple of kJoinedBytes. Nothing orders writes and reads of another's
  // part but operations of the group, or a barrier, between them. May outlive the group.
  virtual std::optional<Joined> join(int64_t numel, at::ScalarType dtype);
  // Whether join() gives memory.
  virtual bool joins() const { return false; }

  // `tag` says what the operation is for, in errors and traces ("loss", "grads/3"); it does no
  // matching. Tensors: any shape; float32, float64, float16, bfloat16, int32 and int64 for
  // reductions (kAvg: floating point only), any dtype otherwise.
  virtual WorkPtr all_reduce(at::Tensor buffer, ReduceOp op, std::string_view tag) = 0;
  // Rank `root`'s values to everyone.
  virtual WorkPtr broadcast(at::Tensor buffer, int root, std::string_view tag) = 0;
  // out: size() x in.numel() values, in rank order.
  virtual WorkPtr all_gather(at::Tensor out, at::Tensor in, std::string_view tag) = 0;
  // in: size() x out.numel() values; rank r gets the reduction of everyone's r-th part.
  virtual WorkPtr reduce_scatter(at::Tensor out, at::Tensor in, ReduceOp op,
                                 std::string_view tag) = 0;
  // Rank r's p-th part becomes rank p's r-th; both have size() equal parts, and do not overlap.
  virtual WorkPtr all_to_all(at::Tensor out, at::Tensor in, std::string_view tag) = 0;
  // From one rank to another; between two ranks, messages match in the order of the calls.
  virtual WorkPtr send(at::Tensor buffer, int peer, std::string_view tag) = 0;
  virtual WorkPtr recv(at::Tensor buffer, int peer, std::string_view tag) = 0;
  // Returns when every rank has called it.
  virtual void barrier(std::string_view tag) = 0;
  // The same for ranks that wait while another does work of its own (saves a checkpoint): the
  // deadline is kPatience times as long. A peer that dies is noticed as soon as ever.
  virtual void patient_barrier(std::string_view tag) { barrier(tag); }

  // Everyone's bytes, of any lengths, in rank order. For small messages (configuration, reports).
  std::vector<std::string> all_gather_bytes(const std::string& mine, std::string_view tag);
};

}  // namespace trireme::comm
