#include "trireme/base/hash.h"

#include <gtest/gtest.h>

#include <string_view>

namespace trireme {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

TEST(Hash, IsXxh3) {
  EXPECT_EQ(xxh3_hex({}), "2d06800538d394c2");  // of nothing, as xxhash.com states it
}

TEST(Hash, PiecesCountAsTheWhole) {
  const std::string text(1000, 'x');
  Xxh3 hash;
  hash.add(bytes_of(text).first(300));
  hash.add({});
  hash.add(bytes_of(text).subspan(300));
  EXPECT_EQ(hash.hex(), xxh3_hex(bytes_of(text)));
  hash.add(bytes_of("y"));
  EXPECT_NE(hash.hex(), xxh3_hex(bytes_of(text)));
}

}  // namespace
}  // namespace trireme
