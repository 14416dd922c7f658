#include "trireme/base/log.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <regex>
#include <string>
#include <thread>
#include <vector>

#include "tests/base/test_util.h"
#include "trireme/base/files.h"

namespace trireme {
namespace {

class Log : public testing::Test {
 protected:
  void TearDown() override { log::set_rank(-1); }
  template <class Run>
  static std::string captured(Run run) {
    testing::internal::CaptureStderr();
    run();
    return testing::internal::GetCapturedStderr();
  }
};

const char kTime[] = R"(\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\] )";

TEST_F(Log, LineHasTimeLevelAndMessage) {
  const std::string text = captured([] { log_info(cat("step ", 3, " done {}%")); });
  EXPECT_TRUE(
      std::regex_match(text, std::regex(kTime + std::string(R"(\[info\] step 3 done \{\}%\n)"))))
      << text;
}

TEST_F(Log, LineHasTheRankOnceSet) {
  log::set_rank(3);
  const std::string text = captured([] { log_error("x"); });
  EXPECT_TRUE(
      std::regex_match(text, std::regex(kTime + std::string(R"(\[rank 3\] \[error\] x\n)"))))
      << text;
  log::set_rank(-1);
  EXPECT_EQ(captured([] { log_error("x"); }).find("rank"), std::string::npos);
}

TEST_F(Log, LinesOfThreadsStayWhole) {
  const std::string text = captured([] {
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([] {
        for (int i = 0; i < 100; ++i) {
          log_info("whole line");
          if (i % 10 == 0) log::set_rank(i);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  });
  const std::regex line(kTime + std::string(R"((\[rank \d+\] )?\[info\] whole line)"));
  std::istringstream lines(text);
  int count = 0;
  for (std::string one; std::getline(lines, one); ++count)
    EXPECT_TRUE(std::regex_match(one, line)) << one;
  EXPECT_EQ(count, 400);
}

// The environment is read once a process, so each case has its own.
std::string stderr_with_environment(const std::string& value) {
  const test::TempDir dir;
  const std::string self = "/proc/self/exe";
  const std::string exe = std::filesystem::read_symlink(self).string();
  const std::string command = "TRIREME_LOG='" + value + "' '" + exe +
                              "' --gtest_filter=Log.SaysAllLevels >/dev/null 2>" + (dir / "err");
  EXPECT_EQ(std::system(command.c_str()), 0);
  return read_file(dir / "err");
}

// What those processes run.
TEST_F(Log, SaysAllLevels) {
  const std::string text =
      captured([] { log_debug("m0"), log_info("m1"), log_warn("m2"), log_error("m3"); });
  std::cerr << text;
  EXPECT_NE(text.find("m3"), std::string::npos) << "the error level is never hidden";
}

TEST_F(Log, TheEnvironmentHidesWhatIsBelowItsLevel) {
  const std::vector<std::string> levels = {"debug", "info", "warn", "error"};
  for (size_t level = 0; level < levels.size(); ++level) {
    const std::string text = stderr_with_environment(levels[level]);
    for (size_t message = 0; message < levels.size(); ++message) {
      const bool shown = text.find("m" + std::to_string(message)) != std::string::npos;
      EXPECT_EQ(shown, message >= level) << text;
    }
  }
}

TEST_F(Log, ALevelThatIsNoneIsSaidAndInfoTaken) {
  EXPECT_EQ(stderr_with_environment("").find("m0"), std::string::npos);
  const std::string text = stderr_with_environment("wran");
  EXPECT_NE(text.find("TRIREME_LOG: unknown log level 'wran'; did you mean 'warn'? (debug, info, "
                      "warn or error)"),
            std::string::npos)
      << text;
  EXPECT_EQ(text.find("m0"), std::string::npos) << text;
  EXPECT_NE(text.find("m1"), std::string::npos) << text;
}

}  // namespace
}  // namespace trireme
