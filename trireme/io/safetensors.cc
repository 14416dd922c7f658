#include "trireme/io/safetensors.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "trireme/base/error.h"
#include "trireme/base/json.h"
#include "trireme/base/text_distance.h"

namespace trireme::io {
namespace {

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::string_view kMetadataKey = "__metadata__";

// A tensor as the header describes it; begin and end count from the end of the header.
struct Entry {
  TensorInfo info;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

// The JSON text between the length and the tensors.
std::string_view header_text(std::span<const std::byte> file, const std::string& where) {
  if (file.size() < kLengthBytes) {
    throw input_error(where, ": ", file.size(), " bytes are too few for a safetensors file (the ",
                      "header's length alone takes 8); the file is cut off or of another format");
  }
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i) {
    length |= static_cast<std::uint64_t>(file[i]) << (8 * i);
  }
  if (length > kMaxHeaderBytes) {
    throw input_error(where, ": the header's length (", length, " bytes) is beyond the format's ",
                      kMaxHeaderBytes, "; this is no safetensors file, or its start is damaged");
  }
  if (length > file.size() - kLengthBytes) {
    throw input_error(where, ": cut off in the header: it has ", length, " bytes, the file ends ",
                      "after ", file.size() - kLengthBytes, " of them");
  }
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + kLengthBytes, length);
  if (text.empty() || text.front() != '{') {
    throw input_error(where, ": the header does not begin with '{'; this is no safetensors file");
  }
  // The JSON reader takes a NUL for the end of the text; in a header it is damage.
  if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos) {
    throw input_error(where, ": byte ", nul + kLengthBytes,
                      " of the header is NUL; padding must be ", "spaces");
  }
  return text;
}

// An integer of 64 bits, not negative; "-0" and "1.0" are no such integers.
std::uint64_t count_of(const Json& value, const std::string& where) {
  if (!value.is_number_unsigned()) {
    throw input_error(where, " must be integers, 0 or more, below 2^64");
  }
  return value.get<std::uint64_t>();
}

std::vector<std::int64_t> shape_of(const Json& value, const std::string& where) {
  std::vector<std::int64_t> shape;
  for (const Json& item : as_array(value, where)) {
    const std::uint64_t dim = count_of(item, where);
    if (dim > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      throw input_error(where, " has a dim of ", dim, ", beyond 2^63");
    }
    shape.push_back(static_cast<std::int64_t>(dim));
  }
  return shape;
}

Dtype dtype_of(const std::string& name, const std::string& where) {
  if (const std::optional<Dtype> dtype = parse_dtype(name)) return *dtype;
  throw input_error(where, ": unknown dtype ", shown_name(name), "; known are ", dtype_names());
}

Entry entry_of(const std::string& name, const Json& value, const std::string& where) {
  const std::string here = cat(where, ": tensor ", shown_name(name));
  Entry entry;
  entry.info.name = name;
  entry.info.dtype = dtype_of(require_string(value, "dtype", here), here);
  entry.info.shape = shape_of(require(value, "shape", here), here + ": 'shape'");
  const std::string offsets_here = here + ": 'data_offsets'";
  const Json& offsets = as_array(require(value, "data_offsets", here), offsets_here);
  if (offsets.size() != 2) {
    throw input_error(offsets_here, " must be [begin, end], not ", offsets.size(), " numbers");
  }
  entry.begin = count_of(offsets[0], offsets_here);
  entry.end = count_of(offsets[1], offsets_here);
  return entry;
}

TensorMetadata metadata_of(const Json& value, const std::string& where) {
  TensorMetadata metadata;
  if (value.is_null()) return metadata;
  const std::string here = cat(where, ": '", kMetadataKey, "'");
  for (const auto& item : as_object(value, here).items()) {
    metadata[item.key()] = as_string(item.value(), cat(here, ": key ", shown_name(item.key())));
  }
  return metadata;
}

