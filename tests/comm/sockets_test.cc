#include "trireme/comm/sockets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "trireme/base/error.h"
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

}  // namespace
}  // namespace trireme::comm
