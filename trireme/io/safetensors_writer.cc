#include <algorithm>
#include <string>
#include <unordered_set>
#include <utility>

#include "trireme/base/error.h"
#include "trireme/base/json.h"
#include "trireme/base/utf8.h"
#include "trireme/io/safetensors.h"

namespace trireme::io {
namespace {

constexpr std::size_t kAlignment = 8;  // of the header's length, and so of the first tensor

// Length and header, up to the first tensor; offsets[i] counts from the first tensor.
std::string header_of(const std::vector<TensorInfo>& tensors,
                      const std::vector<std::uint64_t>& offsets, const TensorMetadata& metadata,
                      const std::string& path) {
  // Put together from its members: a Json object looks for the key again with every new one.
  std::string json = "{";
  const auto add = [&json](const std::string& key, const Json& value) {
    if (json.size() > 1) json += ',';
    json += dump_json(Json(key));
    json += ':';
    json += dump_json(value);
  };
  if (!metadata.empty()) add("__metadata__", Json(metadata));
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    add(tensors[i].name, Json{{"dtype", dtype_name(tensors[i].dtype)},
                              {"shape", Json(tensors[i].shape)},
                              {"data_offsets", Json::array({offsets[i], offsets[i + 1]})}});
  }
  json += '}';
  json.resize((json.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
  if (json.size() > kMaxHeaderBytes) {
    throw run_error(path, ": the header of ", tensors.size(), " tensors takes ", json.size(),
                    " bytes, more than the ", kMaxHeaderBytes, " that safetensors allows");
  }
  std::string out;
  for (std::size_t i = 0; i < kAlignment; ++i) {
    out += static_cast<char>((json.size() >> (8 * i)) & 0xFFU);
  }
  return out + json;
}

void check_names(const std::vector<TensorInfo>& tensors, const std::string& path) {
  std::unordered_set<std::string_view> names;
  for (const TensorInfo& info : tensors) {
    if (info.name == "__metadata__") {
      throw run_error(path,
                      ": a tensor cannot be called '__metadata__', the format keeps the name");
    }
    if (!is_valid_utf8(info.name)) {
      throw run_error(path, ": tensor name ", shown_name(info.name), " is not valid UTF-8");
    }
    if (!names.insert(info.name).second) {
      throw run_error(path, ": tensor ", shown_name(info.name), " is declared twice");
    }
  }
}

}  // namespace

void sort_for_file(std::vector<TensorInfo>& tensors) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return a.dtype != b.dtype ? a.dtype > b.dtype : a.name < b.name;
  });
}

SafetensorsWriter::SafetensorsWriter(const std::string& path, std::vector<TensorInfo> tensors,
                                     const TensorMetadata& metadata)
    : path_(path), tensors_(std::move(tensors)) {
  check_names(tensors_, path_);
  offsets_.push_back(0);
  for (const TensorInfo& info : tensors_) {
    std::uint64_t end = 0;
    if (__builtin_add_overflow(offsets_.back(), checked_tensor_bytes(info), &end)) {
      throw run_error(path_, ": tensor ", shown_name(info.name), " ends beyond 2^64 bytes");
    }
    offsets_.push_back(end);
  }
  const std::string header = header_of(tensors_, offsets_, metadata, path_);
  for (std::uint64_t& offset : offsets_) offset += header.size();
  out_ = std::make_unique<AtomicFile>(path_);
  out_->write(header);
}

SafetensorsWriter::~SafetensorsWriter() = default;
SafetensorsWriter::SafetensorsWriter(SafetensorsWriter&&) noexcept = default;
SafetensorsWriter& SafetensorsWriter::operator=(SafetensorsWriter&&) noexcept = default;

void SafetensorsWriter::write(std::string_view name, std::span<const std::byte> bytes) {
  // On to the next tensor when this one is complete, over those without elements.
  while (current_ < tensors_.size() && tensors_[current_].name != name &&
         current_bytes_ == size_bytes(current_)) {
    ++current_;
    current_bytes_ = 0;
  }
  if (current_ == tensors_.size() || tensors_[current_].name != name) {
    throw run_error(path_, ": bytes of tensor ", shown_name(name), " came where ",
                    current_ == tensors_.size()
                        ? "all are written"
                        : cat("those of ", shown_name(tensors_[current_].name), " are due"));
  }
  if (bytes.size() > size_bytes(current_) - current_bytes_) {
    throw run_error(path_, ": tensor ", shown_name(name), " has ", size_bytes(current_), " bytes, ",
                    current_bytes_ + bytes.size(), " came");
  }
  out_->write(bytes);
  current_bytes_ += bytes.size();
}

void SafetensorsWriter::commit() {
  if (out_->written_bytes() != offsets_.back()) {
    const std::size_t at = std::min(current_, tensors_.size() - 1);
    throw run_error(path_, ": ", offsets_.back() - out_->written_bytes(),
                    " bytes are missing, from tensor ", shown_name(tensors_[at].name), " on");
  }
  out_->commit();
}

}  // namespace trireme::io
