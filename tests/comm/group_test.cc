// The operations' values, on 1 to 4 ranks as threads; what happens when one of them fails or is
// late.
#include "trireme/comm/group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <functional>
#include <thread>
#include <torch/csrc/distributed/c10d/HashStore.hpp>

#include "trireme/base/error.h"
#include "trireme/comm/testing.h"

namespace trireme::comm {
namespace {

using testing::AllOf;
using testing::HasSubstr;

struct Ranks {
  int count;
  const char* backend;
};
class Groups : public testing::TestWithParam<Ranks> {
 protected:
  void run(const std::function<void(World&)>& f) {
    WorldOptions options;
    options.backend = GetParam().backend;
    run_ranks(GetParam().count, f, options);
  }
};
INSTANTIATE_TEST_SUITE_P(All, Groups,
                         testing::Values(Ranks{1, "auto"}, Ranks{2, "gloo"}, Ranks{3, "gloo"},
                                         Ranks{4, "gloo"}, Ranks{2, "shm"}, Ranks{3, "shm"},
                                         Ranks{4, "shm"}),
                         [](const auto& info) {
                           return cat(info.param.backend, info.param.count);
                         });

const std::vector<at::ScalarType> kReduced{at::kFloat, at::kDouble, at::kBFloat16, at::kInt,
                                           at::kLong};

at::Tensor values(int rank, int64_t n, at::ScalarType dtype) {
  return (at::arange(n, at::kLong).remainder(7) + 10 * rank).to(dtype);
}

TEST_P(Groups, AllReduceOfEveryDtypeAndOp) {
  run([](World& world) {
    const int n = world.size();
    for (const at::ScalarType dtype : kReduced) {
      at::Tensor sum = at::zeros({1003}, dtype);
      for (int r = 0; r < n; ++r) {
        sum += values(r, 1003, dtype);
      }
      at::Tensor x = values(world.rank(), 1003, dtype);
      world.world_group().all_reduce(x, ReduceOp::kSum, "sum")->wait();
      EXPECT_TRUE(at::equal(x, sum)) << dtype;
      x = values(world.rank(), 1003, dtype);
      world.world_group().all_reduce(x, ReduceOp::kMax, "max")->wait();
      EXPECT_TRUE(at::equal(x, values(n - 1, 1003, dtype))) << dtype;
      x = values(world.rank(), 1003, dtype);
      world.world_group().all_reduce(x, ReduceOp::kMin, "min")->wait();
      EXPECT_TRUE(at::equal(x, values(0, 1003, dtype))) << dtype;
      if (at::isFloatingType(dtype)) {
        x = values(world.rank(), 1003, dtype);
        world.world_group().all_reduce(x, ReduceOp::kAvg, "avg")->wait();
        EXPECT_TRUE(at::equal(x, sum / n)) << dtype;
      }
    }
  });
}

TEST_P(Groups, ReductionsAreBitwiseEqualOnAllRanks) {
  run([](World& world) {
    at::Tensor x = at::arange(4099, at::kFloat).mul(0.1 + world.rank()).sin();
    world.world_group().all_reduce(x, ReduceOp::kSum, "x")->wait();
    const at::Tensor all = at::empty({world.size(), 4099});
    world.world_group().all_gather(all, x, "all")->wait();
    for (int r = 0; r < world.size(); ++r) {
      EXPECT_TRUE(at::equal(all[r], x));
    }
  });
}

TEST_P(Groups, NonContiguousViewsAndEmptyTensors) {
  run([](World& world) {
    at::Tensor base = at::zeros({6, 4});
    at::Tensor column = base.select(1, 2);
    column.fill_(world.rank() + 1);
    world.world_group().all_reduce(column, ReduceOp::kSum, "column")->wait();
    const double total = world.size() * (world.size() + 1) / 2.0;
    EXPECT_TRUE(at::equal(column, at::full({6}, total)));
    EXPECT_EQ(base.sum().item<double>(), 6 * total);
    at::Tensor nothing = at::empty({0});
    world.world_group().all_reduce(nothing, ReduceOp::kSum, "nothing")->wait();
  });
}

TEST_P(Groups, LeavesThatRequireGradientsCanBeBroadcast) {
  run([](World& world) {
    at::Tensor weight = at::full({5}, 1.0 + world.rank()).requires_grad_();
    world.world_group().broadcast(weight, world.size() - 1, "weight")->wait();
    EXPECT_TRUE(at::equal(weight, at::full({5}, static_cast<double>(world.size()))));
    EXPECT_TRUE(weight.requires_grad());
  });
}

TEST_P(Groups, BroadcastAndAllGatherOfAnyDtype) {
  run([](World& world) {
    for (const at::ScalarType dtype :
         {at::kFloat, at::kBool, at::kHalf, at::kBFloat16, at::kShort}) {
      at::Tensor x = values(world.rank(), 11, at::kLong).remainder(2).to(dtype);
      const at::Tensor root = values(world.size() - 1, 11, at::kLong).remainder(2).to(dtype);
      world.world_group().broadcast(x, world.size() - 1, "x")->wait();
      EXPECT_TRUE(at::equal(x, root));
      at::Tensor out = at::empty({world.size() * 11}, dtype);
      world.world_group().all_gather(out, x, "out")->wait();
      EXPECT_TRUE(at::equal(out, root.repeat({world.size()})));
    }
  });
}

TEST_P(Groups, ReduceScatter) {
  run([](World& world) {
    const int n = world.size();
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kLong}) {
      at::Tensor sum = at::zeros({5 * n}, dtype);
      for (int r = 0; r < n; ++r) {
        sum += values(r, 5 * n, dtype);
      }
      const at::Tensor in = values(world.rank(), 5 * n, dtype);
      at::Tensor out = at::empty({5}, dtype);
      world.world_group().reduce_scatter(out, in, ReduceOp::kSum, "rs")->wait();
      EXPECT_TRUE(at::equal(out, sum.narrow(0, 5 * world.rank(), 5))) << dtype;
      EXPECT_TRUE(at::equal(in, values(world.rank(), 5 * n, dtype))) << "the input is left alone";
    }
  });
}

