// The object that `--report FILE` writes: what ran, with which settings, and what came out. Scripts
// and tests read it.
//
//   Report report("train");
//   report.config = schema.to_json();
//   report.metrics["loss"] = losses;
//   report.write(path);
#pragma once

#include <string>
#include <utility>

#include "trireme/base/json.h"

namespace trireme {

// Doubles are written so that they read back to the same bits (at most 17 digits); NaN and infinity
// become null.
struct Report {
  explicit Report(std::string command_name) : command(std::move(command_name)) {}

  std::string command;            // the subcommand: "train", "bench allreduce"
  Json config = Json::object();   // the effective configuration
  Json world = Json::object();    // size, ranks, hosts, threads
  Json metrics = Json::object();  // results
  Json timings = Json::object();  // seconds by name

  // {command, version, commit, config, world, metrics, timings}
  Json to_json() const;
  // Writes to_json() to a file, atomically. An empty path writes nothing.
  void write(const std::string& path) const;
};

}  // namespace trireme
