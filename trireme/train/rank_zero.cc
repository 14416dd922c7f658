#include "trireme/train/rank_zero.h"

#include "trireme/base/error.h"

namespace trireme::train {
namespace {

constexpr char kDone = '0';  // otherwise the digit of the ErrorKind

std::string attempt(const std::function<std::string()>& f) {
  try {
    return kDone + f();
  } catch (const Error& error) {
    return static_cast<char>(kDone + error.exit_code()) + std::string(error.what());
  }
}

}  // namespace

std::string on_rank_zero(comm::Group& group, std::string_view tag,
                         const std::function<std::string()>& f) {
  std::string outcome = group.rank() == 0 ? attempt(f) : std::string();
  if (group.size() > 1) {
    group.patient_barrier(tag);
    outcome = group.all_gather_bytes(outcome, tag)[0];
  }
  if (outcome.at(0) != kDone) {
    throw Error(static_cast<ErrorKind>(outcome[0] - kDone), outcome.substr(1));
  }
  return outcome.substr(1);
}

}  // namespace trireme::train