TEST_P(Groups, SendAndReceiveRoundTheRing) {
  run([](World& world) {
    const int n = world.size();
    if (n == 1) {
      EXPECT_THROW(world.world_group().send(at::ones({1}), 0, "x"), Error);
      return;
    }
    const int next = (world.rank() + 1) % n;
    const int before = (world.rank() + n - 1) % n;
    // Two messages in order, and the buffer may be reused at once: the operation has its own copy.
    at::Tensor mine = at::full({3}, world.rank(), at::kFloat);
    const WorkPtr first = world.world_group().send(mine, next, "first");
    mine.add_(100);
    const WorkPtr second = world.world_group().send(mine, next, "second");
    at::Tensor got = at::empty({3});
    world.world_group().recv(got, before, "first")->wait();
    EXPECT_EQ(got[2].item<int>(), before);
    world.world_group().recv(got, before, "second")->wait();
    EXPECT_EQ(got[2].item<int>(), before + 100);
    first->wait();
    second->wait();
  });
}

TEST_P(Groups, GathersStringsOfAnyLength) {
  run([](World& world) {
    const auto text = [](int r) {
      return std::string(static_cast<size_t>(r) * 3, 'a') + std::string("\0b", 2);
    };
    const auto all = world.world_group().all_gather_bytes(text(world.rank()), "names");
    ASSERT_EQ(all.size(), static_cast<size_t>(world.size()));
    for (int r = 0; r < world.size(); ++r) {
      EXPECT_EQ(all[static_cast<size_t>(r)], text(r));
    }
    for (const std::string& s : world.world_group().all_gather_bytes("", "nothing")) {
      EXPECT_TRUE(s.empty());
    }
  });
}

TEST_P(Groups, ManyOperationsAtOnceWaitedForInAnyOrder) {
  run([](World& world) {
    std::vector<at::Tensor> buffers;
    std::vector<WorkPtr> works;
    for (int i = 0; i < 20; ++i) {
      buffers.push_back(at::full({5000}, i + world.rank()));
      works.push_back(world.world_group().all_reduce(buffers.back(), ReduceOp::kSum, "many"));
    }
    const double ranks = world.size() * (world.size() - 1) / 2.0;
    for (int i = 19; i >= 0; --i) {
      works[static_cast<size_t>(i)]->wait();
      EXPECT_TRUE(works[static_cast<size_t>(i)]->done());
      works[static_cast<size_t>(i)]->wait();  // may be called again
      EXPECT_EQ(buffers[static_cast<size_t>(i)][4999].item<double>(), i * world.size() + ranks);
    }
    world.world_group().barrier("end");
  });
}

