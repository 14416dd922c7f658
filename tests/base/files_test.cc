#include "trireme/base/files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <string>

#include "tests/base/test_util.h"

namespace trireme {
namespace {

using test::input_error_of;
using test::run_error_of;
using test::TempDir;

std::span<const std::byte> as_bytes(const std::string& text) {
  return std::as_bytes(std::span(text));
}

// Takes the fail-point away at the end of a test.
struct FaultScope {
  explicit FaultScope(FileFault fault) { set_file_fault(std::move(fault)); }
  ~FaultScope() { set_file_fault({}); }
};

class Files : public testing::Test {
 protected:
  TempDir dir_;
  std::string path_ = dir_ / "file.txt";
};

TEST_F(Files, ReadsBackWhatWasWritten) {
  const std::string content = std::string("a\0b\n", 4) + std::string(3 << 20, 'x');
  write_file_atomic(path_, content);
  EXPECT_EQ(read_file(path_), content);
  EXPECT_EQ(file_size_bytes(path_), content.size());
  write_file_atomic(path_, "");
  EXPECT_EQ(read_file(path_), "");
}

TEST_F(Files, ReadsFilesWithoutASize) {
  EXPECT_NE(read_file("/proc/self/status").find("Name:"), std::string::npos);
  EXPECT_EQ(read_file("/dev/null"), "");
}

TEST_F(Files, ReadingWhatIsNotThereNamesItAndTheReason) {
  EXPECT_EQ(input_error_of([&] { read_file(path_); }),
            path_ + ": cannot be read: No such file or directory");
  EXPECT_EQ(input_error_of([&] { read_file(dir_.path()); }),
            dir_.path() + ": is a folder, a file is wanted");
  EXPECT_EQ(input_error_of([&] { MappedFile file(path_); }),
            path_ + ": cannot be read: No such file or directory");
  EXPECT_EQ(input_error_of([&] { MappedFile file(dir_.path()); }),
            dir_.path() + ": is a folder, a file is wanted");
  EXPECT_EQ(input_error_of([&] { file_size_bytes(path_); }),
            path_ + ": cannot be read: No such file or directory");
  EXPECT_EQ(input_error_of([&] { list_dir(dir_ / "none"); }),
            dir_ / "none" + ": cannot be listed: No such file or directory");
}

TEST_F(Files, MapsAFile) {
  write_file_atomic(path_, "hello");
  MappedFile file(path_);
  EXPECT_EQ(file.text(), "hello");
  EXPECT_EQ(file.size(), 5U);
  EXPECT_EQ(file.bytes()[1], std::byte{'e'});
  EXPECT_EQ(file.path(), path_);

  MappedFile moved(std::move(file));
  EXPECT_EQ(moved.text(), "hello");
  write_file_atomic(dir_ / "other", "world!");
  MappedFile other(dir_ / "other");
  moved = std::move(other);
  EXPECT_EQ(moved.text(), "world!");
}

TEST_F(Files, MappingOutlivesTheReplacementOfItsFile) {
  write_file_atomic(path_, "old");
  const MappedFile file(path_);
  write_file_atomic(path_, "new content");
  EXPECT_EQ(file.text(), "old");
}

TEST_F(Files, MapsAnEmptyFile) {
  write_file_atomic(path_, "");
  const MappedFile file(path_);
  EXPECT_TRUE(file.bytes().empty());
  EXPECT_TRUE(file.text().empty());
}

TEST_F(Files, AtomicFileIsNotThereBeforeCommit) {
  AtomicFile file(path_);
  file.write("half");
  EXPECT_FALSE(file_exists(path_));
  file.write(as_bytes(" whole"));
  EXPECT_EQ(file.written_bytes(), 10U);
  file.commit();
  EXPECT_EQ(read_file(path_), "half whole");
  EXPECT_EQ(list_dir(dir_.path()), std::vector<std::string>{"file.txt"});
}

TEST_F(Files, AtomicFileWithoutCommitLeavesNothing) {
  write_file_atomic(path_, "old");
  {
    AtomicFile file(path_);
    file.write(std::string(5 << 20, 'y'));
    EXPECT_EQ(list_dir(dir_.path()).size(), 2U);
  }
  EXPECT_EQ(read_file(path_), "old");
  EXPECT_EQ(list_dir(dir_.path()), std::vector<std::string>{"file.txt"});
}

TEST_F(Files, TwoWritersOfOneFileDoNotMeet) {
  AtomicFile a(path_);
  AtomicFile b(path_);
  a.write("a");
  b.write("b");
  a.commit();
  EXPECT_EQ(read_file(path_), "a");
  b.commit();
  EXPECT_EQ(read_file(path_), "b");
}

TEST_F(Files, ManySmallAndLargeWritesKeepTheirOrder) {
  std::string expected;
  AtomicFile file(path_);
  for (int i = 0; i < 3000; ++i) {
    const std::string piece = std::to_string(i) + std::string(i % 7 == 0 ? 5000 : 3, 'z');
    file.write(piece);
    expected += piece;
    if (i % 1000 == 0) {
      const std::string large(2 << 20, static_cast<char>('a' + i / 1000));
      file.write(large);
      expected += large;
    }
  }
  EXPECT_EQ(file.written_bytes(), expected.size());
  file.commit();
  EXPECT_TRUE(read_file(path_) == expected);
}

TEST_F(Files, AtomicFileFollowsALinkAndKeepsIt) {
  write_file_atomic(path_, "old");
  const std::string link = dir_ / "link";
  ASSERT_EQ(::symlink("file.txt", link.c_str()), 0);
  write_file_atomic(link, "new");
  EXPECT_EQ(read_file(path_), "new");
  struct stat info {};
  ASSERT_EQ(::lstat(link.c_str(), &info), 0);
  EXPECT_TRUE(S_ISLNK(info.st_mode));
}

TEST_F(Files, AtomicFileWritesADeviceDirectly) {
  write_file_atomic("/dev/null", "gone");
  struct stat info {};
  ASSERT_EQ(::stat("/dev/null", &info), 0);
  EXPECT_TRUE(S_ISCHR(info.st_mode));
}

TEST_F(Files, AtomicFileObeysTheUmask) {
  const mode_t before = ::umask(022);
  write_file_atomic(path_, "x");
  ::umask(before);
  struct stat info {};
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0644U);
}

TEST_F(Files, WritingWhereItCannotBeSaysWhy) {
  const std::string missing = dir_ / "no/such/file";
  EXPECT_EQ(run_error_of([&] { AtomicFile file(missing); }),
            missing + ": cannot be written: No such file or directory");
  EXPECT_EQ(run_error_of([&] { AppendFile file(missing); }),
            missing + ": cannot be written: No such file or directory");
  EXPECT_EQ(input_error_of([&] { AtomicFile file(dir_.path()); }),
            dir_.path() + ": is a folder, a file is wanted");
  EXPECT_EQ(input_error_of([] { AtomicFile file(""); }), "'': is not the name of a file");
}

TEST_F(Files, AFullDiskIsARunErrorWithTheReason) {
  EXPECT_EQ(run_error_of([] { write_file_atomic("/dev/full", "x"); }),
            "/dev/full: writing failed: No space left on device");
  EXPECT_EQ(run_error_of([] {
              AppendFile file("/dev/full");
              file.write("x");
              file.flush();
            }),
            "/dev/full: writing failed: No space left on device");
}

TEST_F(Files, EveryFailingStepIsReportedAndLeavesTheOldFile) {
  const std::pair<FileStep, std::string> cases[] = {{FileStep::kOpen, "cannot be written"},
                                                    {FileStep::kWrite, "writing failed"},
                                                    {FileStep::kSync, "fsync failed"},
                                                    {FileStep::kRename, "renaming failed"}};
  for (const auto& [failing, what] : cases) {
    write_file_atomic(path_, "old");
    const FaultScope scope([&failing = failing](FileStep step, const std::string&) {
      return step == failing ? ENOSPC : 0;
    });
    EXPECT_EQ(run_error_of([&] { write_file_atomic(path_, "new"); }),
              path_ + ": " + what + ": No space left on device");
    EXPECT_EQ(read_file(path_), "old");
    EXPECT_EQ(list_dir(dir_.path()), std::vector<std::string>{"file.txt"});
  }
}

TEST_F(Files, AFailedSyncOfTheFolderIsReported) {
  const FaultScope scope(
      [](FileStep step, const std::string&) { return step == FileStep::kSyncDir ? EIO : 0; });
  EXPECT_EQ(run_error_of([&] { write_file_atomic(path_, "new"); }),
            dir_.path() + ": fsync failed: Input/output error");
}

TEST_F(Files, FileSystemsWithoutFolderSyncAreTolerated) {
  const FaultScope scope(
      [](FileStep step, const std::string&) { return step == FileStep::kSyncDir ? EINVAL : 0; });
  write_file_atomic(path_, "new");
  EXPECT_EQ(read_file(path_), "new");
}

// A real limit of the kernel in the middle of a large write, not an injected one.
TEST_F(Files, AWriteThatTheKernelCutsShortIsReported) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{3 << 20, 3 << 20};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) ::_exit(10);
    try {
      write_file_atomic(path_, std::string(8 << 20, 'x'));
    } catch (const Error& error) {
      const bool right =
          error.exit_code() == 1 && error.what() == path_ + ": writing failed: File too large";
      ::_exit(right ? 0 : 11);
    }
    ::_exit(12);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_TRUE(list_dir(dir_.path()).empty());
}

