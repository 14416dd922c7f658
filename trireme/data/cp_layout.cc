#include "trireme/data/cp_layout.h"

#include <algorithm>
#include <numeric>

#include "trireme/base/error.h"
#include "trireme/data/plan_step.h"

namespace trireme::data {
namespace {

bool is_cut(int64_t tokens, int cp) {
  return cp > 1 && tokens >= 2 * int64_t{cp};
}

size_t lightest(const std::vector<int64_t>& loads) {
  return static_cast<size_t>(std::min_element(loads.begin(), loads.end()) - loads.begin());
}

// Tokens of each of a sequence's 2 cp chunks; `loads`, the ranks' rows so far, grow by them.
std::vector<int32_t> chunk_sizes(int32_t tokens, std::vector<int64_t>& loads) {
  const auto cp = loads.size(), chunks = 2 * cp;
  std::vector<int32_t> sizes(chunks, tokens / static_cast<int32_t>(chunks));
  for (int64_t& load : loads) load += 2 * sizes[0];
  std::vector<int> taken(cp, 0);
  for (auto left = static_cast<size_t>(tokens) % chunks; left > 0; --left) {
    size_t best = cp;
    for (size_t r = 0; r < cp; ++r) {
      if (taken[r] < 2 && (best == cp || loads[r] < loads[best])) best = r;
    }
    ++sizes[taken[best]++ == 0 ? best : chunks - 1 - best];
    ++loads[best];
  }
  return sizes;
}

}  // namespace

CpLayout cp_layout(std::span<const int32_t> lengths, int cp) {
  if (cp < 1) throw input_error("cannot cut sequences over cp = ", cp, ": must be at least 1");
  const auto ranks = static_cast<size_t>(cp);
  CpLayout layout;
  layout.ranks.resize(ranks);
  // Whole ones first, longest first: what they leave uneven, the others' odd tokens even out.
  std::vector<std::vector<CpPiece>> whole(ranks);
  std::vector<int64_t> loads(ranks, 0);
  std::vector<int32_t> longest_first(lengths.size());
  std::iota(longest_first.begin(), longest_first.end(), 0);
  std::stable_sort(longest_first.begin(), longest_first.end(), [&](int32_t a, int32_t b) {
    return lengths[static_cast<size_t>(a)] > lengths[static_cast<size_t>(b)];
  });
  for (const int32_t b : longest_first) {
    const int32_t tokens = lengths[static_cast<size_t>(b)];
    if (tokens < 1) throw input_error("a sequence of ", tokens, " tokens cannot be cut");
    if (is_cut(tokens, cp)) continue;
    const size_t rank = lightest(loads);
    whole[rank].push_back({b, 0, tokens, 0});
    loads[rank] += tokens;
  }
  for (size_t b = 0; b < lengths.size(); ++b) {
    if (!is_cut(lengths[b], cp)) continue;
    const std::vector<int32_t> sizes = chunk_sizes(lengths[b], loads);
    int32_t begin = 0;
    for (size_t chunk = 0; chunk < sizes.size(); ++chunk) {
      const size_t rank = std::min(chunk, sizes.size() - 1 - chunk);
      layout.ranks[rank].push_back({static_cast<int32_t>(b), begin, sizes[chunk], 0});
      begin += sizes[chunk];
    }
  }
  int64_t most_rows = 0;
  for (size_t r = 0; r < ranks; ++r) {
    std::vector<CpPiece>& pieces = layout.ranks[r];
    const size_t cut = pieces.size();
    pieces.insert(pieces.end(), whole[r].begin(), whole[r].end());
    int32_t row = 0;
    for (size_t i = 0; i < pieces.size(); ++i) {
      pieces[i].row = row;
      row += pieces[i].rows;
      if (i < cut) layout.cut_rows = std::max<int64_t>(layout.cut_rows, row);
    }
    most_rows = std::max<int64_t>(most_rows, row);
  }
  layout.rows = std::max<int64_t>(1, (most_rows + kRowMultiple - 1) / kRowMultiple) * kRowMultiple;
  return layout;
}

}  // namespace trireme::data
