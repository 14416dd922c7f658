// Saving and loading one checkpoint: a folder that is also a Hugging Face model folder.
//
//   runs/a/step-00000040/
//     manifest.json          everything but the tensors, and where each tensor is
//     model.safetensors      fp32 masters by Hugging Face's names
//     optimizer.safetensors  exp_avg.NAME and exp_avg_sq.NAME
//     config.json, ...       what the task adds, so that the folder can be served by itself
//
// A checkpoint is there wholly or not at all: it is written under a temporary name, every file and
// the folder are synced, then it is renamed. A crash at any instant leaves the older ones as they
// were.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "trireme/checkpoint/manifest.h"
#include "trireme/optim/adamw.h"
#include "trireme/parallel/engine.h"
#include "trireme/parallel/holdings.h"

namespace trireme::checkpoint {

// An engine of this rank with its optimiser, and which chunk of the model it holds
// (parallel::Chunk).
struct RunChunk {
  parallel::Engine* engine;
  optim::AdamW* adamw;
  int place = 0;
};

// The tensors of a run, in place: read by save(), written by load(). Every rank makes one.
class RunTensors {
 public:
  // One engine holds the model; its group is the world.
  RunTensors(parallel::Engine& engine, optim::AdamW& adamw);
  // This rank's chunks of it.
  RunTensors(comm::Group& world, std::vector<RunChunk> chunks);

  const std::vector<RunChunk>& chunks() const { return chunks_; }  // by place
  const parallel::Holdings& holdings() const { return holdings_; }
  // What this rank has of the entry; undefined: nothing.
  at::Tensor own(const parallel::Holdings::Entry& entry, TensorKind kind) const;

 private:
  std::vector<RunChunk> chunks_;
  parallel::Holdings holdings_;
};

// "step-00000040"
std::string step_folder_name(int64_t step);

// Writes DIR/step-N for run.step and returns its path; one of that name is replaced. `write_assets`
// adds files to the folder it is given (each complete when it returns). Throws run_error naming the
// path; then nothing has changed. On rank 0 of the world, while the others call contribute(); rank
// 0 holds at most two buckets of theirs at a time, and a tensor.
std::string save(const std::string& dir, const RunState& run, const RunTensors& tensors,
                 const std::function<void(const std::string& folder)>& write_assets);
// The other ranks' part of save(): sends what rank 0 needs of theirs; nothing where it holds
// everything.
void contribute(const RunTensors& tensors);

// Reads FOLDER/manifest.json and checks that every file is there with its size and hash. Throws
// input_error naming the file that is missing, truncated or changed.
Manifest open_verified(const std::string& folder);

// Throws input_error naming the tensor that the checkpoint lacks or has in another shape. On one
// rank, before load().
void check_fits(const std::string& folder, const Manifest& manifest, const RunTensors& tensors);

// Fills masters (values too), moments and the update count from a checkpoint that fits, whatever
// layout wrote it. Rank 0 of the world reads, a bucket at a time, and every rank gets its part: all
// call it; `folder` counts on rank 0 alone, of `manifest` the others need run alone.
void load(const std::string& folder, const Manifest& manifest, const RunTensors& tensors);

}  // namespace trireme::checkpoint
