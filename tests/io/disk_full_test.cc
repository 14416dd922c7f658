// A disk that fills up, or fails in any other step: a run_error that names the file, and nothing
// left behind.
#include <sys/mount.h>
#include <sys/resource.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <iostream>

#include "tests/io/test_files.h"
#include "trireme/base/json.h"
#include "trireme/io/hf_folder.h"

namespace trireme::io {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::int64_t kBytes = 8 << 20;

void write_file(const std::string& path) {
  SafetensorsWriter writer(path, {{"w", Dtype::kU8, {kBytes}}});
  const std::string piece(kBytes / 16, 'x');
  for (int i = 0; i < 16; ++i) writer.write("w", bytes_of(piece));
  writer.commit();
}

void write_model(const std::string& path) {
  HfFolderWriter writer(path, Json::object(), {{"w", Dtype::kU8, {2}}, {"v", Dtype::kU8, {2}}},
                        {.shards = {.max_shard_bytes = 2}});
  writer.write("w", bytes_of("ww"));
  writer.write("v", bytes_of("vv"));
  writer.commit();
}

TEST(DiskFull, LimitOnTheSizeOfAFile) {
  const TempDir dir;
  const std::string path = dir.file("m.safetensors");
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit limit{kBytes / 2, before.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  const std::string message = run_error_of([&] { write_file(path); });
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(message, path + ": writing failed: File too large");
  EXPECT_THAT(list_dir(dir.path()), IsEmpty());
}

TEST(DiskFull, RealFileSystemWithoutSpace) {
  const TempDir dir;
  const std::string mount_point = dir.file("small");
  ensure_dir(mount_point);
  if (::mount("tmpfs", mount_point.c_str(), "tmpfs", 0, "size=1m") != 0) {
    GTEST_SKIP() << "a small tmpfs cannot be mounted here: " << std::strerror(errno);
  }
  const std::string message = run_error_of([&] { write_file(mount_point + "/m.safetensors"); });
  const std::vector<std::string> left = list_dir(mount_point);
  ASSERT_EQ(::umount(mount_point.c_str()), 0);
  EXPECT_EQ(message, mount_point + "/m.safetensors: writing failed: No space left on device");
  EXPECT_THAT(left, IsEmpty());
}

// Fails the n-th step of a write, for every n until none fails any more.
template <class Write>
int steps_until_written(const std::string& path, const Write& write, const std::string& folder) {
  for (int failing = 0;; ++failing) {
    int step = 0;
    bool failed = false;
    set_file_fault([&](FileStep, const std::string&) {
      if (step++ != failing) return 0;
      failed = true;
      return ENOSPC;
    });
    std::string message;
    try {
      write(path);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kRun);
      message = error.what();
    }
    set_file_fault({});
    if (!failed) {
      EXPECT_EQ(message, "");
      return failing;
    }
    EXPECT_THAT(message, HasSubstr("No space left on device"));
    EXPECT_THAT(message, HasSubstr(folder));
    // The last step is the fsync of the folder behind the rename: whole, but perhaps not durable.
    if (file_exists(path) || dir_exists(path)) {
      std::filesystem::remove_all(path);
    }
    EXPECT_THAT(list_dir(folder), IsEmpty()) << "step " << failing;
  }
}

TEST(DiskFull, EveryStepOfAFile) {
  const TempDir dir;
  const std::string path = dir.file("m.safetensors");
  EXPECT_GE(steps_until_written(path, write_file, dir.path()), 5);
  EXPECT_EQ(SafetensorsFile(path).view("w").bytes.size(), kBytes);
}

TEST(DiskFull, EveryStepOfAModelFolder) {
  const TempDir dir;
  const std::string path = dir.file("model");
  // 4 files of 5 steps each, the folder's own fsync and rename.
  EXPECT_GE(steps_until_written(path, write_model, dir.path()), 22);
  EXPECT_EQ(text_of(HfFolder(path).open_tensors()->view("v").bytes), "vv");
}

}  // namespace
}  // namespace trireme::io
