// The hash that finds damaged files: XXH3, 64 bits (xxhash.com). Not against malice.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace trireme::checkpoint {

// 16 hex digits.
std::string xxh3_hex(std::span<const std::byte> bytes);

}  // namespace trireme::checkpoint
