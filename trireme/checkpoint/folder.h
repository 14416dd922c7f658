// The folder of a run's checkpoints: which are there, which to keep, which to go on from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "trireme/checkpoint/manifest.h"

namespace trireme::checkpoint {

struct StepFolder {
  int64_t step;
  std::string path;
};

// The step-N folders of DIR that have a manifest, oldest first. Nothing when DIR does not exist.
std::vector<StepFolder> list_steps(const std::string& dir);

// Whether the checkpoint at PATH lies in DIR, however the two are spelt.
bool holds(const std::string& dir, const std::string& path);

// Removes what a crash left behind (temporary and half-removed folders); a checkpoint that was
// being replaced gets its name back. Only for the one process that writes to DIR.
void sweep(const std::string& dir);

// Moves the checkpoints of DIR beyond `step` out of the way, to DIR/earlier-N, and returns that
// folder ("" when there are none): a run that starts over, or from an older step, neither takes
// another's checkpoints for its own nor destroys them.
std::string set_aside_after(const std::string& dir, int64_t step);

struct Retention {
  int64_t keep = 3;    // the last n, at least 1
  std::string metric;  // and the best by this key of the manifest's metrics; empty: none
  bool higher_is_better = true;
};

// Removes checkpoints that are neither among the last `keep` nor the best, oldest first. Each
// disappears in one step (a rename) before its files are deleted.
void retain(const std::string& dir, const Retention& retention);

struct Opened {
  std::string path;
  Manifest manifest;
};

// What `--resume PATH` means: a checkpoint itself, or a folder of them, of which the newest
// undamaged one is taken, with a warning for each newer one. Throws input_error when PATH is
// neither, is damaged, or holds none that is undamaged.
Opened open_for_resume(const std::string& path);

}  // namespace trireme::checkpoint
