#include "trireme/plan/machine.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "tests/plan/even_machine.h"
#include "trireme/base/error.h"
#include "trireme/base/files.h"

namespace trireme::plan {
namespace {

using testing::even_machine;
using testing::straight;

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInput);
    return error.what();
  }
  return "";
}

TEST(Curve, BetweenItsPointsInLogarithmsBehindThemInProportion) {
  const Curve curve{.size = {100, 10000}, .seconds = {1, 100}};
  EXPECT_DOUBLE_EQ(curve.at(100), 1);
  EXPECT_NEAR(curve.at(1000), 10, 1e-9);
  EXPECT_DOUBLE_EQ(curve.at(10000), 100);
  EXPECT_DOUBLE_EQ(curve.at(30000), 300);
  EXPECT_DOUBLE_EQ(curve.at(10), 1);  // latency
  EXPECT_DOUBLE_EQ(curve.at(0), 0);
}

TEST(ProductGrid, RatesOfItsPointsAndBetween) {
  ProductGrid grid;
  grid.rows = {64, 1024};
  grid.in = {64, 1024};
  grid.out = {64, 1024};
  grid.gflops = {1, 2, 4, 8, 16, 32, 64, 128};
  const auto rate = [&](int64_t rows, int64_t in, int64_t out) {
    return 2e-9 * static_cast<double>(rows * in * out) / grid.seconds(rows, in, out);
  };
  EXPECT_NEAR(rate(64, 64, 64), 1, 1e-9);
  EXPECT_NEAR(rate(64, 64, 1024), 2, 1e-9);
  EXPECT_NEAR(rate(64, 1024, 64), 4, 1e-9);
  EXPECT_NEAR(rate(1024, 64, 64), 16, 1e-9);
  EXPECT_NEAR(rate(1024, 1024, 1024), 128, 1e-9);
  EXPECT_NEAR(rate(256, 64, 64), 4, 1e-9);  // half way in logarithms: sqrt(1 * 16)
  EXPECT_NEAR(rate(8, 8, 8), 1, 1e-9);      // the border's
  EXPECT_NEAR(rate(4096, 4096, 50257), 128, 1e-9);
  EXPECT_EQ(grid.seconds(0, 64, 64), 0);
}

TEST(AttentionGrid, PairsOfOneHead) {
  AttentionGrid grid;
  grid.head_sizes = {32, 128};
  grid.lengths = {16, 64};
  grid.pair_ns = {4, 2, 16, 8};
  EXPECT_NEAR(grid.seconds(32, 16), 4e-9 * 256, 1e-15);
  EXPECT_NEAR(grid.seconds(64, 64), 4e-9 * 4096, 1e-15);  // between 2 and 8
  EXPECT_NEAR(grid.seconds(256, 64), 16e-9 * 4096, 1e-15);
}

TEST(Link, OtherNumbersOfRanksByAlphaAndBeta) {
  const Link link{.path = LinkPath::kArena,
                  .op = LinkOp::kAllReduce,
                  .ranks = 2,
                  .bytes = straight(1e-9, 1e-5)};
  EXPECT_NEAR(link.seconds(1e6, 2), 1.01e-3, 1e-9);
  EXPECT_EQ(link.seconds(1e6, 1), 0);
  const double alpha = link.alpha_s();
  EXPECT_NEAR(alpha, 1.1e-5, 1e-9);
  // Two rounds, and 2 (n - 1) / n of the bytes: 1.5 times as many as between two.
  EXPECT_NEAR(link.seconds(1e6, 4), 2 * alpha + 1.5 * (1.01e-3 - alpha), 1e-9);
  EXPECT_NEAR(link.bytes_per_s(), 1e9, 2e6);
}

