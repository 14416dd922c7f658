#include "trireme/comm/single_group.h"

#include <ATen/core/grad_mode.h>

#include "trireme/base/error.h"

namespace trireme::comm {
namespace {

class SingleGroup : public Group {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }

  WorkPtr all_reduce(at::Tensor, ReduceOp, std::string_view) override { return finished_; }
  WorkPtr broadcast(at::Tensor, int root, std::string_view tag) override {
    check_peer(root, tag);
    return finished_;
  }
  WorkPtr all_gather(at::Tensor out, at::Tensor in, std::string_view) override {
    return copy(out, in);
  }
  WorkPtr reduce_scatter(at::Tensor out, at::Tensor in, ReduceOp, std::string_view) override {
    return copy(out, in);
  }
  WorkPtr all_to_all(at::Tensor out, at::Tensor in, std::string_view) override {
    return copy(out, in);
  }
  WorkPtr send(at::Tensor, int, std::string_view tag) override { throw no_peer("send", tag); }
  WorkPtr recv(at::Tensor, int, std::string_view tag) override { throw no_peer("recv", tag); }
  void barrier(std::string_view) override {}

 private:
  static Error no_peer(const char* kind, std::string_view tag) {
    return run_error(kind, " '", tag, "': a world of one has no peer");
  }
  static void check_peer(int root, std::string_view tag) {
    if (root != 0) {
      throw run_error("broadcast '", tag, "': there is no rank ", root, " in a world of one");
    }
  }
  WorkPtr copy(const at::Tensor& out, const at::Tensor& in) {
    const at::NoGradGuard no_grad;
    if (!out.is_same(in)) {
      out.view_as(in).copy_(in);
    }
    return finished_;
  }

  WorkPtr finished_ = finished_work();
};

}  // namespace

std::unique_ptr<Group> make_single_group() {
  return std::make_unique<SingleGroup>();
}

}  // namespace trireme::comm
