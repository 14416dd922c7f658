#include "trireme/data/token_shards.h"

#include <cstring>
#include <filesystem>
#include <limits>
#include <numeric>
#include <system_error>

#include "trireme/base/error.h"

namespace trireme::data {
namespace {

constexpr std::string_view kMagic("MMIDIDX\0\0", 9);
constexpr uint64_t kVersion = 1;
constexpr int64_t kUint16Tokens = 65500;  // Megatron-LM's bound of what it writes as uint16

std::string index_path(const std::string& prefix) {
  return prefix + ".idx";
}
std::string data_path(const std::string& prefix) {
  return prefix + ".bin";
}

// The format is little-endian, and so are the machines that this program is built for.
template <class T>
void append(std::string& bytes, const T& value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

// Takes fields off the front of the index's bytes.
class IndexReader {
 public:
  IndexReader(std::string_view bytes, const std::string& path) : left_(bytes), path_(path) {}

  std::string_view take(uint64_t size, const char* what) {
    if (size > left_.size()) {
      throw input_error(path_, ": truncated: ", left_.size(), " bytes are left for ", what,
                        ", which takes ", size);
    }
    const std::string_view taken = left_.substr(0, size);
    left_.remove_prefix(size);
    return taken;
  }
  template <class T>
  T number(const char* what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }
  template <class T>
  std::vector<T> list(uint64_t count, const char* what) {
    if (count > left_.size() / sizeof(T)) {
      throw input_error(path_, ": truncated: ", count, " ", what, " take more than the ",
                        left_.size(), " bytes that are left");
    }
    std::vector<T> values(count);
    const std::string_view taken = take(count * sizeof(T), what);
    if (count > 0) std::memcpy(values.data(), taken.data(), taken.size());
    return values;
  }
  size_t left() const { return left_.size(); }

 private:
  std::string_view left_;
  const std::string& path_;
};

// f(T{}) with the C++ type of a token; an Error for another code.
template <class F>
auto with_type(TokenType type, const F& f) {
  switch (type) {
    case TokenType::kUint8:
      return f(uint8_t{});
    case TokenType::kInt16:
      return f(int16_t{});
    case TokenType::kInt32:
      return f(int32_t{});
    case TokenType::kInt64:
      return f(int64_t{});
    case TokenType::kUint16:
      return f(uint16_t{});
  }
  throw input_error("element type ", static_cast<int>(type),
                    " is none of tokens (uint8, uint16, int16, int32, int64)");
}

TokenType token_type(uint8_t code, const std::string& path) {
  const auto type = static_cast<TokenType>(code);
  try {
    token_bytes(type);
  } catch (const Error& error) {
    throw input_error(path, ": ", error.what());
  }
  return type;
}

void check_sequences(const TokenIndex& index, uint64_t data_bytes, const std::string& path) {
  const int64_t size = token_bytes(index.type);
  for (size_t i = 0; i < index.lengths.size(); ++i) {
    const int64_t length = index.lengths[i], place = index.places[i];
    if (length < 0) throw input_error(path, ": sequence ", i, " has ", length, " tokens");
    if (place < 0 || static_cast<uint64_t>(place) > data_bytes ||
        static_cast<uint64_t>(length * size) > data_bytes - static_cast<uint64_t>(place)) {
      throw input_error(path, ": sequence ", i, " (", length, " tokens at byte ", place,
                        ") is not inside the data file of ", data_bytes, " bytes");
    }
  }
}

void check_documents(const TokenIndex& index, const std::string& path) {
  const auto sequences = static_cast<int64_t>(index.lengths.size());
  const std::vector<int64_t>& documents = index.documents;
  if (documents.empty() || documents.front() != 0 || documents.back() != sequences) {
    throw input_error(path, ": the documents do not begin at sequence 0 and end at ", sequences);
  }
  for (size_t i = 1; i < documents.size(); ++i) {
    if (documents[i] < documents[i - 1])
      throw input_error(path, ": document ", i, " begins before the one in front of it");
  }
}

template <class T>
void widen(const std::byte* from, std::span<int64_t> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    T value;
    std::memcpy(&value, from + i * sizeof(T), sizeof(T));  // places need not be aligned
    out[i] = value;
  }
}

}  // namespace

int64_t token_bytes(TokenType type) {
  return with_type(type, [](auto token) { return static_cast<int64_t>(sizeof(token)); });
}

TokenType token_type_for(int64_t vocab_size) {
  return vocab_size < kUint16Tokens ? TokenType::kUint16 : TokenType::kInt32;
}

void append_tokens(TokenType type, std::span<const int32_t> tokens, std::string& bytes) {
  with_type(type, [&](auto zero) {
    for (const int32_t token : tokens) append(bytes, static_cast<decltype(zero)>(token));
  });
}

TokenIndex parse_token_index(std::string_view bytes, uint64_t data_bytes, const std::string& path) {
  IndexReader reader(bytes, path);
  if (reader.take(kMagic.size(), "the format's name") != kMagic)
    throw input_error(path, ": not a Megatron-LM index (it does not begin with MMIDIDX)");
  if (const auto version = reader.number<uint64_t>("the version"); version != kVersion)
    throw input_error(path, ": version ", version, " of the format; version 1 is known here");
  TokenIndex index;
  index.type = token_type(reader.number<uint8_t>("the element type"), path);
  const auto sequences = reader.number<uint64_t>("the number of sequences");
  const auto documents = reader.number<uint64_t>("the number of documents");
  index.lengths = reader.list<int32_t>(sequences, "lengths");
  index.places = reader.list<int64_t>(sequences, "places");
  index.documents = reader.list<int64_t>(documents, "documents");
  // Multimodal data has a byte a sequence behind; its modes mean nothing for text.
  if (reader.left() != 0 && reader.left() != sequences)
    throw input_error(path, ": ", reader.left(), " bytes stand behind the index");
  check_sequences(index, data_bytes, path);
  check_documents(index, path);
  return index;
}

TokenShard::TokenShard(const std::string& prefix)
    : data_(data_path(prefix)),
      index_(parse_token_index(MappedFile(index_path(prefix)).text(), data_.size(),
                               index_path(prefix))),
      tokens_(std::accumulate(index_.lengths.begin(), index_.lengths.end(), int64_t{0})) {}

void TokenShard::read(int64_t sequence, int64_t begin, std::span<int64_t> out) const {
  const auto i = static_cast<size_t>(sequence);
  if (sequence < 0 || sequence >= sequences() || begin < 0 ||
      static_cast<int64_t>(out.size()) > index_.lengths[i] - begin) {
    throw run_error(data_.path(), ": sequence ", sequence, " has no tokens [", begin, ", ",
                    begin + static_cast<int64_t>(out.size()), ")");
  }
  const std::byte* from =
      data_.bytes().data() + index_.places[i] + begin * token_bytes(index_.type);
  with_type(index_.type, [&](auto token) { widen<decltype(token)>(from, out); });
  for (size_t t = 0; t < out.size(); ++t) {
    if (out[t] < 0) {
      throw input_error(data_.path(), ": token ", begin + static_cast<int64_t>(t), " of sequence ",
                        sequence, " is ", out[t]);
    }
  }
}

void write_token_index(AtomicFile& file, TokenType type, std::span<const int32_t> lengths) {
  const auto put = [&file](const auto& value) {
    file.write(std::string_view(reinterpret_cast<const char*>(&value), sizeof(value)));
  };
  file.write(kMagic);
  put(kVersion);
  put(type);
  put(static_cast<uint64_t>(lengths.size()));
  put(static_cast<uint64_t>(lengths.size() + 1));
  file.write(std::as_bytes(lengths));
  int64_t place = 0;
  for (const int32_t length : lengths) {
    put(place);
    place += length * token_bytes(type);
  }
  for (int64_t document = 0; document <= static_cast<int64_t>(lengths.size()); ++document)
    put(document);
}

TokenShardWriter::TokenShardWriter(const std::string& prefix, int64_t vocab_size)
    : vocab_size_(vocab_size),
      type_(token_type_for(vocab_size)),
      prefix_(prefix),
      data_(data_path(prefix)),
      index_file_(index_path(prefix)) {}

void TokenShardWriter::add(std::span<const int32_t> document) {
  if (document.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max()))
    throw input_error(data_path(prefix_), ": a document of ", document.size(),
                      " tokens; the format's longest has 2^31 - 1");
  for (const int32_t token : document) {
    if (token < 0 || token >= vocab_size_)
      throw input_error(data_path(prefix_), ": token ", token, " is outside the vocabulary of ",
                        vocab_size_);
  }
  buffer_.clear();
  append_tokens(type_, document, buffer_);
  lengths_.push_back(static_cast<int32_t>(document.size()));
  data_.write(buffer_);
}

void TokenShardWriter::commit() {
  write_token_index(index_file_, type_, lengths_);
  std::error_code error;
  std::filesystem::remove(index_path(prefix_), error);  // it must not speak of newer data
  if (error) throw run_error(index_path(prefix_), ": cannot be removed: ", error.message());
  data_.commit();
  index_file_.commit();
}

}  // namespace trireme::data
