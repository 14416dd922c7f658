// A property over seeded damage: whatever happens to a file's bytes, reading it gives an Error or
// tensors that lie end to end in the file, and what was read can be written and read again.
#include <cstring>

#include "tests/io/test_files.h"
#include "trireme/base/random.h"
#include "trireme/io/safetensors.h"

namespace trireme::io {
namespace {

class Draws {
 public:
  explicit Draws(std::uint64_t seed) : seed_(seed) {}
  std::size_t below(std::size_t n) { return uniform_below(n, seed_, 0, next_++); }

 private:
  std::uint64_t seed_;
  std::uint64_t next_ = 0;
};

std::string base_file() {
  return safetensors_text(
      R"({"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
      R"("b":{"dtype":"F16","shape":[3],"data_offsets":[24,30]},)"
      R"("none":{"dtype":"I64","shape":[0],"data_offsets":[30,30]},)"
      R"("u":{"dtype":"U8","shape":[2,1,1],"data_offsets":[30,32]}}  )",
      "0123456789abcdefghijklmnopqrstuv");
}

// Sets the length field right again, so that damage to the header's text reaches the checks behind.
void mend_length(std::string& file, std::size_t body_bytes) {
  if (file.size() < 8 + body_bytes) return;
  const std::uint64_t length = file.size() - 8 - body_bytes;
  for (int i = 0; i < 8; ++i) file[i] = static_cast<char>((length >> (8 * i)) & 0xFFU);
}

void mutate(std::string& file, Draws& draws) {
  static const std::string tokens[] = {
      "[",  "]",    "{",   "}",          ",",  ":",  "\"", "0",    "1",    "-1",     "24", "30",
      "32", "null", "1.0", "4294967296", "\\", "F4", "U8", "BF16", "\xC3", "\"a\":", " "};
  for (std::size_t edits = 1 + draws.below(3); edits > 0 && !file.empty(); --edits) {
    const std::size_t at = draws.below(file.size());
    switch (draws.below(7)) {
      case 0:
        file[at] = static_cast<char>(draws.below(256));
        break;
      case 1:
        file.erase(at, 1 + draws.below(4));
        break;
      case 2:
        file.insert(at, tokens[draws.below(std::size(tokens))]);
        break;
      case 3:
        file.resize(at);
        break;
      case 4:
        file += static_cast<char>(draws.below(256));
        break;
      case 5: {  // one digit for another
        const std::size_t digit = file.find_first_of("0123456789", at);
        if (digit != std::string::npos) file[digit] = static_cast<char>('0' + draws.below(10));
        break;
      }
      default:
        file.insert(at, file.substr(draws.below(file.size()), 1 + draws.below(60)));
    }
  }
  if (draws.below(2) == 0) mend_length(file, 32);
}

// Reads, or returns false for an Error.
bool read_back(const std::string& bytes, const std::string& path) {
  SafetensorsHeader header;
  try {
    header = parse_safetensors(bytes_of(bytes), "m");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInput) << error.what();
    return false;
  }
  std::uint64_t end = header.offsets.empty() ? bytes.size() : header.offsets[0];
  SafetensorsWriter writer(path, header.tensors, header.metadata);
  for (std::size_t i = 0; i < header.tensors.size(); ++i) {
    EXPECT_EQ(header.offsets[i], end);
    const std::uint64_t size =
        tensor_bytes(header.tensors[i].dtype, header.tensors[i].shape).value();
    end += size;
    writer.write(header.tensors[i].name, bytes_of(bytes).subspan(header.offsets[i], size));
  }
  EXPECT_EQ(end, bytes.size());
  writer.commit();

  const SafetensorsFile again(path);
  EXPECT_EQ(again.tensors(), header.tensors);
  EXPECT_EQ(again.metadata(), header.metadata);
  for (std::size_t i = 0; i < header.tensors.size(); ++i) {
    const std::string written = text_of(again.view(header.tensors[i].name).bytes);
    EXPECT_EQ(written, bytes.substr(header.offsets[i], written.size()));
  }
  return true;
}

TEST(SafetensorsMutation, AnErrorOrTheSameContentAgain) {
  const TempDir dir;
  const std::string path = dir.file("m.safetensors");
  constexpr std::size_t kFiles = 20000;
  std::size_t accepted = 0;
  for (std::uint64_t seed = 0; seed < kFiles; ++seed) {
    Draws draws(seed);
    std::string file = base_file();
    mutate(file, draws);
    if (read_back(file, path)) ++accepted;
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
  // Both outcomes are met often enough to mean something.
  EXPECT_GT(accepted, kFiles / 50);
  EXPECT_LT(accepted, kFiles / 2);
}

}  // namespace
}  // namespace trireme::io
