#include "trireme/comm/sockets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <thread>
#include <torch/csrc/distributed/c10d/HashStore.hpp>

#include "trireme/base/error.h"
#include "trireme/comm/time_limit.h"
#include "trireme/comm/world.h"

namespace trireme::comm {
namespace {

using testing::AllOf;
using testing::HasSubstr;

template <class F>
std::string input_error_of(const F& f) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(e.exit_code(), 2);
    return e.what();
  }
  return "no error";
}

TEST(Sockets, APortInUseIsNamedWithTheAdvice) {
  const Fd first = listen_on("127.0.0.1", 0, "x");
  const int port = local_port(first.get());
  EXPECT_THAT(
      input_error_of([&] { listen_on("127.0.0.1", port, "choose another"); }),
      AllOf(HasSubstr(std::to_string(port)), HasSubstr("in use"), HasSubstr("choose another")));
}

TEST(Sockets, AnAddressOfAnotherHost) {
  EXPECT_THAT(input_error_of([&] { listen_on("192.0.2.1", 0, "see comm.interface"); }),
              AllOf(HasSubstr("192.0.2.1"), HasSubstr("comm.interface")));
}

TEST(Sockets, ConnectsOrSaysNo) {
  Fd listener = listen_on("127.0.0.1", 0, "x");
  const int port = local_port(listener.get());
  EXPECT_TRUE(connect_to("127.0.0.1", port, std::chrono::milliseconds(1000)));
  listener = Fd();
  EXPECT_FALSE(connect_to("127.0.0.1", port, std::chrono::milliseconds(1000)));
}

// A host may call both ::1 and 127.0.0.1 localhost; the empty name means both everywhere.
TEST(Sockets, ConnectsToWhicheverAddressOfANameAnswers) {
  for (const char* address : {"127.0.0.1", "::1"}) {
    if (*address == ':' && !std::filesystem::exists("/proc/net/if_inet6")) continue;
    const Fd listener = listen_on(address, 0, "x");
    EXPECT_TRUE(connect_to("", local_port(listener.get()), std::chrono::milliseconds(1000)))
        << address;
  }
}

TEST(Sockets, ARoutableAddressIsNotLoopback) {
  const auto all = interfaces();
  const bool alone = std::all_of(all.begin(), all.end(), [](const Interface& i) {
    return is_loopback(i.address) || i.address.starts_with("fe80:");
  });
  EXPECT_EQ(is_loopback(routable_address()), alone) << routable_address();
  EXPECT_TRUE(is_loopback("localhost"));
  EXPECT_TRUE(is_loopback("127.0.1.1"));
  EXPECT_FALSE(is_loopback("10.0.0.1"));
}

TEST(TimeLimit, SaturatesAtWhatPollTakes) {
  constexpr std::chrono::milliseconds kMost{std::numeric_limits<int>::max()};
  EXPECT_EQ(to_ms(1.5), std::chrono::milliseconds(1500));
  EXPECT_EQ(to_ms(1e12), kMost);
  EXPECT_EQ(to_ms(std::numeric_limits<double>::infinity()), kMost);
}

TEST(Sockets, TheAddressTowardsLoopbackIsLoopback) {
  EXPECT_EQ(local_address_towards("127.0.0.1", 9), "127.0.0.1");
  EXPECT_THAT(input_error_of([] { local_address_towards("no-such-host.invalid", 9); }),
              HasSubstr("no-such-host.invalid"));
}

TEST(Sockets, InterfacesByName) {
  EXPECT_EQ(interface_address("lo"), "127.0.0.1");
  EXPECT_THAT(input_error_of([] { interface_address("eth77"); }),
              AllOf(HasSubstr("eth77"), HasSubstr("lo (127.0.0.1)")));
}

TEST(World, UnknownBackendIsAnInputError) {
  WorldOptions options;
  options.backend = "nccl";
  EXPECT_THAT(input_error_of([&] { World::from({}, options); }), HasSubstr("'nccl'"));
}

// A store at localhost says nothing of where the other ranks are; the local count does.
TEST(World, PublishesLoopbackOnlyWhenAllRanksAreKnownToBeHere) {
  for (const bool local_known : {false, true}) {
    const auto store = c10::make_intrusive<c10d::HashStore>();
    std::vector<std::thread> ranks;
    for (int rank = 0; rank < 2; ++rank) {
      ranks.emplace_back([&, rank] {
        RankEnv env;
        env.rank = env.local_rank = rank;
        env.size = env.local_size = 2;
        env.local_known = local_known;
        env.master_addr = "localhost";
        const auto world = World::join(store, env, {});
        const bool loopback = is_loopback(world->peers()[0].address);
        EXPECT_EQ(loopback, local_known || is_loopback(routable_address()));
      });
    }
    for (std::thread& rank : ranks) rank.join();
  }
}

}  // namespace
}  // namespace trireme::comm
