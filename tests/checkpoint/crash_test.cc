// A crash, and a full disk, at every system call of a save.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "tests/checkpoint/run.h"
#include "trireme/base/error.h"
#include "trireme/checkpoint/folder.h"

namespace trireme::checkpoint {
namespace {

using ::testing::HasSubstr;
using testing::TempDir;
using testing::TinyRun;

constexpr int kCrashed = 9, kFinished = 0;

// In a process of its own: saves step 2 and dies before its `call`-th file operation.
int save_and_crash(TinyRun& run, const std::string& dir, int call) {
  const pid_t child = fork();
  if (child == 0) {
    int left = call;
    set_file_fault([&left](FileStep, const std::string&) {
      if (left-- == 0) _exit(kCrashed);
      return 0;
    });
    run.save(dir, {{"f1", 2.0}});
    Retention last_only;
    last_only.keep = 1;
    retain(dir, last_only);
    _exit(kFinished);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(Crash, AtAnyCallLeavesTheNewestCompleteCheckpointLoadable) {
  int call = 0, old_ones = 0, new_ones = 0;
  for (;; ++call) {
    ASSERT_LT(call, 200);
    const TempDir dir;
    TinyRun run(1);
    run.step();
    run.save(dir.path());
    TinyRun before(1);
    before.step();
    run.step();
    const int code = save_and_crash(run, dir.path(), call);
    ASSERT_TRUE(code == kCrashed || code == kFinished) << code;

    const Opened opened = open_for_resume(dir.path());
    TinyRun loaded(5);
    load(opened.path, opened.manifest, loaded.tensors());
    testing::expect_same_bits(loaded, opened.manifest.run.step == 1 ? before : run);
    (opened.manifest.run.step == 1 ? old_ones : new_ones) += 1;

    sweep(dir.path());
    for (const std::string& name : list_dir(dir.path())) {
      EXPECT_TRUE(name.starts_with("step-")) << name << " after a crash at call " << call;
    }
    run.save(dir.path());  // and the run goes on
    EXPECT_EQ(open_for_resume(dir.path()).manifest.run.step, 2);
    if (code == kFinished) break;
  }
  // Four files of several calls each, then the commit: most crashes come before it, some after.
  EXPECT_GT(call, 15);
  EXPECT_GT(old_ones, 10);
  EXPECT_GE(new_ones, 2);
}

TEST(DiskFull, AtAnyCallIsAnErrorThatNamesThePathAndChangesNothing) {
  int call = 0;
  for (;; ++call) {
    ASSERT_LT(call, 200);
    const TempDir dir;
    TinyRun run(1);
    run.step();
    run.save(dir.path());
    run.step();
    int left = call;
    std::string at;
    set_file_fault([&](FileStep step, const std::string& path) {
      if (left-- != 0 || step == FileStep::kSyncDir) return 0;
      at = path;
      return ENOSPC;
    });
    std::string message;
    try {
      run.save(dir.path());
    } catch (const Error& error) {
      message = error.what();
      EXPECT_EQ(error.kind(), ErrorKind::kRun);
    }
    set_file_fault({});
    if (at.empty()) {
      if (left >= 0) break;  // past the last call
      continue;              // a call that cannot fail so
    }
    EXPECT_THAT(message, HasSubstr("step-00000002")) << at;
    EXPECT_THAT(message, HasSubstr("No space left on device")) << at;
    EXPECT_EQ(list_dir(dir.path()), std::vector<std::string>{"step-00000001"}) << at;
    EXPECT_EQ(open_for_resume(dir.path()).manifest.run.step, 1);
  }
  EXPECT_GT(call, 15);
}

}  // namespace
}  // namespace trireme::checkpoint
