#include "trireme/comm/group.h"

#include <ATen/ATen.h>

#include <cstring>

namespace trireme::comm {
namespace {

class FinishedWork : public Work {
 public:
  void wait() override {}
  bool done() override { return true; }
};

}  // namespace

WorkPtr finished_work() {
  return std::make_shared<FinishedWork>();
}

std::optional<Group::Joined> Group::join(int64_t, at::ScalarType) {
  return std::nullopt;
}

at::Tensor Group::empty(int64_t numel, at::ScalarType dtype) {
  return at::empty({numel}, dtype);
}

std::vector<std::string> Group::all_gather_bytes(const std::string& mine, std::string_view tag) {
  const auto size_of = [](const std::string& s) { return static_cast<int64_t>(s.size()); };
  const at::Tensor sizes = at::empty({size()}, at::kLong);
  all_gather(sizes, at::full({1}, size_of(mine), at::kLong), tag)->wait();
  const int64_t longest = sizes.max().item<int64_t>();
  std::vector<std::string> all(static_cast<size_t>(size()));
  if (longest == 0) {
    return all;
  }
  const at::Tensor in = at::zeros({longest}, at::kByte);
  std::memcpy(in.data_ptr(), mine.data(), mine.size());
  const at::Tensor out = at::empty({size(), longest}, at::kByte);
  all_gather(out, in, tag)->wait();
  for (int64_t r = 0; r < size(); ++r) {
    const auto* bytes = static_cast<const char*>(out[r].data_ptr());
    all[static_cast<size_t>(r)].assign(bytes, static_cast<size_t>(sizes[r].item<int64_t>()));
  }
  return all;
}

}  // namespace trireme::comm
