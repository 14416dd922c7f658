#include "trireme/io/atomic_folder.h"

#include <cerrno>

#include "tests/io/test_files.h"

namespace trireme::io {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

AtomicFolderOptions replacing() {
  return {.may_replace = [](const std::string& path) { return file_exists(path + "/mine"); },
          .advice = "; it is not ours"};
}

void make_folder(const std::string& path, const std::string& file) {
  ensure_dir(path);
  write_file_atomic(path + "/" + file, "old");
}

TEST(AtomicFolder, IsSeenWholeAfterCommit) {
  const TempDir dir;
  const std::string path = dir.file("up/model");
  AtomicFolder folder(path + "/");
  EXPECT_EQ(folder.path(), path);
  write_file_atomic(folder.staging_file("x"), "1");
  EXPECT_FALSE(dir_exists(path));
  folder.commit();
  EXPECT_THAT(list_dir(dir.file("up")), ElementsAre("model"));
  EXPECT_EQ(read_file(path + "/x"), "1");
}

TEST(AtomicFolder, NothingStaysWithoutCommit) {
  const TempDir dir;
  {
    const AtomicFolder folder(dir.file("model"));
    write_file_atomic(folder.staging_file("x"), "1");
    EXPECT_EQ(list_dir(dir.path()).size(), 1);
  }
  EXPECT_THAT(list_dir(dir.path()), IsEmpty());
}

TEST(AtomicFolder, AnEmptyFolderOfThatNameIsTaken) {
  const TempDir dir;
  ensure_dir(dir.file("model"));
  AtomicFolder folder(dir.file("model"));
  write_file_atomic(folder.staging_file("x"), "1");
  folder.commit();
  EXPECT_THAT(list_dir(dir.file("model")), ElementsAre("x"));
}

TEST(AtomicFolder, NeverReplacesUnasked) {
  const TempDir dir;
  make_folder(dir.file("model"), "mine");
  EXPECT_EQ(
      input_error_of([&] { const AtomicFolder folder(dir.file("model")); }),
      dir.file("model") + ": the folder exists and is not empty; choose another name or remove it");
  write_file_atomic(dir.file("file"), "x");
  EXPECT_EQ(input_error_of([&] { const AtomicFolder folder(dir.file("file"), replacing()); }),
            dir.file("file") + ": a file has that name; it is not ours");
  EXPECT_THAT(list_dir(dir.path()), ElementsAre("file", "model"));
}

TEST(AtomicFolder, ReplacesWhatItMayAndNothingElse) {
  const TempDir dir;
  make_folder(dir.file("ours"), "mine");
  make_folder(dir.file("other"), "precious");
  AtomicFolder folder(dir.file("ours"), replacing());
  write_file_atomic(folder.staging_file("x"), "new");
  EXPECT_THAT(list_dir(dir.file("ours")), ElementsAre("mine"));
  folder.commit();
  EXPECT_THAT(list_dir(dir.file("ours")), ElementsAre("x"));
  EXPECT_EQ(input_error_of([&] { const AtomicFolder other(dir.file("other"), replacing()); }),
            dir.file("other") + ": the folder exists and is not empty; it is not ours");
  EXPECT_THAT(list_dir(dir.path()), ElementsAre("other", "ours"));
}

TEST(AtomicFolder, ANameTakenMeanwhileIsNotOverwritten) {
  const TempDir dir;
  {
    AtomicFolder folder(dir.file("model"));
    make_folder(dir.file("model"), "precious");
    EXPECT_THAT(input_error_of([&] { folder.commit(); }), HasSubstr("exists and is not empty"));
  }
  EXPECT_THAT(list_dir(dir.path()), ElementsAre("model"));
  EXPECT_EQ(read_file(dir.file("model/precious")), "old");
}

TEST(AtomicFolder, AFailedRenameLeavesTheOldOne) {
  const TempDir dir;
  set_file_fault(
      [](FileStep step, const std::string&) { return step == FileStep::kRename ? EIO : 0; });
  {
    AtomicFolder folder(dir.file("model"));
    EXPECT_THAT(run_error_of([&] { folder.commit(); }), HasSubstr("Input/output error"));
  }
  set_file_fault({});
  EXPECT_THAT(list_dir(dir.path()), IsEmpty());
}

TEST(AtomicFolder, AFolderThatCannotBeMade) {
  const TempDir dir;
  write_file_atomic(dir.file("file"), "x");
  EXPECT_THAT(run_error_of([&] { const AtomicFolder folder(dir.file("file/model")); }),
              HasSubstr(dir.file("file") + ": cannot make the folder"));
}

}  // namespace
}  // namespace trireme::io
