// PyTorch's own distributed code over our groups.
#include "trireme/comm/c10d_backend.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>

#include "trireme/base/error.h"
#include "trireme/comm/testing.h"

namespace trireme::comm {
namespace {

using testing::HasSubstr;

class C10d : public testing::TestWithParam<std::tuple<const char*, int>> {
 protected:
  static void run(const std::function<void(World&)>& f) {
    WorldOptions options;
    options.backend = std::get<0>(GetParam());
    run_ranks(std::get<1>(GetParam()), f, options);
  }
};
INSTANTIATE_TEST_SUITE_P(With, C10d,
                         testing::Combine(testing::Values("gloo", "shm"), testing::Values(2, 3)));

TEST_P(C10d, EveryOperation) {
  run([](World& world) {
    const auto group = make_process_group(world.world_group());
    const int n = world.size(), rank = world.rank();
    std::vector<at::Tensor> x{at::full({4}, rank + 1.0)};
    group->allreduce(x)->wait();
    EXPECT_EQ(x[0][3].item<double>(), n * (n + 1) / 2.0);
    c10d::AllreduceOptions most;
    most.reduceOp = c10d::ReduceOp::MAX;
    std::vector<at::Tensor> y{at::full({4}, rank)};
    group->allreduce(y, most)->wait();
    EXPECT_EQ(y[0][0].item<int>(), n - 1);

    c10d::BroadcastOptions from_last;
    from_last.rootRank = n - 1;
    std::vector<at::Tensor> b{at::full({3}, rank, at::kLong)};
    group->broadcast(b, from_last)->wait();
    EXPECT_EQ(b[0][2].item<int>(), n - 1);

    at::Tensor all = at::empty({2 * n}), mine = at::full({2}, rank, at::kFloat);
    group->_allgather_base(all, mine)->wait();
    EXPECT_TRUE(at::equal(all, at::arange(n, at::kFloat).repeat_interleave(2)));
    at::Tensor part = at::empty({2}), whole = at::arange(2 * n, at::kFloat);
    group->_reduce_scatter_base(part, whole)->wait();
    EXPECT_TRUE(at::equal(part, n * whole.narrow(0, 2 * rank, 2)));
    at::Tensor exchanged = at::empty({n}), sent = at::full({n}, rank, at::kFloat);
    std::vector<int64_t> equal_parts;
    group->alltoall_base(exchanged, sent, equal_parts, equal_parts)->wait();
    EXPECT_TRUE(at::equal(exchanged, at::arange(n, at::kFloat)));

    std::vector<at::Tensor> out{at::full({2}, rank)}, in{at::empty({2}, at::kLong)};
    const auto sending = group->send(out, (rank + 1) % n, 0);
    group->recv(in, (rank + n - 1) % n, 0)->wait();
    sending->wait();
    EXPECT_EQ(in[0][1].item<int>(), (rank + n - 1) % n);
    group->barrier()->wait();
  });
}

// Two layers and the mean squared error over samples 0 .. 11.
struct Model {
  std::vector<at::Tensor> params{at::linspace(-1, 1, 20).view({4, 5}).requires_grad_(),
                                 at::linspace(0.5, -0.5, 5).requires_grad_(),
                                 at::linspace(-2, 1, 5).view({5, 1}).requires_grad_()};
  at::Tensor forward(int64_t begin, int64_t end) const {
    const at::Tensor x = at::arange(12 * 4, at::kFloat).view({12, 4}).sin().slice(0, begin, end);
    return (x.mm(params[0]) + params[1]).tanh().mm(params[2]);
  }
  static at::Tensor loss(const at::Tensor& y) { return (y - 1).square().mean(); }
};

// Equal shares, so the mean of the ranks' gradients is that of the whole batch. Buckets of a few
// bytes: several all-reduces behind one backward.
TEST_P(C10d, TorchsReducerEqualsOneProcess) {
  const Model single;
  Model::loss(single.forward(0, 12)).backward();
  run([&](World& world) {
    const Model model;
    const auto group = make_process_group(world.world_group());
    const std::vector<std::vector<size_t>> buckets{{2}, {1}, {0}};
    c10d::Reducer reducer(model.params, buckets, group, {false, false, false}, 64, false, false, {},
                          64, false, false, {});
    const int64_t share = 12 / world.size();
    for (int step = 0; step < 3; ++step) {
      for (const at::Tensor& p : model.params) p.mutable_grad() = at::Tensor();
      reducer.prepare_for_forward();
      if (reducer.should_rebuild_buckets()) reducer.rebuild_buckets();
      const at::Tensor y = model.forward(share * world.rank(), share * (world.rank() + 1));
      reducer.prepare_for_backward({y});
      Model::loss(y).backward();
      for (size_t i = 0; i < model.params.size(); ++i) {
        EXPECT_TRUE(at::allclose(model.params[i].grad(), single.params[i].grad(), 1e-5, 1e-7))
            << "step " << step << ", parameter " << i;
      }
    }
  });
}

TEST_P(C10d, AWorkThrowsTheErrorThatNamesTheRank) {
  EXPECT_THROW(run([](World& world) {
                 if (world.rank() == 1) throw run_error("broken");
                 const auto group = make_process_group(world.world_group());
                 std::vector<at::Tensor> x{at::ones({4})};
                 try {
                   group->allreduce(x)->wait();
                   ADD_FAILURE() << "no error";
                 } catch (const Error& e) {
                   EXPECT_THAT(e.what(), HasSubstr("rank 1 (host "));
                   throw;
                 }
               }),
               Error);
}

}  // namespace
}  // namespace trireme::comm
