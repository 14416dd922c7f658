// Scalars for TensorBoard: an event file in its folder.
//
//   TensorboardWriter board("runs/a/tb", steps_done);
//   board.add(step, {{"train/loss", loss}, {"train/lr", lr}});
//
// Format: TFRecord framing (length, masked CRC-32C, bytes, masked CRC-32C) around Event messages of
// tensorflow/core/util/event.proto, encoded by hand: the few fields that scalars need.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trireme/base/files.h"

namespace trireme::train {

// CRC-32C (Castagnoli), as in RFC 3720, appendix B.4.
uint32_t crc32c(std::string_view bytes);

class TensorboardWriter {
 public:
  // Makes a new events.out.tfevents file. A run that goes on says after which step: TensorBoard
  // then drops what an earlier file has of later ones. Throws run_error when it cannot be written.
  TensorboardWriter(const std::string& dir, int64_t steps_done);

  using Scalars = std::vector<std::pair<std::string, double>>;
  void add(int64_t step, const Scalars& scalars);
  void flush() { out_.flush(); }

 private:
  void write_event(int64_t step, std::string_view field);

  AppendFile out_;
};

}  // namespace trireme::train
