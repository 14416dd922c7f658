// The ranks of a run as a grid of named axes: pipeline, data, context and tensor parallel. Index
// arithmetic alone; MeshGroups makes the groups.
//
//   Mesh mesh({.pp = 2, .dp = 2, .tp = 2});        // 8 ranks, pp outermost
//   mesh.coordinates(5).dp                          // 0: rank 5 = pp 1, dp 0, tp 1
//   mesh.along({Axis::kDp, Axis::kCp}, 5)           // the ranks that sum gradients with rank 5
#pragma once

#include <array>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "trireme/comm/world.h"

namespace trireme::comm {

enum class Axis { kPp, kDp, kCp, kTp };
inline constexpr int kAxes = 4;

// "pp", "dp", "cp", "tp"
const char* axis_name(Axis axis);

struct MeshShape {
  int pp = 1, dp = 1, cp = 1, tp = 1;
  // Outermost first: neighbours along the last one have neighbouring ranks.
  std::array<Axis, kAxes> order = {Axis::kPp, Axis::kDp, Axis::kCp, Axis::kTp};
};

// An order from its names, "pp,dp,cp,tp". Throws input_error unless each axis is there once.
std::array<Axis, kAxes> parse_axis_order(const std::string& text);

class Mesh {
 public:
  struct Coordinates {
    int pp = 0, dp = 0, cp = 0, tp = 0;
    int& operator[](Axis axis);
    int operator[](Axis axis) const { return const_cast<Coordinates&>(*this)[axis]; }
    bool operator==(const Coordinates&) const = default;
  };

  Mesh() : Mesh(MeshShape{}) {}
  // Throws input_error for a size below 1, or an order that does not name each axis once.
  explicit Mesh(const MeshShape& shape);

  const MeshShape& shape() const { return shape_; }
  int size(Axis axis) const { return sizes_[static_cast<size_t>(axis)]; }
  int size() const;  // of all axes: ranks
  Coordinates coordinates(int rank) const;
  int rank(const Coordinates& at) const;
  // The ranks that differ from `rank` along these axes alone, itself among them, ascending.
  std::vector<int> along(std::initializer_list<Axis> axes, int rank) const;

 private:
  MeshShape shape_;
  std::array<int, kAxes> sizes_;    // by axis
  std::array<int, kAxes> strides_;  // by axis: how far a step along it is, in ranks
};

// The groups of this rank along axes, made when they are first asked for: every rank asks for the
// same axes in the same order.
class MeshGroups {
 public:
  // Throws input_error unless the mesh has as many ranks as the world.
  MeshGroups(World& world, const Mesh& mesh);

  const Mesh& mesh() const { return mesh_; }
  const Mesh::Coordinates& here() const { return here_; }
  // Axes in the order of the enumeration. The group of all axes is the world's.
  Group& along(std::initializer_list<Axis> axes);

 private:
  World& world_;
  Mesh mesh_;
  Mesh::Coordinates here_;
  std::map<std::string, std::unique_ptr<Group>> groups_;  // by the axes' names
};

}  // namespace trireme::comm
