#include "trireme/train/tensorboard.h"

#include <unistd.h>

#include <array>
#include <bit>
#include <chrono>

#include "trireme/base/error.h"

namespace trireme::train {
namespace {

constexpr std::array<uint32_t, 256> make_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78 : 0);
    table[i] = crc;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kTable = make_table();

// TFRecord's masking, so that a CRC of data that holds CRCs is no trouble.
uint32_t masked_crc(std::string_view bytes) {
  return std::rotr(crc32c(bytes), 15) + 0xA282EAD8;
}

template <class T>
std::string little_endian(T value) {
  std::string bytes;
  for (size_t i = 0; i < sizeof(T); ++i) bytes += static_cast<char>(value >> (8 * i) & 0xFF);
  return bytes;
}

// Protocol buffer encoding: a tag, then a varint, a fixed width, or a length and bytes.
std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}
std::string int_field(uint32_t number, uint64_t value) {
  return varint(number << 3) + varint(value);
}
std::string double_field(uint32_t number, double value) {
  return varint(number << 3 | 1) + little_endian(std::bit_cast<uint64_t>(value));
}
std::string float_field(uint32_t number, float value) {
  return varint(number << 3 | 5) + little_endian(std::bit_cast<uint32_t>(value));
}
std::string bytes_field(uint32_t number, std::string_view value) {
  return varint(number << 3 | 2) + varint(value.size()) + std::string(value);
}

double wall_time_s() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string file_name() {
  char host[256] = "localhost";
  ::gethostname(host, sizeof(host) - 1);
  return cat("events.out.tfevents.", static_cast<int64_t>(wall_time_s()), ".", host, ".",
             ::getpid());
}

std::string new_file(const std::string& dir) {
  ensure_dir(dir);
  const std::string path = dir + "/" + file_name();
  std::string unused = path;  // a process may write several within a second
  for (int i = 1; file_exists(unused); ++i) unused = cat(path, ".", i);
  return unused;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t crc = 0xFFFFFFFF;
  for (const char c : bytes)
    crc = (crc >> 8) ^ kTable[(crc ^ static_cast<unsigned char>(c)) & 0xFF];
  return ~crc;
}

TensorboardWriter::TensorboardWriter(const std::string& dir, int64_t steps_done)
    : out_(new_file(dir)) {
  constexpr uint32_t kFileVersion = 3, kSessionLog = 7, kStatus = 1;
  constexpr uint64_t kStart = 1;
  write_event(0, bytes_field(kFileVersion, "brain.Event:2"));
  if (steps_done > 0) {
    // Everything from this event's step on is dropped.
    write_event(steps_done + 1, bytes_field(kSessionLog, int_field(kStatus, kStart)));
  }
  flush();
}

void TensorboardWriter::add(int64_t step, const Scalars& scalars) {
  constexpr uint32_t kSummary = 5, kValue = 1, kTag = 1, kSimpleValue = 2;
  std::string summary;
  for (const auto& [tag, value] : scalars) {
    summary += bytes_field(
        kValue, bytes_field(kTag, tag) + float_field(kSimpleValue, static_cast<float>(value)));
  }
  write_event(step, bytes_field(kSummary, summary));
}

void TensorboardWriter::write_event(int64_t step, std::string_view field) {
  constexpr uint32_t kWallTime = 1, kStep = 2;
  std::string event = double_field(kWallTime, wall_time_s());
  if (step != 0) event += int_field(kStep, static_cast<uint64_t>(step));
  event += field;
  const std::string length = little_endian(static_cast<uint64_t>(event.size()));
  out_.write(length + little_endian(masked_crc(length)) + event + little_endian(masked_crc(event)));
}

}  // namespace trireme::train