// One tensor's range against where the one before ended, its shape, and the file's end.
void check_range(const Entry& entry, std::uint64_t expected_begin, std::uint64_t data_bytes,
                 const std::string& before, const std::string& where) {
  const std::string here = cat(where, ": tensor ", shown_name(entry.info.name));
  const std::string range = cat("data_offsets [", entry.begin, ", ", entry.end, "]");
  if (entry.end < entry.begin) throw input_error(here, ": ", range, " end before they begin");
  if (entry.begin != expected_begin) {
    throw input_error(here, ": ", range,
                      entry.begin < expected_begin ? " overlap with " : " leave a hole behind ",
                      before, ", ", expected_begin, " is where they must begin");
  }
  const Json shape(entry.info.shape);
  const std::optional<std::uint64_t> bytes = tensor_bytes(entry.info.dtype, entry.info.shape);
  if (!bytes) {
    throw input_error(here, ": shape ", dump_json(shape), " of ", dtype_name(entry.info.dtype),
                      " has more bits than 2^64 or ends inside a byte");
  }
  if (entry.end - entry.begin != *bytes) {
    throw input_error(here, ": ", range, " hold ", entry.end - entry.begin, " bytes, but shape ",
                      dump_json(shape), " of ", dtype_name(entry.info.dtype), " has ", *bytes);
  }
  if (entry.end > data_bytes) {
    throw input_error(here, ": ", range, " are out of range: the file is cut off after ",
                      data_bytes, " bytes of tensors");
  }
}

}  // namespace

SafetensorsHeader parse_safetensors(std::span<const std::byte> file, const std::string& where) {
  const std::string_view text = header_text(file, where);
  const std::string header_where = where + ": header";
  const Json json = parse_json(text, header_where);
  SafetensorsHeader header;
  std::vector<Entry> entries;
  for (const auto& item : as_object(json, header_where).items()) {
    if (item.key() == kMetadataKey) {
      header.metadata = metadata_of(item.value(), where);
    } else {
      entries.push_back(entry_of(item.key(), item.value(), where));
    }
  }
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });

  const std::uint64_t data_begin = kLengthBytes + text.size();
  const std::uint64_t data_bytes = file.size() - data_begin;
  std::uint64_t end = 0;
  std::string before = "the header";
  for (Entry& entry : entries) {
    check_range(entry, end, data_bytes, before, where);
    end = entry.end;
    before = shown_name(entry.info.name);
    header.offsets.push_back(data_begin + entry.begin);
    header.tensors.push_back(std::move(entry.info));
  }
  if (end != data_bytes) {
    throw input_error(where, ": ", data_bytes - end,
                      " bytes behind the last tensor belong to none");
  }
  return header;
}

SafetensorsFile::SafetensorsFile(const std::string& path)
    : file_(path), header_(parse_safetensors(file_.bytes(), path)) {
  for (std::size_t i = 0; i < header_.tensors.size(); ++i) {
    index_.emplace(header_.tensors[i].name, i);
  }
}

const TensorInfo* SafetensorsFile::find(std::string_view name) const {
  const auto found = index_.find(std::string(name));
  return found == index_.end() ? nullptr : &header_.tensors[found->second];
}

std::size_t SafetensorsFile::index_of(std::string_view name) const {
  const auto found = index_.find(std::string(name));
  if (found == index_.end()) throw_no_such_tensor(*this, name);
  return found->second;
}

std::uint64_t SafetensorsFile::offset_bytes(std::string_view name) const {
  return header_.offsets[index_of(name)];
}

TensorView SafetensorsFile::view(std::string_view name) const {
  const std::size_t index = index_of(name);
  const TensorInfo& info = header_.tensors[index];
  const std::uint64_t bytes = tensor_bytes(info.dtype, info.shape).value();
  return {info.dtype, info.shape, file_.bytes().subspan(header_.offsets[index], bytes)};
}

}  // namespace trireme::io
