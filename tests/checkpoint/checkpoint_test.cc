#include "trireme/checkpoint/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/checkpoint/run.h"
#include "trireme/base/error.h"
#include "trireme/checkpoint/folder.h"
#include "trireme/io/safetensors.h"

namespace trireme::checkpoint {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::TempDir;
using testing::TinyRun;

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::vector<int64_t> steps_in(const std::string& dir) {
  std::vector<int64_t> steps;
  for (const StepFolder& folder : list_steps(dir)) steps.push_back(folder.step);
  return steps;
}

TEST(Checkpoint, ComesBackBitForBit) {
  const TempDir dir;
  TinyRun run(1);
  run.step();
  run.step();
  const std::string folder = run.save(dir.path(), {{"f1", 61.25}});
  EXPECT_THAT(folder, HasSubstr("/step-00000002"));

  TinyRun other(2);
  const Manifest manifest = open_verified(folder);
  load(folder, manifest, other.tensors());
  testing::expect_same_bits(run, other);
  run.step();
  other.step_after(2);
  EXPECT_TRUE(
      at::equal(run.engine().flat_buffers()[0].master, other.engine().flat_buffers()[0].master));

  const RunState want = run.state();
  EXPECT_EQ(manifest.run.step, 2);
  EXPECT_EQ(manifest.run.seed, want.seed);
  EXPECT_EQ(manifest.run.cursor, want.cursor);
  EXPECT_EQ(manifest.run.losses, (std::vector<double>{1.0 / 3.0, 1.0 / 4.0}));
  EXPECT_EQ(manifest.run.metrics["f1"], 61.25);
  EXPECT_EQ(manifest.run.config, want.config);
  EXPECT_EQ(manifest.run.trainer, want.trainer);
}

TEST(Checkpoint, SaysWhereEveryTensorIs) {
  const TempDir dir;
  TinyRun run(1);
  run.step();
  const std::string folder = run.save(dir.path());
  const Manifest manifest = open_verified(folder);
  EXPECT_EQ(manifest.tensors.size(), 4U * 3);
  for (const TensorEntry& entry : manifest.tensors) {
    const io::SafetensorsFile file(folder + "/" + entry.file);
    EXPECT_EQ(file.offset_bytes(entry.tensor), entry.offset_bytes) << entry.tensor;
    EXPECT_EQ(entry.box_shape, entry.shape);
  }
  const TensorEntry* entry = manifest.find(TensorKind::kExpAvg, "head.dense.weight");
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(entry->tensor, "exp_avg.head.dense.weight");
  EXPECT_EQ(entry->flat_end, testing::kHidden * testing::kOutputs);
}

TEST(Checkpoint, IsAModelFolderWithPlainNames) {
  const TempDir dir;
  TinyRun run(1);
  const io::SafetensorsFile file(run.save(dir.path()) + "/model.safetensors");
  std::vector<std::string> names;
  for (const io::TensorInfo& info : file.tensors()) names.push_back(info.name);
  EXPECT_THAT(names, ElementsAre("body.dense.weight", "body.dense.bias", "head.dense.weight",
                                 "head.dense.bias"));
  EXPECT_EQ(file.metadata().at("format"), "pt");
}

TEST(Checkpoint, OfTheSameStepIsReplaced) {
  const TempDir dir;
  TinyRun first(1), second(2), loaded(3);
  first.save(dir.path());
  const std::string folder = second.save(dir.path());
  load(folder, open_verified(folder), loaded.tensors());
  testing::expect_same_bits(second, loaded);
  EXPECT_EQ(list_dir(dir.path()).size(), 1U);
}

TEST(Checkpoint, DoesNotOverwriteAFolderThatIsNone) {
  const TempDir dir;
  ensure_dir(dir.file("step-00000000"));
  write_file_atomic(dir.file("step-00000000/thesis.txt"), "years of work");
  TinyRun run(1);
  EXPECT_THAT(error_of([&] { run.save(dir.path()); }), HasSubstr("step-00000000"));
  EXPECT_EQ(read_file(dir.file("step-00000000/thesis.txt")), "years of work");
}

TEST(Checkpoint, OfAnotherModelIsRefusedByName) {
  const TempDir dir;
  TinyRun run(1);
  const std::string folder = run.save(dir.path());
  Manifest manifest = open_verified(folder);
  manifest.tensors[0].name = "other.weight";
  EXPECT_THAT(error_of([&] { load(folder, manifest, run.tensors()); }),
              HasSubstr("no master of parameter body.dense.weight"));
  manifest = open_verified(folder);
  manifest.tensors[0].shape = {7, 6};
  EXPECT_THAT(error_of([&] { load(folder, manifest, run.tensors()); }),
              HasSubstr("'body.dense.weight' has another shape"));
}

TEST(Checkpoint, OfALaterFormatIsRefused) {
  const TempDir dir;
  TinyRun run(1);
  const std::string folder = run.save(dir.path());
  Json json = read_json_file(folder + "/manifest.json");
  json["format_version"] = 2;
  write_file_atomic(folder + "/manifest.json", dump_json(json));
  EXPECT_THAT(error_of([&] { open_verified(folder); }),
              HasSubstr("manifest.json: checkpoint format 2"));
}

// Every file, damaged in each way: named, and the checkpoint before it is taken instead.
TEST(Checkpoint, DamageIsFoundAndTheOneBeforeIsTaken) {
  const std::vector<std::string> files = {"model.safetensors", "optimizer.safetensors",
                                          "config.json", "manifest.json"};
  for (const std::string& file : files) {
    for (const char* how : {"truncated", "changed", "missing"}) {
      const bool manifest = file == "manifest.json";
      if (manifest && std::string(how) == "missing") continue;  // then it is no checkpoint at all
      const TempDir dir;
      TinyRun run(1);
      run.step();
      run.save(dir.path());
      run.step();
      const std::string folder = run.save(dir.path());
      const std::string path = folder + "/" + file;
      const auto size = file_size_bytes(path);
      if (std::string(how) == "truncated") std::filesystem::resize_file(path, size / 2);
      if (std::string(how) == "missing") std::filesystem::remove(path);
      if (std::string(how) == "changed") {
        std::fstream(path, std::ios::in | std::ios::out | std::ios::binary)
            .seekp(static_cast<std::streamoff>(manifest ? 0 : size - 1))
            .put(manifest ? 'x' : '\x7f');
      }
      EXPECT_THAT(error_of([&] { open_verified(folder); }), HasSubstr(file)) << how;
      EXPECT_EQ(open_for_resume(dir.path()).manifest.run.step, 1) << file << " " << how;
      EXPECT_THAT(error_of([&] { open_for_resume(folder); }), HasSubstr(file)) << how;
    }
  }
}

TEST(Folder, ResumeTakesTheNewestAndRefusesWhatIsNone) {
  const TempDir dir;
  TinyRun run(1);
  EXPECT_THAT(error_of([&] { open_for_resume(dir.path()); }), HasSubstr("holds no checkpoint"));
  EXPECT_THAT(error_of([&] { open_for_resume(dir.file("x")); }), HasSubstr("no such folder"));
  run.step();
  run.save(dir.path());
  run.step();
  run.save(dir.path());
  EXPECT_EQ(open_for_resume(dir.path()).manifest.run.step, 2);
  EXPECT_EQ(open_for_resume(dir.file("step-00000001")).manifest.run.step, 1);
  for (const StepFolder& folder : list_steps(dir.path())) {
    std::filesystem::resize_file(folder.path + "/model.safetensors", 10);
  }
  EXPECT_THAT(error_of([&] { open_for_resume(dir.path()); }),
              HasSubstr("none of the 2 checkpoints"));
}

TEST(Folder, KeepsTheLastAndTheBest) {
  const TempDir dir;
  TinyRun run(1);
  const double f1[] = {50, 70, 60, 0, 65, 64};
  for (int i = 0; i < 6; ++i) {
    run.step();
    run.save(dir.path(), i == 3 ? Json::object() : Json{{"f1", f1[i]}});
  }
  retain(dir.path(), {.keep = 3, .metric = "f1"});
  EXPECT_THAT(steps_in(dir.path()), ElementsAre(2, 4, 5, 6));
  retain(dir.path(), {.keep = 1, .metric = "f1", .higher_is_better = false});
  EXPECT_THAT(steps_in(dir.path()), ElementsAre(6));
  retain(dir.path(), {.keep = 0, .metric = ""});
  EXPECT_THAT(steps_in(dir.path()), ElementsAre(6));
  EXPECT_EQ(list_dir(dir.path()).size(), 1U);
}

TEST(Folder, SweepRemovesLeftoversAlone) {
  const TempDir dir;
  TinyRun run(1);
  run.save(dir.path());
  for (const char* name :
       {".step-00000009.77-0.tmp", ".step-00000003.removed", ".step-00000000.7-1.old"}) {
    ensure_dir(dir.file(name));
    write_file_atomic(dir.file(name) + std::string("/model.safetensors"), "half");
  }
  ensure_dir(dir.file(".git"));
  // A replacement that was cut between its two renames: the old one has only its temporary name.
  run.step();
  std::filesystem::rename(run.save(dir.path()), dir.file(".step-00000001.7-0.old"));
  sweep(dir.path());
  EXPECT_THAT(list_dir(dir.path()), ElementsAre(".git", "step-00000000", "step-00000001"));
  EXPECT_EQ(open_for_resume(dir.path()).manifest.run.step, 1);
}

}  // namespace
}  // namespace trireme::checkpoint