// A crash at any step leaves the old content or the new one.
TEST_F(Files, ACrashAtAnyStepLeavesAWholeFile) {
  for (const FileStep fatal : {FileStep::kOpen, FileStep::kWrite, FileStep::kSync,
                               FileStep::kRename, FileStep::kSyncDir}) {
    write_file_atomic(path_, "old");
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      set_file_fault([fatal](FileStep step, const std::string&) {
        if (step == fatal) ::_exit(7);
        return 0;
      });
      write_file_atomic(path_, "new");
      ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << "the step was not reached";
    EXPECT_EQ(read_file(path_), fatal == FileStep::kSyncDir ? "new" : "old");
  }
}

TEST_F(Files, AppendsToWhatIsThere) {
  {
    AppendFile file(path_);
    file.write("one ");
    file.write("two ");
    EXPECT_EQ(read_file(path_), "");
    file.flush();
    EXPECT_EQ(read_file(path_), "one two ");
    file.write("three ");
  }
  {
    AppendFile file(path_);
    file.write("four");
    file.sync();
    EXPECT_EQ(read_file(path_), "one two three four");
  }
}

TEST_F(Files, AFailedAppendDropsItsBytesAndGoesOn) {
  AppendFile file(path_);
  file.write("lost");
  {
    const FaultScope scope([](FileStep, const std::string&) { return ENOSPC; });
    EXPECT_EQ(run_error_of([&] { file.flush(); }),
              path_ + ": writing failed: No space left on device");
  }
  file.write("kept");
  file.flush();
  EXPECT_EQ(read_file(path_), "kept");
}

