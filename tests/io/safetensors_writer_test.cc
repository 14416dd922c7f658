#include "tests/io/test_files.h"
#include "trireme/io/safetensors.h"

namespace trireme::io {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(SafetensorsWriter, WritesTheFormatByteForByte) {
  const TempDir dir;
  const std::string path = dir.file("m.safetensors");
  SafetensorsWriter writer(path, {{"w", Dtype::kF32, {1, 2}}, {"b\"", Dtype::kU8, {}}},
                           {{"format", "pt"}});
  writer.write("w", bytes_of("abcdefgh"));
  writer.write("b\"", bytes_of("x"));
  writer.commit();
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},)"
      R"("b\"":{"dtype":"U8","shape":[],"data_offsets":[8,9]}})";
  const std::string padding((8 - header.size() % 8) % 8, ' ');
  EXPECT_EQ(read_file(path), safetensors_text(header + padding, "abcdefghx"));
  EXPECT_EQ(writer.offset_bytes(0) % 8, 0);
}

TEST(SafetensorsWriter, RoundTripOfEveryType) {
  const TempDir dir;
  const std::string path = dir.file("m.safetensors");
  std::vector<TensorInfo> tensors;
  for (int i = 0; i < kDtypeCount; ++i) {
    const auto dtype = static_cast<Dtype>(i);
    tensors.push_back({std::string(dtype_name(dtype)), dtype, {4, i % 3}});
  }
  sort_for_file(tensors);
  EXPECT_EQ(tensors.front().dtype, Dtype::kU64);
  EXPECT_EQ(tensors.back().dtype, Dtype::kBool);

  std::vector<std::string> contents;
  SafetensorsWriter writer(path, tensors);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    contents.emplace_back(checked_tensor_bytes(tensors[i]), static_cast<char>('a' + i));
    writer.write(tensors[i].name, bytes_of(contents.back()));
  }
  writer.commit();

  const SafetensorsFile file(path);
  EXPECT_THAT(file.tensors(), testing::UnorderedElementsAreArray(tensors));
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(text_of(file.view(tensors[i].name).bytes), contents[i]);
    EXPECT_EQ(file.view(tensors[i].name).dtype, tensors[i].dtype);
    const std::uint64_t bits = dtype_bits(tensors[i].dtype);
    if (bits % 8 == 0) {
      EXPECT_EQ(file.offset_bytes(tensors[i].name) % (bits / 8), 0);
    }
  }
}

TEST(SafetensorsWriter, SortIsBySizeOfElementThenName) {
  std::vector<TensorInfo> tensors = {{"z", Dtype::kU8, {1}},
                                     {"b", Dtype::kF32, {1}},
                                     {"a", Dtype::kF32, {1}},
                                     {"m", Dtype::kI64, {1}}};
  sort_for_file(tensors);
  std::vector<std::string> names;
  for (const TensorInfo& info : tensors) names.push_back(info.name);
  EXPECT_THAT(names, ElementsAre("m", "a", "b", "z"));
}

TEST(SafetensorsWriter, ATensorMayComeInPieces) {
  const TempDir dir;
  const std::string path = dir.file("m.safetensors");
  SafetensorsWriter writer(
      path, {{"a", Dtype::kU8, {5}}, {"none", Dtype::kU8, {0}}, {"b", Dtype::kU8, {3}}});
  writer.write("a", bytes_of("12"));
  writer.write("a", bytes_of(""));
  writer.write("a", bytes_of("345"));
  writer.write("b", bytes_of("678"));
  writer.commit();
  const SafetensorsFile file(path);
  EXPECT_EQ(text_of(file.view("a").bytes), "12345");
  EXPECT_EQ(text_of(file.view("none").bytes), "");
  EXPECT_EQ(text_of(file.view("b").bytes), "678");
}

TEST(SafetensorsWriter, NoTensorsAtAll) {
  const TempDir dir;
  SafetensorsWriter writer(dir.file("m.safetensors"), {});
  writer.commit();
  EXPECT_EQ(read_file(dir.file("m.safetensors")), safetensors_text("{}      "));
}

TEST(SafetensorsWriter, BytesOutOfOrderOrTooMany) {
  const TempDir dir;
  const std::string path = dir.file("m.safetensors");
  SafetensorsWriter writer(path, {{"a", Dtype::kU8, {2}}, {"b", Dtype::kU8, {2}}});
  EXPECT_EQ(run_error_of([&] { writer.write("b", bytes_of("12")); }),
            path + ": bytes of tensor 'b' came where those of 'a' are due");
  EXPECT_EQ(run_error_of([&] { writer.write("a", bytes_of("123")); }),
            path + ": tensor 'a' has 2 bytes, 3 came");
  writer.write("a", bytes_of("12"));
  EXPECT_EQ(run_error_of([&] { writer.commit(); }),
            path + ": 2 bytes are missing, from tensor 'a' on");
  writer.write("b", bytes_of("1"));
  EXPECT_EQ(run_error_of([&] { writer.commit(); }),
            path + ": 1 bytes are missing, from tensor 'b' on");
  writer.write("b", bytes_of("2"));
  EXPECT_EQ(run_error_of([&] { writer.write("c", bytes_of("1")); }),
            path + ": bytes of tensor 'c' came where all are written");
  EXPECT_EQ(text_of(bytes_of("")), "");
  writer.commit();
  EXPECT_EQ(SafetensorsFile(path).tensors().size(), 2);
}

TEST(SafetensorsWriter, DeclarationsThatCannotBeWritten) {
  const TempDir dir;
  const std::string path = dir.file("m.safetensors");
  const auto declare = [&](std::vector<TensorInfo> tensors) {
    return run_error_of([&] { const SafetensorsWriter writer(path, tensors); });
  };
  EXPECT_THAT(declare({{"a", Dtype::kU8, {2}}, {"a", Dtype::kU8, {1}}}),
              HasSubstr("tensor 'a' is declared twice"));
  EXPECT_THAT(declare({{"__metadata__", Dtype::kU8, {2}}}), HasSubstr("the format keeps the name"));
  EXPECT_THAT(declare({{"a\xFF", Dtype::kU8, {2}}}), HasSubstr("is not valid UTF-8"));
  EXPECT_THAT(declare({{"a", Dtype::kU8, {-2}}}), HasSubstr("tensor 'a': shape [-2] of U8"));
  EXPECT_THAT(declare({{"a", Dtype::kF4, {3}}}), HasSubstr("ends inside a byte"));
  const std::int64_t half = std::int64_t{1} << 60;
  std::vector<TensorInfo> many;
  for (int i = 0; i < 17; ++i) many.push_back({std::to_string(i), Dtype::kU8, {half}});
  EXPECT_THAT(declare(many), HasSubstr("tensor '15' ends beyond 2^64 bytes"));
  EXPECT_THAT(list_dir(dir.path()), IsEmpty());
}

TEST(SafetensorsWriter, NothingIsSeenWithoutCommit) {
  const TempDir dir;
  const std::string path = dir.file("m.safetensors");
  write_file_atomic(path, "old");
  {
    SafetensorsWriter writer(path, {{"a", Dtype::kU8, {2}}});
    writer.write("a", bytes_of("12"));
  }
  EXPECT_THAT(list_dir(dir.path()), ElementsAre("m.safetensors"));
  EXPECT_EQ(read_file(path), "old");
}

}  // namespace
}  // namespace trireme::io
