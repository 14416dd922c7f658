#include "trireme/parallel/holdings.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <numeric>
#include <set>

#include "trireme/base/error.h"
#include "trireme/base/json.h"

namespace trireme::parallel {
namespace {

constexpr const char* kWhere = "what the ranks hold";
constexpr const char* kTag = "whole tensors";

bool gives(const Engine& engine) {
  return engine.sharded() || engine.group().rank() == 0;
}

// Of what tensor-parallel ranks hold alike the first one's counts: their buckets may be cut into
// other shards, by the sizes of their slices of other tensors.
bool counts(const Engine& engine, const Region& region) {
  const comm::Group* tp = engine.options().tp;
  return tp == nullptr || tp->rank() == 0 || region.param->spec.tp == nn::TpKind::kShard;
}

// What a rank says of itself: its regions by chunk and bucket.
Json to_json(const Region& region) {
  Json ranges = Json::array();
  for (const nn::DimRange& range : region.cut.ranges) ranges.push_back({range.begin, range.end});
  return {region.name,       region.cut.shape, region.cut.dim, std::move(ranges),
          region.flat_begin, region.flat_end,  region.offset};
}

Region region_from_json(const Json& json) {
  Region region{.name = json.at(0).get<std::string>(),
                .cut = {.shape = json.at(1).get<std::vector<int64_t>>(),
                        .dim = json.at(2).get<int>(),
                        .ranges = {}}};
  for (const Json& range : json.at(3)) {
    region.cut.ranges.push_back({range.at(0).get<int64_t>(), range.at(1).get<int64_t>()});
  }
  region.flat_begin = json.at(4).get<int64_t>();
  region.flat_end = json.at(5).get<int64_t>();
  region.offset = json.at(6).get<int64_t>();
  return region;
}

Json describe(const std::vector<Chunk>& chunks) {
  Json described = Json::array();
  for (const Chunk& chunk : chunks) {
    if (!gives(*chunk.engine)) continue;
    Json buckets = Json::array();
    for (const optim::FlatBuffer& buffer : chunk.engine->flat_buffers()) {
      const nn::Param* tied = chunk.engine->tied_param(buckets.size());
      buckets.push_back({{"numel", buffer.master.numel()},
                         {"frozen", !buffer.grad.defined()},
                         {"copy", tied != nullptr && tied->spec.tie == nn::Tie::kCopy},
                         {"regions", Json::array()}});
    }
    for (const Region& region : chunk.engine->regions()) {
      Json described_region = to_json(region);
      described_region.push_back(counts(*chunk.engine, region));
      buckets[region.bucket]["regions"].push_back(std::move(described_region));
    }
    described.push_back({{"place", chunk.place}, {"buckets", std::move(buckets)}});
  }
  return described;
}

int64_t product(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

// In the order of a holder's bucket; holders after the first add what they have and it lacks.
void add_region(std::vector<Holdings::NamedTensor>& tensors, size_t holder, Region region,
                bool needed) {
  auto found = std::find_if(tensors.begin(), tensors.end(),
                            [&](const Holdings::NamedTensor& t) { return t.name == region.name; });
  if (found == tensors.end()) {
    tensors.push_back({region.name, region.cut.shape, {}});
    found = tensors.end() - 1;
  }
  found->pieces.push_back({holder, std::move(region), needed});
}

void check_covered(const Holdings::NamedTensor& tensor) {
  int64_t held = 0;
  for (const Holdings::Piece& piece : tensor.pieces)
    held += piece.needed ? piece.region.numel() : 0;
  if (held != product(tensor.shape)) {
    throw run_error("the ranks hold ", held, " of ", product(tensor.shape), " elements of ",
                    tensor.name);
  }
}

void copy_run(const float* from, float* to, int64_t numel) {
  std::memcpy(to, from, static_cast<size_t>(numel) * sizeof(float));
}

}  // namespace

Holdings::Holdings(comm::Group& world, std::vector<Chunk> chunks)
    : world_(world), chunks_(std::move(chunks)) {
  std::sort(chunks_.begin(), chunks_.end(),
            [](const Chunk& a, const Chunk& b) { return a.place < b.place; });
  entries_ = own_entries();
  const std::vector<std::string> all =
      world_.all_gather_bytes(dump_json(describe(chunks_)), kWhere);
  if (!on_root()) return;
  std::map<std::pair<int, size_t>, Entry> model;  // by place and bucket
  for (Entry& entry : entries_)
    model[{chunks_[*entry.chunk].place, entry.bucket}] = std::move(entry);
  for (int rank = 0; rank < world_.size(); ++rank) {
    for (const Json& chunk : parse_json(all[static_cast<size_t>(rank)], kWhere)) {
      const int place = chunk.at("place").get<int>();
      size_t bucket = 0;
      for (const Json& held : chunk.at("buckets")) {
        Entry& entry = model[{place, bucket}];
        entry.bucket = bucket++;
        entry.frozen = held.at("frozen").get<bool>();
        entry.copy = held.at("copy").get<bool>();
        for (const Json& region : held.at("regions")) {
          add_region(entry.tensors, entry.holders.size(), region_from_json(region),
                     region.at(7).get<bool>());
        }
        entry.holders.push_back({rank, held.at("numel").get<int64_t>()});
      }
    }
  }
  entries_.clear();
  for (auto& [place, entry] : model) {
    std::for_each(entry.tensors.begin(), entry.tensors.end(), check_covered);
    entries_.push_back(std::move(entry));
  }
}

std::vector<Holdings::Entry> Holdings::own_entries() const {
  std::vector<Entry> entries;
  for (size_t c = 0; c < chunks_.size(); ++c) {
    if (c > 0 && chunks_[c].place == chunks_[c - 1].place) {
      throw run_error("two engines of a rank hold chunk ", chunks_[c].place);
    }
    const Engine& engine = *chunks_[c].engine;
    for (size_t bucket = 0; bucket < engine.flat_buffers().size(); ++bucket) {
      const nn::Param* tied = engine.tied_param(bucket);
      entries.push_back({.chunk = c,
                         .bucket = bucket,
                         .frozen = !engine.flat_buffers()[bucket].grad.defined(),
                         .copy = tied != nullptr && tied->spec.tie == nn::Tie::kCopy,
                         .holders = {},
                         .tensors = {}});
    }
  }
  return entries;
}

at::Tensor Holdings::flat_of(const Holder& holder, const at::Tensor& own) const {
  return holder.rank == world_.rank() ? own : at::zeros({holder.numel}, at::kFloat);
}

at::Tensor Holdings::Collected::tensor(size_t i) const {
  const NamedTensor& tensor = entry_->tensors.at(i);
  for (const Piece& piece : tensor.pieces) {
    if (piece.region.whole()) return piece.region.view(flats_[piece.holder]);
  }
  const at::Tensor whole = at::empty(tensor.shape, at::kFloat);
  for (const Piece& piece : tensor.pieces) {
    if (!piece.needed) continue;
    const float* flat = flats_[piece.holder].const_data_ptr<float>();
    piece.region.each_run([&](const nn::CutRun& run) {
      copy_run(flat + run.local, whole.data_ptr<float>() + run.global, run.numel);
    });
  }
  return whole;
}

Holdings::Collected Holdings::collect(const Entry& entry, const at::Tensor& own) const {
  const at::NoGradGuard no_grad;
  Collected collected;
  if (entry.copy) return collected;
  if (!on_root()) {
    if (gives(*chunks_[*entry.chunk].engine)) world_.send(own, 0, kTag)->wait();
    return collected;
  }
  collected.entry_ = &entry;
  std::vector<comm::WorkPtr> works;
  for (const Holder& holder : entry.holders) {
    collected.flats_.push_back(flat_of(holder, own));
    if (holder.rank != 0) works.push_back(world_.recv(collected.flats_.back(), holder.rank, kTag));
  }
  for (const comm::WorkPtr& work : works) work->wait();
  return collected;
}

void Holdings::deal(const Entry& entry, const at::Tensor& own, const TensorReader& read) const {
  const at::NoGradGuard no_grad;
  if (on_root()) {
    std::vector<at::Tensor> flats;
    for (const Holder& holder : entry.holders) flats.push_back(flat_of(holder, own));
    for (const NamedTensor& tensor : entry.tensors) {
      const Piece& first = tensor.pieces.front();
      const bool here = tensor.pieces.size() == 1 && first.region.whole();
      const at::Tensor whole =
          here ? first.region.view(flats[first.holder]) : at::empty(tensor.shape, at::kFloat);
      read(tensor.name, whole);
      if (here) continue;
      for (const Piece& piece : tensor.pieces) {
        auto* flat = flats[piece.holder].data_ptr<float>();
        piece.region.each_run([&](const nn::CutRun& run) {
          copy_run(whole.const_data_ptr<float>() + run.global, flat + run.local, run.numel);
        });
      }
    }
    std::vector<comm::WorkPtr> works;
    for (size_t i = 0; i < flats.size(); ++i) {
      const int rank = entry.holders[i].rank;
      if (rank != 0) works.push_back(world_.send(flats[i], rank, kTag));
    }
    for (const comm::WorkPtr& work : works) work->wait();
  } else if (gives(*chunks_[*entry.chunk].engine)) {
    world_.recv(own, 0, kTag)->wait();
  }
  if (!entry.chunk) return;
  const Engine& engine = *chunks_[*entry.chunk].engine;
  if (!engine.sharded() && engine.group().size() > 1) {
    engine.group().broadcast(own, 0, kTag)->wait();
  }
}

void load_masters(const Holdings& holdings, const TensorReader& read) {
  for (const Holdings::Entry& entry : holdings.entries()) {
    at::Tensor own;
    if (entry.chunk) {
      own = holdings.chunks()[*entry.chunk].engine->flat_buffers()[entry.bucket].master;
    }
    holdings.deal(entry, own, read);
  }
  for (const Chunk& chunk : holdings.chunks()) chunk.engine->sync_values();
}

}  // namespace trireme::parallel