TEST_F(Files, Folders) {
  const std::string deep = dir_ / "a/b/c";
  EXPECT_FALSE(dir_exists(deep));
  ensure_dir(deep);
  ensure_dir(deep);
  EXPECT_TRUE(dir_exists(deep));
  EXPECT_FALSE(file_exists(deep));
  write_file_atomic(dir_ / "z", "");
  write_file_atomic(dir_ / "B", "");
  EXPECT_TRUE(file_exists(dir_ / "z"));
  EXPECT_FALSE(file_exists(dir_ / "none"));
  EXPECT_EQ(list_dir(dir_.path()), (std::vector<std::string>{"B", "a", "z"}));
  const std::string message = run_error_of([&] { ensure_dir(dir_ / "z/sub"); });
  EXPECT_EQ(message, dir_ / "z/sub" + ": cannot make the folder: Not a directory");
  EXPECT_EQ(run_error_of([&] { ensure_dir(dir_ / "z"); }).find(dir_ / "z: cannot make the folder"),
            0U);
}

TEST_F(Files, RenamesFoldersDurably) {
  ensure_dir(dir_ / "part");
  write_file_atomic(dir_ / "part/x", "1");
  rename_durable(dir_ / "part", dir_ / "done");
  EXPECT_EQ(read_file(dir_ / "done/x"), "1");
  EXPECT_FALSE(dir_exists(dir_ / "part"));
  EXPECT_EQ(run_error_of([&] { rename_durable(dir_ / "part", dir_ / "again"); }),
            dir_ / "part: renaming to " + (dir_ / "again failed: No such file or directory"));
}

// Root reads every file, so root reads as nobody here.
TEST_F(Files, UnreadableFileIsNamed) {
  write_file_atomic(path_, "x");
  ASSERT_EQ(::chmod(path_.c_str(), 0), 0);
  const uid_t before = ::geteuid();
  constexpr uid_t kNobody = 65534;
  if (before == 0 && ::seteuid(kNobody) != 0) GTEST_SKIP() << "this root cannot become nobody";
  EXPECT_EQ(input_error_of([&] { read_file(path_); }),
            path_ + ": cannot be read: Permission denied");
  ASSERT_EQ(::seteuid(before), 0);
}

}  // namespace
}  // namespace trireme
