// The framing; that `tensorboard` reads the files is tested beside it (tests/interop).
#include "trireme/train/tensorboard.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <filesystem>

#include "tests/checkpoint/run.h"
#include "trireme/base/error.h"
#include "trireme/base/files.h"

namespace trireme::train {
namespace {

using testing::TempDir;

TEST(Crc32c, HasTheValuesOfRfc3720) {
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAU);
  EXPECT_EQ(crc32c(std::string(32, '\xFF')), 0x62A8AB43U);
  std::string rising, falling;
  for (int i = 0; i < 32; ++i) {
    rising += static_cast<char>(i);
    falling += static_cast<char>(31 - i);
  }
  EXPECT_EQ(crc32c(rising), 0x46DD794EU);
  EXPECT_EQ(crc32c(falling), 0x113FDB5CU);
}

template <class T>
T read_at(const std::string& bytes, size_t at) {
  T value{};
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

uint32_t unmasked(uint32_t masked) {
  return std::rotl(masked - 0xA282EAD8U, 15);
}

// The records of the only file in `dir`, each checked.
std::vector<std::string> records(const std::string& dir) {
  std::vector<std::string> out;
  std::string bytes;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    EXPECT_TRUE(bytes.empty());
    EXPECT_EQ(entry.path().filename().string().find("events.out.tfevents."), 0U);
    bytes = read_file(entry.path());
  }
  for (size_t at = 0; at < bytes.size();) {
    const auto length = read_at<uint64_t>(bytes, at);
    EXPECT_EQ(unmasked(read_at<uint32_t>(bytes, at + 8)), crc32c(bytes.substr(at, 8)));
    out.push_back(bytes.substr(at + 12, length));
    EXPECT_EQ(unmasked(read_at<uint32_t>(bytes, at + 12 + length)), crc32c(out.back()));
    at += 16 + length;
  }
  return out;
}

TEST(TensorboardWriter, FramesEveryRecord) {
  const TempDir dir;
  {
    TensorboardWriter board(dir.file("tb"), 0);
    board.add(1, {{"train/loss", 0.5}, {"train/lr", 1e-4}});
    board.add(300, {{"train/loss", 0.25}});
  }
  const std::vector<std::string> found = records(dir.file("tb"));
  ASSERT_EQ(found.size(), 3U);
  EXPECT_NE(found[0].find("brain.Event:2"), std::string::npos);
  EXPECT_NE(found[1].find("train/loss"), std::string::npos);
  EXPECT_NE(found[1].find("train/lr"), std::string::npos);
  EXPECT_EQ(found[2].find("train/lr"), std::string::npos);
}

TEST(TensorboardWriter, SaysWhenItCannotWrite) {
  const TempDir dir;
  write_file_atomic(dir.file("file"), "");
  EXPECT_THROW(TensorboardWriter(dir.file("file"), 0), Error);
}

}  // namespace
}  // namespace trireme::train
