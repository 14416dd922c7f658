#include "trireme/parallel/elastic_flat.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "trireme/base/error.h"

namespace trireme::parallel {
namespace {

const c10::Device kCpu(c10::DeviceType::CPU);

void drop(void* held) {
  delete static_cast<at::Tensor*>(held);
}

}  // namespace

ElasticFlat::ElasticFlat(int64_t numel, at::ScalarType dtype) {
  const at::NoGradGuard no_grad;
  const auto bytes = static_cast<size_t>(numel) * c10::elementSize(dtype);
  const c10::Storage storage(c10::Storage::use_byte_size_t(), bytes, at::DataPtr(nullptr, kCpu),
                             /*allocator=*/nullptr, /*resizable=*/false);
  tensor_ = at::empty({0}, dtype).set_(storage, 0, {numel}, {1});
}

void ElasticFlat::take(at::Tensor memory) {
  if (memory.scalar_type() != tensor_.scalar_type() || memory.numel() != tensor_.numel() ||
      !memory.is_contiguous()) {
    throw run_error("a flat buffer of ", tensor_.numel(), " elements cannot have the memory of ",
                    memory.numel());
  }
  memory_ = std::move(memory);
  // The storage holds it too: views may outlive this object.
  tensor_.storage().unsafeGetStorageImpl()->set_data_ptr_noswap(
      {memory_.data_ptr(), new at::Tensor(memory_), &drop, kCpu});
}

void ElasticFlat::free() {
  if (!live()) return;
  tensor_.storage().unsafeGetStorageImpl()->set_data_ptr_noswap(at::DataPtr(nullptr, kCpu));
  memory_ = at::Tensor();
}

}  // namespace trireme::parallel
