#include "trireme/plan/machine.h"

#include <algorithm>
#include <cmath>

#include "trireme/base/error.h"

namespace trireme::plan {
namespace {

// Where x lies on an axis, in logarithms: between points i and i + 1, `share` of the way; at a
// border outside it.
struct Place {
  size_t i = 0;
  double share = 0;
};

template <class T>
Place place(const std::vector<T>& axis, double x) {
  if (axis.size() < 2 || x <= static_cast<double>(axis.front())) return {};
  if (x >= static_cast<double>(axis.back())) return {axis.size() - 2, 1};
  const auto above = std::upper_bound(
      axis.begin(), axis.end(), x, [](double a, const T& b) { return a < static_cast<double>(b); });
  const auto i = static_cast<size_t>(above - axis.begin()) - 1;
  const auto low = static_cast<double>(axis[i]), high = static_cast<double>(axis[i + 1]);
  return {i, std::log(x / low) / std::log(high / low)};
}

double between(double a, double b, double share) {
  return share == 0 ? a : std::exp((1 - share) * std::log(a) + share * std::log(b));
}

// How much of a buffer of all ranks' parts a rank moves.
double share_moved(LinkOp op, int64_t ranks) {
  const auto n = static_cast<double>(ranks);
  if (op == LinkOp::kSend) return 1;
  return (op == LinkOp::kAllReduce ? 2 : 1) * (n - 1) / n;
}

}  // namespace

double Curve::at(double n) const {
  if (n <= 0) return 0;
  if (n >= size.back()) return seconds.back() * n / size.back();
  const Place p = place(size, n);
  return p.share == 0 ? seconds[p.i] : between(seconds[p.i], seconds[p.i + 1], p.share);
}

double ProductGrid::seconds(int64_t n_rows, int64_t n_in, int64_t n_out) const {
  if (n_rows <= 0 || n_in <= 0 || n_out <= 0) return 0;
  const Place r = place(rows, static_cast<double>(n_rows)),
              i = place(in, static_cast<double>(n_in)), o = place(out, static_cast<double>(n_out));
  const auto at = [&](size_t dr, size_t di, size_t d_o) {
    const size_t ri = std::min(r.i + dr, rows.size() - 1), ii = std::min(i.i + di, in.size() - 1),
                 oi = std::min(o.i + d_o, out.size() - 1);
    return gflops[(ri * in.size() + ii) * out.size() + oi];
  };
  const auto along_out = [&](size_t dr, size_t di) {
    return between(at(dr, di, 0), at(dr, di, 1), o.share);
  };
  const auto along_in = [&](size_t dr) {
    return between(along_out(dr, 0), along_out(dr, 1), i.share);
  };
  const double rate = between(along_in(0), along_in(1), r.share);
  return 2e-9 * static_cast<double>(n_rows) * static_cast<double>(n_in) *
         static_cast<double>(n_out) / rate;
}

double AttentionGrid::seconds(int64_t head_size, double length) const {
  if (length <= 0) return 0;
  const Place d = place(head_sizes, static_cast<double>(head_size)), l = place(lengths, length);
  const auto at = [&](size_t dd, size_t dl) {
    return pair_ns[std::min(d.i + dd, head_sizes.size() - 1) * lengths.size() +
                   std::min(l.i + dl, lengths.size() - 1)];
  };
  double ns =
      between(between(at(0, 0), at(0, 1), l.share), between(at(1, 0), at(1, 1), l.share), d.share);
  const auto widest = static_cast<double>(head_sizes.back());
  if (static_cast<double>(head_size) > widest) ns *= static_cast<double>(head_size) / widest;
  return 1e-9 * ns * length * length;
}

double Link::bytes_per_s() const {
  const double all_s = bytes.seconds.back(), moving_s = all_s - alpha_s();
  return bytes.size.back() / (moving_s > 0 ? moving_s : all_s);  // else a noisy measurement
}

double Link::seconds(double n_bytes, int64_t n_ranks) const {
  if (n_ranks < 2) return 0;
  const double measured = bytes.at(n_bytes);
  if (n_ranks == ranks) return measured;
  const double rounds = op == LinkOp::kSend ? 1
                                            : std::log2(static_cast<double>(n_ranks)) /
                                                  std::log2(static_cast<double>(ranks));
  return alpha_s() * rounds +
         (measured - alpha_s()) * share_moved(op, n_ranks) / share_moved(op, ranks);
}

const ComputeRates& Machine::rates(int64_t ranks, int64_t threads) const {
  const auto distance = [&](const ComputeRates& row) {
    const auto busy = [this](int64_t r, int64_t t) {
      return static_cast<double>(std::min(r * t, cores)) / static_cast<double>(cores);
    };
    const double by_threads = std::abs(std::log2(static_cast<double>(row.threads)) -
                                       std::log2(static_cast<double>(threads)));
    return 10 * by_threads + std::abs(busy(row.ranks, row.threads) - busy(ranks, threads));
  };
  return *std::min_element(
      compute.begin(), compute.end(),
      [&](const ComputeRates& a, const ComputeRates& b) { return distance(a) < distance(b); });
}

const Link& Machine::link(LinkPath path, LinkOp op) const {
  for (const Link& known : links) {
    if (known.path == path && known.op == op) return known;
  }
  throw input_error("the machine's file has no ", kLinkOpNames[static_cast<size_t>(op)],
                    " over path '", kLinkPathNames[static_cast<size_t>(path)],
                    "'; measure it with trireme bench machine --ranks 2 --report FILE");
}

std::vector<double*> measured_values(ComputeRates& rates) {
  std::vector<double*> values;
  const auto add = [&values](std::vector<double>& list) {
    for (double& value : list) values.push_back(&value);
  };
  for (DtypeRates& dtype : rates.by_dtype) {
    for (ProductGrid& grid : dtype.products) add(grid.gflops);
    for (Curve& curve : dtype.row_ops) add(curve.seconds);
    for (AttentionGrid& grid : dtype.attention) add(grid.pair_ns);
    add(dtype.adamw.seconds);
  }
  add(rates.grad_norm.seconds);
  add(rates.zero.seconds);
  values.push_back(&rates.node_s);
  return values;
}

}  // namespace trireme::plan