TEST_P(Groups, AllToAll) {
  run([](World& world) {
    const int n = world.size();
    for (const int64_t part : {1, 5, 100000}) {
      const at::Tensor in = at::arange(n * part, at::kInt) + 1000000 * world.rank();
      at::Tensor out = at::empty({n * part}, at::kInt);
      world.world_group().all_to_all(out, in, "x")->wait();
      for (int r = 0; r < n; ++r) {
        EXPECT_TRUE(at::equal(
            out.narrow(0, r * part, part),
            at::arange(world.rank() * part, (world.rank() + 1) * part, at::kInt) + 1000000 * r));
      }
    }
  });
}

TEST_P(Groups, ADroppedWorkStillTakesPlaceForTheOthers) {
  run([](World& world) {
    for (const int64_t n : {10, 100000}) {
      at::Tensor x = at::ones({n});
      const WorkPtr work = world.world_group().all_reduce(x, ReduceOp::kSum, "dropped by one");
      if (world.rank() > 0) {
        work->wait();
        EXPECT_TRUE(at::equal(x, at::full({n}, static_cast<double>(world.size()))));
      }
    }
    world.world_group().barrier("after");
  });
}

TEST(Group, SubgroupsBesideTheWorld) {
  run_ranks(4, [](World& world) {
    const bool odd = world.rank() % 2 == 1;
    const auto group = world.make_group(odd ? std::vector<int>{1, 3} : std::vector<int>{0, 2},
                                        odd ? "odd" : "even");
    EXPECT_EQ(group->size(), 2);
    EXPECT_EQ(group->rank(), world.rank() / 2);
    at::Tensor x = at::full({10}, world.rank());
    group->all_reduce(x, ReduceOp::kSum, "half")->wait();
    EXPECT_EQ(x[9].item<int>(), odd ? 4 : 2);
    EXPECT_THROW(world.make_group({world.rank()}, odd ? "odd" : "even"), Error);
    world.world_group().barrier("end");
  });
}

TEST(Group, WrongSizesAreRefusedByName) {
  run_ranks(1, [](World&) {});
  run_ranks(2, [](World& world) {
    try {
      world.world_group().all_gather(at::empty({5}), at::empty({2}), "odd one");
      ADD_FAILURE() << "no error";
    } catch (const Error& e) {
      EXPECT_THAT(e.what(),
                  AllOf(HasSubstr("odd one"), HasSubstr("2 parts of 2 Float do not make 5 Float")));
    }
    EXPECT_THROW(world.world_group().all_reduce(at::ones({2}, at::kLong), ReduceOp::kAvg, "x"),
                 Error);
    EXPECT_THROW(world.world_group().broadcast(at::ones({2}), 2, "x"), Error);
  });
}

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(e.exit_code(), 1);
    return e.what();
  }
  return "no error";
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

TEST(Faults, ARankThatFailsStopsTheOthersWithItsName) {
  const auto start = std::chrono::steady_clock::now();
  std::atomic<int> named = 0;
  EXPECT_EQ(message_of([&] {
              run_ranks(4, [&](World& world) {
                if (world.rank() == 2) {
                  throw run_error("the loss is NaN");
                }
                at::Tensor x = at::ones({10});
                const std::string message = message_of([&] {
                  for (int i = 0; i < 3; ++i) {
                    world.world_group().all_reduce(x, ReduceOp::kSum, "loss")->wait();
                  }
                });
                EXPECT_THAT(message, AllOf(HasSubstr("rank 2 (host "),
                                           HasSubstr("stopped with an error of its own"),
                                           HasSubstr("all_reduce 'loss' (#1 of world")));
                ++named;
                throw run_error("survivor");
              });
            }),
            "the loss is NaN");
  EXPECT_EQ(named, 3);
  EXPECT_LT(seconds_since(start), 5);
}

TEST(Faults, AWriteToADeadPeerDoesNotKill) {
  std::signal(SIGPIPE, SIG_DFL);
  run_ranks(2, [](World&) {});
  struct sigaction current {};
  sigaction(SIGPIPE, nullptr, &current);
  EXPECT_EQ(current.sa_handler, SIG_IGN);
}

