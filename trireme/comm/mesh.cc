#include "trireme/comm/mesh.h"

#include <algorithm>
#include <bitset>

#include "trireme/base/error.h"

namespace trireme::comm {
namespace {

constexpr std::array<Axis, kAxes> kAll = {Axis::kPp, Axis::kDp, Axis::kCp, Axis::kTp};

size_t index(Axis axis) {
  return static_cast<size_t>(axis);
}

void check_order(const std::array<Axis, kAxes>& order) {
  std::bitset<kAxes> seen;
  for (const Axis axis : order) seen.set(index(axis));
  if (!seen.all()) throw input_error("the order of a mesh names each of pp, dp, cp, tp once");
}

}  // namespace

const char* axis_name(Axis axis) {
  constexpr std::array<const char*, kAxes> kNames = {"pp", "dp", "cp", "tp"};
  return kNames[index(axis)];
}

std::array<Axis, kAxes> parse_axis_order(const std::string& text) {
  std::array<Axis, kAxes> order{};
  size_t count = 0;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string name = text.substr(begin, end - begin);
    const auto found =
        std::find_if(kAll.begin(), kAll.end(), [&](Axis axis) { return name == axis_name(axis); });
    if (found == kAll.end() || count == kAxes) {
      throw input_error("'", text, "' is no order of axes; write each of pp, dp, cp, tp once, ",
                        "outermost first, as in 'pp,dp,cp,tp'");
    }
    order[count++] = *found;
    begin = end + 1;
  }
  std::bitset<kAxes> seen;
  for (size_t i = 0; i < count; ++i) seen.set(index(order[i]));
  if (!seen.all()) {
    throw input_error("'", text, "' is no order of axes; write each of pp, dp, cp, tp once, ",
                      "outermost first, as in 'pp,dp,cp,tp'");
  }
  return order;
}

int& Mesh::Coordinates::operator[](Axis axis) {
  switch (axis) {
    case Axis::kPp:
      return pp;
    case Axis::kDp:
      return dp;
    case Axis::kCp:
      return cp;
    case Axis::kTp:
      break;
  }
  return tp;
}

Mesh::Mesh(const MeshShape& shape)
    : shape_(shape), sizes_{shape.pp, shape.dp, shape.cp, shape.tp}, strides_{} {
  check_order(shape.order);
  for (const Axis axis : kAll) {
    if (size(axis) < 1) {
      throw input_error("the ", axis_name(axis), " axis of a mesh has ", size(axis),
                        " ranks; it has at least 1");
    }
  }
  int stride = 1;
  for (size_t i = kAxes; i-- > 0;) {
    strides_[index(shape.order[i])] = stride;
    stride *= size(shape.order[i]);
  }
}

int Mesh::size() const {
  int product = 1;
  for (const int n : sizes_) product *= n;
  return product;
}

Mesh::Coordinates Mesh::coordinates(int rank) const {
  Coordinates at;
  for (const Axis axis : kAll) at[axis] = rank / strides_[index(axis)] % size(axis);
  return at;
}

int Mesh::rank(const Coordinates& at) const {
  int rank = 0;
  for (const Axis axis : kAll) rank += at[axis] * strides_[index(axis)];
  return rank;
}

std::vector<int> Mesh::along(std::initializer_list<Axis> axes, int rank) const {
  Coordinates at = coordinates(rank);
  for (const Axis axis : axes) at[axis] = 0;
  std::vector<int> ranks = {this->rank(at)};
  for (const Axis axis : axes) {
    std::vector<int> more;
    for (const int from : ranks) {
      for (int i = 0; i < size(axis); ++i) more.push_back(from + i * strides_[index(axis)]);
    }
    ranks = std::move(more);
  }
  std::sort(ranks.begin(), ranks.end());
  return ranks;
}

MeshGroups::MeshGroups(World& world, const Mesh& mesh)
    : world_(world), mesh_(mesh), here_(mesh.coordinates(world.rank())) {
  if (mesh.size() != world.size()) {
    throw input_error("a mesh of ", mesh.size(), " ranks does not fit ", world.size());
  }
}

Group& MeshGroups::along(std::initializer_list<Axis> axes) {
  std::string name;
  for (const Axis axis : axes) name += (name.empty() ? "" : "-") + std::string(axis_name(axis));
  std::vector<int> ranks = mesh_.along(axes, world_.rank());
  if (static_cast<int>(ranks.size()) == world_.size()) return world_.world_group();
  auto& group = groups_[name];
  if (group == nullptr) {
    // One of several side by side: told apart by their first rank.
    group = world_.make_group(ranks, name + "/" + std::to_string(ranks.front()));
  }
  return *group;
}

}  // namespace trireme::comm
