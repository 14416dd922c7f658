// The handle of an operation that Gloo carries out: waits, looks at the failure board while it
// waits, and turns a deadline or a broken connection into the error that names the culprit.
#pragma once

#include <functional>
#include <memory>
#include <torch/csrc/distributed/c10d/Work.hpp>
#include <vector>

#include "trireme/comm/group_base.h"

namespace trireme::comm {

// `finish` runs once, in wait(), when Gloo is done: it copies the result to where it belongs.
// A collective may take `patience` deadlines.
WorkPtr collective_work(std::shared_ptr<GroupFaults> faults, FlightRecorder::Ticket ticket,
                        std::function<void()> finish, c10d::Work& gloo, int patience);
WorkPtr point_to_point_work(std::shared_ptr<GroupFaults> faults, FlightRecorder::Ticket ticket,
                            std::function<void()> finish, c10::intrusive_ptr<c10d::Work> gloo);

}  // namespace trireme::comm
