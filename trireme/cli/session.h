// What commands that compute share: options that most of them have, the world, and the model folder
// they are given.
#pragma once

#include <ATen/core/ATen_fwd.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <span>
#include <string>

#include "trireme/base/report.h"
#include "trireme/comm/world.h"
#include "trireme/data/qa_decode.h"

namespace trireme::cli {

inline constexpr int64_t kMicroBatchTokens = 8192;  // of inference, unless an option says otherwise

// Joins the run that the environment describes, names the rank in logs, and sets the compute
// threads.
std::unique_ptr<comm::World> join_world(const comm::WorldOptions& options = {});

// World facts for a report.
Json describe(const comm::World& world);

// A folder with weights: a Hugging Face folder, a checkpoint, or a folder of checkpoints (its
// newest undamaged one). Throws input_error for anything else.
std::string resolve_model_folder(const std::string& path);

// Throws input_error, before the work and not after it, when the file that `option` names cannot be
// written. Rank 0 alone tests: it writes the files of a run, and other hosts may lack the folder.
void require_writable(const std::string& option, const std::string& file);
// An option that names a file to write; require_writable when it is given.
CLI::Option* add_output_option(CLI::App& command, const std::string& name, std::string* file,
                               const std::string& help);
// --report FILE
void add_report_option(CLI::App& command, std::string* report);
// --precision fp32|bf16, for inference.
void add_precision_option(CLI::App& command, std::string* precision);
at::ScalarType parse_precision(const std::string& precision);

// --n-best-size, --max-answer-tokens, --no-answer-threshold
void add_decode_options(CLI::App& command, data::DecodeOptions* decode);

// The official files {id: text} and {id: null odds}; an empty name writes nothing.
void write_predictions(std::span<const data::QaPrediction> predictions, const std::string& file,
                       const std::string& null_odds_file);

}  // namespace trireme::cli
