#include "trireme/parallel/shard_transfer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <vector>

namespace trireme::parallel {
namespace {

at::Tensor part(const at::Tensor& whole, int64_t numel, int rank) {
  return whole.narrow(0, rank * numel, numel);
}

}  // namespace

at::Tensor collect(const at::Tensor& own, const ShardTransfer& transfer) {
  const at::NoGradGuard no_grad;
  comm::Group& group = transfer.group;
  if (group.rank() != transfer.root) {
    group.send(own, transfer.root, transfer.tag)->wait();
    return {};
  }
  const at::Tensor whole = at::empty({own.numel() * group.size()}, own.options());
  std::vector<comm::WorkPtr> works;
  for (int rank = 0; rank < group.size(); ++rank) {
    if (rank == transfer.root) continue;
    works.push_back(group.recv(part(whole, own.numel(), rank), rank, transfer.tag));
  }
  part(whole, own.numel(), transfer.root).copy_(own);
  for (const comm::WorkPtr& work : works) work->wait();
  return whole;
}

void distribute(const at::Tensor& whole, at::Tensor own, const ShardTransfer& transfer) {
  const at::NoGradGuard no_grad;
  comm::Group& group = transfer.group;
  if (group.rank() != transfer.root) {
    group.recv(own, transfer.root, transfer.tag)->wait();
    return;
  }
  std::vector<comm::WorkPtr> works;
  for (int rank = 0; rank < group.size(); ++rank) {
    if (rank == transfer.root) continue;
    works.push_back(group.send(part(whole, own.numel(), rank), rank, transfer.tag));
  }
  own.copy_(part(whole, own.numel(), transfer.root));
  for (const comm::WorkPtr& work : works) work->wait();
}

}  // namespace trireme::parallel
