// A checkpoint belongs to no layout: whatever wrote it, any other goes on from it as if nothing had
// happened, to the bit.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/checkpoint/run.h"
#include "tests/parallel/hybrid_run.h"
#include "trireme/base/error.h"
#include "trireme/comm/testing.h"

namespace trireme::checkpoint {
namespace {

using testing::HybridLayout;
using testing::HybridRun;
using testing::TempDir;
using testing::WholeTensors;

constexpr int64_t kSaved = 2, kEnd = 4;  // steps

RunTensors tensors_of(comm::World& world, HybridRun& run) {
  std::vector<RunChunk> chunks;
  for (HybridRun::Chunk& chunk : run.chunks()) {
    chunks.push_back({chunk.engine.get(), chunk.adamw.get(), chunk.place});
  }
  return {world.world_group(), chunks};
}

struct Tensors {
  WholeTensors masters, exp_avg, exp_avg_sq;

  void add(HybridRun& run) {
    run.add_to(masters, &optim::FlatBuffer::master);
    run.add_moments_to(exp_avg, exp_avg_sq);
  }
};

void expect_same(const Tensors& got, const Tensors& want) {
  testing::expect_same(got.masters.tensors(), want.masters.tensors());
  testing::expect_same(got.exp_avg.tensors(), want.exp_avg.tensors());
  testing::expect_same(got.exp_avg_sq.tensors(), want.exp_avg_sq.tensors());
}

// Runs to the end, saving on the way, in `layout`; or, with a folder, from there.
void train(comm::World& world, const HybridLayout& layout, const std::string& dir, bool resume,
           Tensors& loaded, Tensors& end) {
  HybridRun run(world, layout);
  const RunTensors tensors = tensors_of(world, run);
  const std::string folder = dir + "/" + step_folder_name(kSaved);
  run.init(resume ? 99 : 5);
  for (int64_t step = 0; step < kEnd; ++step) {
    if (step == kSaved && resume) {
      load(folder, open_verified(folder), tensors);
      loaded.add(run);
    } else if (step == kSaved) {
      RunState state;
      state.step = kSaved;
      state.optimizer_steps = run.chunks()[0].adamw->steps();
      if (world.rank() == 0) save(dir, state, tensors, {});
      if (world.rank() != 0) contribute(tensors);
    }
    if (resume && step < kSaved) continue;
    run.backward(step);
    run.update();
  }
  for (const HybridRun::Chunk& chunk : run.chunks()) EXPECT_EQ(chunk.adamw->steps(), kEnd);
  end.add(run);
  world.world_group().barrier("end of a run");
}

TEST(Layouts, EachLoadsWhatEachOtherWrote) {
  const HybridLayout layouts[] = {
      {},
      {.mesh = {.dp = 2}},
      {.mesh = {.dp = 2}, .zero_stage = 3},
      {.mesh = {.dp = 2, .tp = 2}, .zero_stage = 1},
      {.mesh = {.dp = 2, .tp = 2}, .zero_stage = 2, .join_values = true},
      {.mesh = {.tp = 3}, .sequence_parallel = true},
      {.mesh = {.pp = 2}},
      {.mesh = {.pp = 2}, .chunks = 2, .zero_stage = 1},
      {.mesh = {.pp = 2, .dp = 2, .tp = 2}, .zero_stage = 2},
  };
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    Tensors at_save, want;  // of one rank
    {
      const TempDir dir;
      Tensors none;
      HybridLayout one;
      one.dtype = dtype;
      comm::run_ranks(
          1, [&](comm::World& world) { train(world, one, dir.path(), false, none, want); });
      comm::run_ranks(1, [&](comm::World& world) {
        Tensors end;
        train(world, one, dir.path(), true, at_save, end);
        expect_same(end, want);
      });
    }
    for (HybridLayout writer : layouts) {
      writer.dtype = dtype;
      const TempDir dir;
      Tensors none, written;
      comm::run_ranks(writer.ranks(), [&](comm::World& world) {
        train(world, writer, dir.path(), false, none, written);
      });
      SCOPED_TRACE(writer.text());
      expect_same(written, want);
      for (HybridLayout reader : layouts) {
        reader.dtype = dtype;
        SCOPED_TRACE(reader.text());
        Tensors loaded, end;
        comm::run_ranks(reader.ranks(), [&](comm::World& world) {
          train(world, reader, dir.path(), true, loaded, end);
        });
        expect_same(loaded, at_save);
        expect_same(end, want);
      }
    }
  }
}

// The files of a pipeline's run are those of one rank, byte for byte: order, names, values.
TEST(Layouts, FilesDoNotTellWhoWroteThem) {
  const HybridLayout layouts[] = {
      {}, {.mesh = {.dp = 2}, .zero_stage = 3}, {.mesh = {.pp = 2, .dp = 2}, .zero_stage = 1}};
  std::vector<std::string> model, optimizer;
  for (const HybridLayout& layout : layouts) {
    const TempDir dir;
    Tensors none, end;
    comm::run_ranks(layout.ranks(), [&](comm::World& world) {
      train(world, layout, dir.path(), false, none, end);
    });
    const std::string folder = dir.file(step_folder_name(kSaved));
    model.push_back(read_file(folder + "/model.safetensors"));
    optimizer.push_back(read_file(folder + "/optimizer.safetensors"));
  }
  for (size_t i = 1; i < model.size(); ++i) {
    EXPECT_EQ(model[i], model[0]);
    EXPECT_EQ(optimizer[i], optimizer[0]);
  }
}

// A save that fails on rank 0 (a folder in the way) leaves no rank waiting, and the next one works.
TEST(Layouts, AFailedSaveLeavesNobodyWaiting) {
  const TempDir dir;
  const std::string in_the_way = dir.file(step_folder_name(0));
  ensure_dir(in_the_way);
  write_file_atomic(in_the_way + "/thesis.txt", "years of work");
  comm::run_ranks(4, [&](comm::World& world) {
    HybridRun run(world, {.mesh = {.pp = 2, .tp = 2}});
    const RunTensors tensors = tensors_of(world, run);
    run.init(1);
    for (const int64_t step : {0, 1}) {
      RunState state;
      state.step = step;
      if (world.rank() != 0) {
        contribute(tensors);
      } else if (step == 0) {
        EXPECT_THROW(save(dir.path(), state, tensors, {}), Error);
      } else {
        save(dir.path(), state, tensors, {});
      }
    }
    world.world_group().barrier("end of a run");
  });
  EXPECT_NO_THROW(open_verified(dir.file(step_folder_name(1))));
}

}  // namespace
}  // namespace trireme::checkpoint
