// Well-formed files, put together byte by byte from the format's description.
#include "trireme/io/safetensors.h"

#include <cstring>

#include "tests/io/test_files.h"

namespace trireme::io {
namespace {

using testing::ElementsAre;
using testing::Pair;
using testing::UnorderedElementsAre;

SafetensorsHeader parse(const std::string& file) {
  return parse_safetensors(bytes_of(file), "t.safetensors");
}

TEST(Safetensors, ReadsAHandMadeFile) {
  const TempDir dir;
  const std::string path = dir.file("m.safetensors");
  // Length 61 = 0x3D, one F32 tensor [2, 1] with the values 1.0 and -2.0.
  const std::string file = std::string("\x3D\0\0\0\0\0\0\0", 8) +
                           R"({"weight":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}})" +
                           std::string("\0\0\x80\x3F\0\0\0\xC0", 8);
  write_file_atomic(path, file);

  const SafetensorsFile read(path);
  EXPECT_EQ(read.path(), path);
  EXPECT_THAT(read.tensors(), ElementsAre(TensorInfo{"weight", Dtype::kF32, {2, 1}}));
  EXPECT_TRUE(read.metadata().empty());
  EXPECT_EQ(read.offset_bytes("weight"), 8 + 61);
  const TensorView view = read.view("weight");
  EXPECT_EQ(view.dtype, Dtype::kF32);
  EXPECT_THAT(view.shape, ElementsAre(2, 1));
  float values[2];
  ASSERT_EQ(view.bytes.size(), sizeof(values));
  std::memcpy(values, view.bytes.data(), sizeof(values));
  EXPECT_EQ(values[0], 1.0F);
  EXPECT_EQ(values[1], -2.0F);
}

TEST(Safetensors, TensorsAreInTheOrderOfTheirBytes) {
  const SafetensorsHeader header =
      parse(safetensors_text(R"({"b":{"dtype":"U8","shape":[3],"data_offsets":[2,5]},)"
                             R"("a":{"dtype":"I16","shape":[1],"data_offsets":[0,2]}})",
                             "xxyyy"));
  EXPECT_THAT(header.tensors,
              ElementsAre(TensorInfo{"a", Dtype::kI16, {1}}, TensorInfo{"b", Dtype::kU8, {3}}));
  EXPECT_EQ(header.offsets[1] - header.offsets[0], 2);
}

TEST(Safetensors, ScalarsAndTensorsWithoutElements) {
  const SafetensorsHeader header =
      parse(safetensors_text(R"({"s":{"dtype":"F64","shape":[],"data_offsets":[0,8]},)"
                             R"("none":{"dtype":"F32","shape":[4,0],"data_offsets":[8,8]}})",
                             "12345678"));
  EXPECT_THAT(header.tensors, UnorderedElementsAre(TensorInfo{"s", Dtype::kF64, {}},
                                                   TensorInfo{"none", Dtype::kF32, {4, 0}}));
}

TEST(Safetensors, NoTensorsAtAll) {
  EXPECT_TRUE(parse(safetensors_text("{}")).tensors.empty());
  EXPECT_TRUE(parse(safetensors_text(R"({"__metadata__":null})")).metadata.empty());
}

TEST(Safetensors, MetadataAndPadding) {
  const SafetensorsHeader header =
      parse(safetensors_text("{\"__metadata__\":{\"format\":\"pt\",\"k\":\"\\u00e9\"}}   \n\t\r "));
  EXPECT_THAT(header.metadata, ElementsAre(Pair("format", "pt"), Pair("k", "\xC3\xA9")));
}

TEST(Safetensors, FurtherKeysOfATensorAreIgnored) {
  const SafetensorsHeader header = parse(safetensors_text(
      R"({"a":{"shape":[1],"more":{"x":[1.5,null]},"data_offsets":[0,1],"dtype":"BOOL"}})", "x"));
  EXPECT_THAT(header.tensors, ElementsAre(TensorInfo{"a", Dtype::kBool, {1}}));
}

TEST(Safetensors, TensorsNeedNotBeAligned) {
  const SafetensorsHeader header =
      parse(safetensors_text(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                             R"("b":{"dtype":"F64","shape":[1],"data_offsets":[1,9]}})",
                             "x12345678"));
  EXPECT_EQ(header.offsets[1] % 8, (header.offsets[0] + 1) % 8);
}

TEST(Safetensors, NamesMayBeAnyText) {
  const SafetensorsHeader header = parse(safetensors_text(
      "{\"\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
      "\"a/../b\\n\\u00fc\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
      "xy"));
  EXPECT_EQ(header.tensors[0].name, "");
  EXPECT_EQ(header.tensors[1].name, "a/../b\n\xC3\xBC");
}

TEST(Safetensors, AMissingTensorNamesTheNearest) {
  const TempDir dir;
  const std::string path = dir.file("m.safetensors");
  write_file_atomic(
      path, safetensors_text(
                R"({"layer.0.weight":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x"));
  const SafetensorsFile file(path);
  EXPECT_EQ(file.find("layer.0.wieght"), nullptr);
  EXPECT_EQ(file.find("layer.0.weight"), &file.tensors()[0]);
  EXPECT_EQ(input_error_of([&] { file.view("layer.0.wieght"); }),
            path + ": no tensor 'layer.0.wieght'; did you mean 'layer.0.weight'?");
  EXPECT_EQ(input_error_of([&] { file.offset_bytes("zzz"); }),
            path + ": no tensor 'zzz' among its 1");
}

}  // namespace
}  // namespace trireme::io