TEST(Machine, TheRowOfAsManyThreads) {
  Machine machine = even_machine(8);
  machine.compute = {testing::even_rates(8, 1), testing::even_rates(1, 1),
                     testing::even_rates(1, 8)};
  EXPECT_EQ(machine.rates(8, 1).ranks, 8);
  EXPECT_EQ(machine.rates(7, 1).ranks, 8);
  EXPECT_EQ(machine.rates(1, 1).ranks, 1);
  EXPECT_EQ(machine.rates(1, 8).threads, 8);
  EXPECT_EQ(machine.rates(2, 4).threads, 8);
}

TEST(Machine, ComesBackFromItsJson) {
  const Machine machine = even_machine();
  const Json json = machine.to_json();
  const Machine back = machine_from_json(json, "machine");
  EXPECT_EQ(dump_json(back.to_json()), dump_json(json));
  EXPECT_EQ(back.links.size(), 15U);
  EXPECT_NEAR(back.rates(2, 1).of(Dtype::kBf16).product_s(Product::kMm, 100, 200, 300),
              2.0 * 100 * 200 * 300 / 200e9, 1e-12);
}

TEST(Machine, EveryFaultOfAFileIsNamed) {
  struct Case {
    std::function<void(Json&)> change;
    const char* message;
  };
  for (const Case& c : std::vector<Case>{
           {[](Json& j) { j["coers"] = 2; },
            "machine.json: unknown key 'coers'; did you mean 'cores'?"},
           {[](Json& j) { j.erase("cores"); }, "machine.json: key 'cores' is missing"},
           {[](Json& j) { j["cores"] = 0; }, "machine.json: cores: must be at least 1, not 0"},
           {[](Json& j) { j["compute"] = Json::array(); }, "machine.json: compute: is empty"},
           {[](Json& j) { j["compute"][1]["dtypes"]["bf16"]["products"]["mm"]["gflops"][3] = 0; },
            "machine.json: compute[1]: dtypes: bf16: products: mm: gflops: must be above 0, not 0"},
           {[](Json& j) { j["compute"][0]["dtypes"]["fp32"]["products"]["mm"]["gflops"].erase(0); },
            "machine.json: compute[0]: dtypes: fp32: products: mm: gflops: has 7 numbers, its axes "
            "make 8"},
           {[](Json& j) { j["compute"][0]["dtypes"]["fp32"]["products"]["mm"]["in"][1] = 64; },
            "machine.json: compute[0]: dtypes: fp32: products: mm: in: must be rising numbers of "
            "at least 1"},
           {[](Json& j) { j["links"][0]["op"] = "all_redcue"; },
            "machine.json: links[0]: op: 'all_redcue' is not known; did you mean 'all_reduce'?"},
           {[](Json& j) { j["links"][2]["ranks"] = 1; },
            "machine.json: links[2]: ranks: must be at least 2, not 1"}}) {
    Json json = even_machine().to_json();
    c.change(json);
    EXPECT_EQ(message_of([&] { machine_from_json(json, "machine.json"); }), c.message);
  }
}

TEST(Machine, AFileIsAReportOfTheBench) {
  const std::string file =
      (std::filesystem::temp_directory_path() / "trireme_machine_test.json").string();
  write_file_atomic(file, dump_json({{"command", "train"}, {"metrics", Json::object()}}));
  EXPECT_EQ(message_of([&] { read_machine(file); }),
            file +
                ": is no report of trireme bench machine; make one with trireme bench machine "
                "--report " +
                file);
  write_file_atomic(
      file, dump_json({{"command", "bench machine"}, {"metrics", even_machine().to_json()}}));
  EXPECT_EQ(read_machine(file).cores, 2);
  std::filesystem::remove(file);
}

TEST(Machine, ALinkThatWasNotMeasuredIsAnError) {
  Machine machine = even_machine();
  machine.links.clear();
  EXPECT_EQ(message_of([&] { machine.link(LinkPath::kNetwork, LinkOp::kSend); }),
            "the machine's file has no send over path 'network'; measure it with trireme bench "
            "machine --ranks 2 --report FILE");
}

}  // namespace
}  // namespace trireme::plan
