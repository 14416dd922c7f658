#include "trireme/nn/context_parallel.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <map>
#include <string>
#include <utility>

#include "trireme/base/error.h"
#include "trireme/nn/ring_attention.h"
#include "trireme/nn/tape.h"
#include "trireme/nn/ulysses_attention.h"

namespace trireme::nn {
namespace {

using Tensors = std::vector<at::Tensor>;
using Pieces = std::vector<data::CpPiece>;

std::map<int32_t, std::vector<kernels::RowRun>> by_sequence(const Pieces& pieces) {
  std::map<int32_t, std::vector<kernels::RowRun>> runs;
  for (const data::CpPiece& piece : pieces)
    runs[piece.sequence].push_back({piece.row, piece.rows, piece.begin});
  return runs;
}

std::vector<kernels::SequenceRuns> common_runs(const Pieces& queries, const Pieces& keys) {
  std::vector<kernels::SequenceRuns> common;
  auto theirs = by_sequence(keys);
  for (auto& [sequence, runs] : by_sequence(queries)) {
    const auto found = theirs.find(sequence);
    if (found != theirs.end()) common.push_back({runs, found->second});
  }
  return common;
}

std::string divisors(int64_t n) {
  std::string text;
  for (int64_t d = 1; d <= n; ++d) {
    if (n % d == 0) text += (text.empty() ? "" : ", ") + std::to_string(d);
  }
  return text;
}

}  // namespace

void check_ulysses_heads(int64_t heads, int cp) {
  if (heads % cp == 0) return;
  throw input_error("parallel.cp = ", cp, " with parallel.cp_method = \"ulysses\": the ", heads,
                    " attention heads of a rank do not divide over it; set parallel.cp to one of ",
                    divisors(heads), " or parallel.cp_method to \"ring\"");
}

ContextParallel::ContextParallel(comm::Group& group, CpMethod method, data::CpShard shard)
    : group_(group), method_(method), shard_(std::move(shard)) {
  const auto& ranks = shard_.layout.ranks;
  if (shard_.layout.cp() != group.size()) {
    throw run_error("a batch cut for ", shard_.layout.cp(),
                    " context-parallel ranks in a group of ", group.size());
  }
  for (const Pieces& keys : ranks)
    runs_.push_back(common_runs(ranks[static_cast<size_t>(group.rank())], keys));
}

at::Tensor context_parallel_attention(const at::Tensor& qkv, int64_t heads,
                                      const kernels::AttentionOptions& options,
                                      const ContextParallelPtr& cp) {
  return cp->method() == CpMethod::kRing ? ring_attention(qkv, heads, options, cp)
                                         : ulysses_attention(qkv, heads, options, cp);
}

at::Tensor gather_sequences(const at::Tensor& x, const ContextParallelPtr& cp) {
  at::Tensor whole;
  {
    const at::NoGradGuard no_grad;
    const at::Tensor in = x.detach().contiguous();
    const at::Tensor all = at::empty({cp->size() * in.size(0), in.size(1)}, in.options());
    cp->group().all_gather(all, in, "cp/gather_sequences")->wait();
    whole = all.index_select(0, cp->shard().gathered_rows);
  }
  return record(whole, {x}, "GatherSequences",
                [cp, sizes = x.sizes().vec()](const Tensors& dy) -> Tensors {
                  const at::Tensor& own = cp->shard().own_rows;
                  at::Tensor dx = at::zeros(sizes, dy[0].options());
                  dx.narrow(0, 0, own.size(0)).copy_(dy[0].index_select(0, own));
                  return {dx};
                });
}

at::Tensor counted_once(const at::Tensor& loss, const ContextParallelPtr& cp) {
  at::Tensor value = loss.detach().clone();
  if (cp->rank() != 0) value.zero_();
  return record(value, {loss}, "CountedOnce", [](const Tensors& dy) -> Tensors { return dy; });
}

}  // namespace trireme::nn