TEST(Faults, ALateRankIsNamedAtTheDeadlineByAll) {
  WorldOptions options;
  options.timeout_s = 0.5;
  std::atomic<int> named = 0;
  EXPECT_THROW(run_ranks(
                   3,
                   [&](World& world) {
                     at::Tensor x = at::ones({10});
                     world.world_group().all_reduce(x, ReduceOp::kSum, "first")->wait();
                     if (world.rank() == 1) {
                       std::this_thread::sleep_for(std::chrono::milliseconds(2500));
                     }
                     const auto start = std::chrono::steady_clock::now();
                     const std::string message = message_of([&] {
                       world.world_group().all_reduce(x, ReduceOp::kSum, "second")->wait();
                     });
                     EXPECT_THAT(message, AllOf(HasSubstr("rank 1 (host "),
                                                HasSubstr("has not reached all_reduce #2"),
                                                HasSubstr("all_reduce 'first' (#1 of world")));
                     EXPECT_LT(seconds_since(start), 1.5);
                     named += 1;
                     throw run_error("survivor");
                   },
                   options),
               Error);
  EXPECT_EQ(named, 3) << "the late rank learns that it is the one";
}

TEST(Faults, APatientBarrierWaitsLongerButNotForTheDead) {
  WorldOptions options;
  options.timeout_s = 0.3;
  run_ranks(
      2,
      [](World& world) {
        if (world.rank() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(900));
        world.world_group().patient_barrier("saved");
      },
      options);
  options.timeout_s = 60;
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THROW(run_ranks(
                   2,
                   [](World& world) {
                     if (world.rank() == 0) throw run_error("the disk is full");
                     EXPECT_THAT(message_of([&] { world.world_group().patient_barrier("saved"); }),
                                 AllOf(HasSubstr("rank 0 (host "), HasSubstr("barrier 'saved'")));
                   },
                   options),
               Error);
  EXPECT_LT(seconds_since(start), 5);
}

TEST(Faults, APeerThatNeverSendsIsNamed) {
  WorldOptions options;
  options.timeout_s = 0.5;
  std::atomic<int> named = 0;
  EXPECT_THROW(run_ranks(
                   3,
                   [&](World& world) {
                     if (world.rank() == 0) {
                       at::Tensor x = at::ones({10});
                       EXPECT_THAT(message_of([&] {
                                     world.world_group().recv(x, 2, "activations")->wait();
                                   }),
                                   AllOf(HasSubstr("rank 2 (host "),
                                         HasSubstr("recv 'activations' (#1 of world from rank 2")));
                       EXPECT_TRUE(at::equal(x, at::ones({10})));
                       named += 1;
                       throw run_error("survivor");
                     }
                     std::this_thread::sleep_for(std::chrono::milliseconds(1500));
                   },
                   options),
               Error);
  EXPECT_EQ(named, 1);
}

TEST(Faults, AReceiverIsWokenWhenAThirdRankFails) {
  const auto start = std::chrono::steady_clock::now();
  std::atomic<int> named = 0;
  EXPECT_THROW(run_ranks(4,
                         [&](World& world) {
                           if (world.rank() == 2) {
                             throw run_error("broken");
                           }
                           if (world.rank() == 0) {
                             EXPECT_THAT(
                                 message_of([&] {
                                   world.world_group().recv(at::empty({10}), 1, "x")->wait();
                                 }),
                                 HasSubstr("rank 2 (host "));
                             named += 1;
                             throw run_error("survivor");
                           }
                           std::this_thread::sleep_for(std::chrono::milliseconds(1500));
                         }),
               Error);
  EXPECT_EQ(named, 1);
  EXPECT_LT(seconds_since(start), 5);
}

TEST(Faults, MissingRanksAreNamed) {
  WorldOptions options;
  options.join_timeout_s = 0.3;
  RankEnv env;
  env.size = 3;
  EXPECT_THAT(
      message_of([&] { World::join(c10::make_intrusive<c10d::HashStore>(), env, options); }),
      HasSubstr("2 of 3 ranks did not join within 0.3 s: rank 1, 2"));
}

}  // namespace
}  // namespace trireme::comm
