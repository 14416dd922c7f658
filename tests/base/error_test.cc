#include "trireme/base/error.h"

#include <gtest/gtest.h>

namespace trireme {
namespace {

TEST(Error, KindIsTheExitCode) {
  EXPECT_EQ(run_error("x").exit_code(), 1);
  EXPECT_EQ(input_error("x").exit_code(), 2);
  EXPECT_EQ(Error(ErrorKind::kInterrupted, "x").exit_code(), 3);
}

TEST(Error, JoinsItsParts) {
  const std::string path = "a.toml";
  EXPECT_STREQ(input_error(path, ":", 12, ": rate ", 0.5, " is ", 'x').what(),
               "a.toml:12: rate 0.5 is x");
  EXPECT_EQ(cat(), "");
}

TEST(Error, IsOneLineWhateverItSpeaksOf) {
  EXPECT_STREQ(input_error("a\nb\r\tc\x1B[31m\x7F").what(), "a b  c?[31m?");
  EXPECT_EQ(one_line("caf\xC3\xA9"), "caf\xC3\xA9");
}

TEST(Error, IsCaughtAsStandardException) {
  try {
    throw run_error("disk full");
  } catch (const std::exception& error) {
    EXPECT_STREQ(error.what(), "disk full");
  }
}

}  // namespace
}  // namespace trireme
