// What a rank leaves behind when the run fails: its flight recorder and the verdict, as a JSON file
// that `trireme doctor --flight` reads.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "trireme/comm/culprit.h"
#include "trireme/comm/failure.h"
#include "trireme/comm/peers.h"

namespace trireme::comm {

struct FlightDump {
  int rank = 0;
  std::string time;         // of the dump, UTC: "2026-11-27T12:00:00Z"
  std::vector<Peer> peers;  // every rank's number, host and pid
  Failure failure;
  std::vector<Operation> operations;  // all that the recorder holds, oldest first
  std::vector<Operation> last;        // of each series
  // What the others said; on the rank that reported the failure, empty on the others.
  std::map<int, Answer> answers;
};

// Writes FOLDER/flight-rankN.json, atomically; makes the folder. Returns the path.
std::string write_flight_dump(const std::string& folder, const FlightDump& dump);
// Throws input_error on anything that write_flight_dump() does not write.
FlightDump read_flight_dump(const std::string& path);

// Dumps of one run, put together.
struct FlightReport {
  std::string verdict;            // as the survivors said it
  std::vector<std::string> rows;  // last_operations_table() of all ranks
  std::vector<int> missing;       // ranks without a dump
};
// Throws input_error when they are of different runs. Not empty.
FlightReport merge(const std::vector<FlightDump>& dumps);

}  // namespace trireme::comm
