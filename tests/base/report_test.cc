#include "trireme/base/report.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "tests/base/test_util.h"
#include "trireme/base/files.h"
#include "trireme/base/version.h"

namespace trireme {
namespace {

TEST(Report, HasItsSevenMembersInOrder) {
  const Json json = Report("train").to_json();
  std::vector<std::string> keys;
  for (const auto& item : json.items()) keys.push_back(item.key());
  EXPECT_EQ(keys, (std::vector<std::string>{"command", "version", "commit", "config", "world",
                                            "metrics", "timings"}));
  EXPECT_EQ(json["command"], "train");
  EXPECT_EQ(json["metrics"], Json::object());
}

TEST(Report, IsWrittenSoThatLossesReadBackToTheSameBits) {
  const test::TempDir dir;
  Report report("train");
  const std::vector<double> losses = {0.1 + 0.2, 1.0 / 3, 5e-324, 11.090354888959125};
  report.metrics["loss"] = losses;
  report.metrics["bad"] = std::numeric_limits<double>::quiet_NaN();
  report.config["optim"]["lr"] = 3e-4;
  report.write(dir / "r.json");
  const Json back = read_json_file(dir / "r.json");
  EXPECT_EQ(back["metrics"]["loss"].get<std::vector<double>>(), losses);
  EXPECT_TRUE(back["metrics"]["bad"].is_null());
  EXPECT_EQ(back["config"]["optim"]["lr"], 3e-4);
  EXPECT_EQ(back["version"], version());
  EXPECT_EQ(read_file(dir / "r.json").back(), '\n');
}

TEST(Report, AnEmptyPathWritesNothingAndABadOneIsNamed) {
  Report("x").write("");
  EXPECT_EQ(test::run_error_of([] { Report("x").write("/no/such/folder/r.json"); }),
            "/no/such/folder/r.json: cannot be written: No such file or directory");
}

TEST(Version, IsThatOfTheBuild) {
  const std::string number = version();
  EXPECT_EQ(std::count(number.begin(), number.end(), '.'), 2);
  EXPECT_FALSE(commit().empty());
}

}  // namespace
}  // namespace trireme
