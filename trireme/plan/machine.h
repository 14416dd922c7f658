// What a machine gives, as `trireme bench machine` measured it and as plans compute with it. Pure:
// tables and how to read between their entries.
//
//   const Machine machine = read_machine("machine.json");
//   const ComputeRates& rates = machine.rates(/*ranks=*/2, /*threads=*/1);
//   double s = rates.of(Dtype::kBf16).product_s(Product::kLinear, 1024, 768, 3072);
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "trireme/base/json.h"

namespace trireme::plan {

enum class Dtype { kFp32, kBf16 };
inline constexpr std::array<const char*, 2> kDtypeNames = {"fp32", "bf16"};
constexpr int64_t bytes_of(Dtype dtype) {
  return dtype == Dtype::kBf16 ? 2 : 4;
}

// Time over size, measured at some sizes: between them by a straight line in logarithms, behind the
// last in proportion to the size, before the first as long as there.
struct Curve {
  std::vector<double> size, seconds;  // rising sizes
  double at(double n) const;
};

// Products of packed rows with a matrix.
enum class Product {
  kLinear,     // x [rows, in] W^T, W [out, in]
  kMm,         // x [rows, in] W, W [in, out]
  kWeightGrad  // dy^T x: [out, in] in fp32 from [rows, out] and [rows, in]
};
inline constexpr std::array<const char*, 3> kProductNames = {"linear", "mm", "weight_grad"};

// Rates on a grid of sizes, read between its points in logarithms; outside, that of the border.
struct ProductGrid {
  std::vector<int64_t> rows, in, out;
  std::vector<double> gflops;  // [rows][in][out]
  double seconds(int64_t n_rows, int64_t n_in, int64_t n_out) const;
};

// Row kernels (kernels/ops.h), by elements of their main operand.
enum class RowOp {
  kGelu,
  kGeluBackward,
  kGeluTanh,
  kGeluTanhBackward,
  kNorm,  // layer norm alone
  kNormBackward,
  kAddNorm,  // dropout(y + bias) + residual, and its norm
  kAddNormBackward,
  kDropAddNorm,  // the same with draws
  kDropAddNormBackward,
  kAdd,      // y + bias + residual
  kDropAdd,  // dropout(y + bias) + residual
  kDropout,
  kColumnSums,
  kSum,  // x += y: where two gradients meet
  kEmbed,
  kScatter,
  kCrossEntropy,
  kConcat  // a copy that moves rows together
};
inline constexpr std::array<const char*, 19> kRowOpNames = {
    "gelu",          "gelu_backward",
    "gelu_tanh",     "gelu_tanh_backward",
    "norm",          "norm_backward",
    "add_norm",      "add_norm_backward",
    "drop_add_norm", "drop_add_norm_backward",
    "add",           "drop_add",
    "dropout",       "column_sums",
    "sum",           "embed",
    "scatter",       "cross_entropy",
    "concat"};

// Attention over sequences of one length: seconds a pair of a query and a key of one head.
struct AttentionKind {
  bool backward = false, causal = false, dropout = false;
};
constexpr size_t index_of(AttentionKind kind) {
  return (kind.backward ? 4 : 0) + (kind.causal ? 2 : 0) + (kind.dropout ? 1 : 0);
}
inline constexpr std::array<const char*, 8> kAttentionNames = {
    "forward",  "forward_dropout",  "forward_causal",  "forward_causal_dropout",
    "backward", "backward_dropout", "backward_causal", "backward_causal_dropout"};
struct AttentionGrid {
  std::vector<int64_t> head_sizes, lengths;
  std::vector<double> pair_ns;  // [head_sizes][lengths]; length^2 pairs, causal or not
  double seconds(int64_t head_size, double length) const;  // of one head and sequence
};

struct DtypeRates {
  std::array<ProductGrid, kProductNames.size()> products;
  std::array<Curve, kRowOpNames.size()> row_ops;
  std::array<AttentionGrid, kAttentionNames.size()> attention;
  Curve adamw;  // by elements

  double product_s(Product product, int64_t rows, int64_t in, int64_t out) const {
    return products[static_cast<size_t>(product)].seconds(rows, in, out);
  }
  double row_s(RowOp op, int64_t elements) const {
    return row_ops[static_cast<size_t>(op)].at(static_cast<double>(elements));
  }
};

// Of one rank, while `ranks` of them compute on the machine with `threads` each.
struct ComputeRates {
  int64_t ranks = 1, threads = 1;
  std::array<DtypeRates, kDtypeNames.size()> by_dtype;
  Curve grad_norm, zero;  // fp32 elements read, written
  double node_s = 0;      // a node of the autograd graph, forward and backward

  const DtypeRates& of(Dtype dtype) const { return by_dtype[static_cast<size_t>(dtype)]; }
};

enum class LinkPath {
  kArena,   // shared memory, buffers in it
  kStaged,  // shared memory, through staging
  kNetwork  // TCP
};
inline constexpr std::array<const char*, 3> kLinkPathNames = {"arena", "staged", "network"};
enum class LinkOp { kAllReduce, kAllGather, kReduceScatter, kAllToAll, kSend };
inline constexpr std::array<const char*, 5> kLinkOpNames = {"all_reduce", "all_gather",
                                                            "reduce_scatter", "all_to_all", "send"};

// Measured between `ranks`; of other numbers by alpha and beta.
struct Link {
  LinkPath path = LinkPath::kArena;
  LinkOp op = LinkOp::kAllReduce;
  int64_t ranks = 2;
  Curve bytes;  // of the whole buffer (of all ranks' parts together)

  // Latency alpha and bandwidth 1 / beta, of the smallest and the largest size.
  double alpha_s() const { return bytes.seconds.front(); }
  double bytes_per_s() const;
  double seconds(double n_bytes, int64_t n_ranks) const;
};

struct Machine {
  std::string cpu, date, version;
  int64_t cores = 1;
  int64_t memory_bytes = 0;
  int64_t process_bytes = 0;  // private memory of a rank that holds no tensors
  std::vector<ComputeRates> compute = {};
  std::vector<Link> links = {};

  // Of the rows measured, the one nearest to `ranks` busy on a host with `threads` each: threads
  // first, then the share of the cores that is busy.
  const ComputeRates& rates(int64_t ranks, int64_t threads) const;
  // Throws input_error when that link was not measured.
  const Link& link(LinkPath path, LinkOp op) const;

  Json to_json() const;
};

// Strict: a key that is missing or unknown (with the nearest one), a table of the wrong size, a
// rate that is not above 0, is an input_error that says where.
Machine machine_from_json(const Json& json, const std::string& where);
// The file that `trireme bench machine --report FILE` wrote.
Machine read_machine(const std::string& file);

// Every measured number of a row, in one order: to average over ranks.
std::vector<double*> measured_values(ComputeRates& rates);

}  // namespace trireme::plan
