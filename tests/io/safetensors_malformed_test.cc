// Every way a file can be wrong, each refused with one line that says where.
#include "tests/io/test_files.h"
#include "trireme/io/safetensors.h"

namespace trireme::io {
namespace {

using testing::HasSubstr;

struct Malformed {
  const char* name;
  std::string file;
  const char* message;  // of the error, behind "m.safetensors: "
};

constexpr const char* kTensor = R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})";

std::string one(const std::string& tensor) {
  return safetensors_text("{\"a\":" + tensor + "}", "abcd");
}
std::string with(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return one("{\"dtype\":" + dtype + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}");
}
std::string two(const std::string& first_range, const std::string& second_range) {
  const std::string head = R"({"dtype":"U8","shape":[2],"data_offsets":)";
  return safetensors_text("{\"a\":" + head + first_range + "},\"b\":" + head + second_range + "}}",
                          "abcd");
}

const Malformed kMalformed[] = {
    {"Empty", "", "0 bytes are too few for a safetensors file"},
    {"LengthCutOff", std::string("\x02\0\0", 3), "3 bytes are too few"},
    {"HeaderBeyondTheFile", one(kTensor).substr(0, 20),
     "cut off in the header: it has 54 bytes, the file ends after 12 of them"},
    {"HugeHeader", std::string("\x01\xE1\xF5\x05\0\0\0\0{}", 10),
     "the header's length (100000001 bytes) is beyond the format's 100000000"},
    {"LargestLength", std::string(8, '\xFF') + "{}",
     "the header's length (18446744073709551615 bytes) is beyond"},
    {"NoHeader", safetensors_text(""), "the header does not begin with '{'"},
    {"ArrayHeader", safetensors_text("[]"), "the header does not begin with '{'"},
    {"SpaceBeforeHeader", safetensors_text(" {}"), "the header does not begin with '{'"},
    {"ByteOrderMark", safetensors_text("\xEF\xBB\xBF{}"), "the header does not begin with '{'"},
    {"NulPadding", safetensors_text(std::string("{}\0\0", 4)),
     "byte 10 of the header is NUL; padding must be spaces"},
    {"NotJson", safetensors_text("{\"a\":nope}"), "header:1:6: not valid JSON: unexpected 'n"},
    {"JsonCutOff", safetensors_text("{\"a\":"), "header:1:6: not valid JSON: the text ends"},
    {"TwoValues", safetensors_text("{}{}"), "header:1:3: not valid JSON"},
    {"NotUtf8", safetensors_text("{\"\xFF\":1}"), "header:1:3: not valid JSON: a string holds"},
    {"LoneSurrogate", safetensors_text("{\"\\ud800\":1}"), "not valid JSON: a string holds"},
    {"DuplicateTensor", safetensors_text(cat("{\"a\":", kTensor, ",\"a\":", kTensor, "}"), "abcd"),
     "key 'a' stands twice"},
    {"DuplicateKey", one(R"({"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]})"),
     "key 'dtype' stands twice"},
    {"DuplicateMetadata", safetensors_text(R"({"__metadata__":{},"__metadata__":{}})"),
     "key '__metadata__' stands twice"},
    {"MetadataNoObject", safetensors_text(R"({"__metadata__":["pt"]})"),
     "'__metadata__' must be an object, not an array"},
    {"MetadataNoText", safetensors_text(R"({"__metadata__":{"n":1}})"),
     "'__metadata__': key 'n' must be a string, not the number 1"},
    {"TensorNoObject", one("7"), "tensor 'a' must be an object, not the number 7"},
    {"TensorNull", one("null"), "tensor 'a' must be an object, not null"},
    {"TensorArray", one(R"(["F32",[1],[0,4]])"), "tensor 'a' must be an object, not an array"},
    {"NoDtype", one(R"({"dtyp":"F32","shape":[1],"data_offsets":[0,4]})"),
     "tensor 'a': key 'dtype' is missing; did you mean 'dtyp'?"},
    {"NoShape", one(R"({"dtype":"F32","data_offsets":[0,4]})"),
     "tensor 'a': key 'shape' is missing"},
    {"NoOffsets", one(R"({"dtype":"F32","shape":[1]})"),
     "tensor 'a': key 'data_offsets' is missing"},
    {"UnknownDtype", with("\"F31\"", "[1]", "[0,4]"),
     "tensor 'a': unknown dtype 'F31'; known are BOOL, F4, "},
    {"DtypeLowerCase", with("\"f32\"", "[1]", "[0,4]"), "tensor 'a': unknown dtype 'f32'"},
    {"DtypeNumber", with("32", "[1]", "[0,4]"),
     "tensor 'a': key 'dtype' must be a string, not the number 32"},
    {"ShapeNumber", with("\"F32\"", "1", "[0,4]"),
     "tensor 'a': 'shape' must be an array, not the number 1"},
    {"NegativeDim", with("\"F32\"", "[-1]", "[0,4]"),
     "tensor 'a': 'shape' must be integers, 0 or more"},
    {"MinusZeroDim", with("\"F32\"", "[-0]", "[0,4]"),
     "tensor 'a': 'shape' must be integers, 0 or more"},
    {"FractionalDim", with("\"F32\"", "[1.0]", "[0,4]"),
     "tensor 'a': 'shape' must be integers, 0 or more"},
    {"DimText", with("\"F32\"", "[\"1\"]", "[0,4]"),
     "tensor 'a': 'shape' must be integers, 0 or more"},
    {"DimBeyond64Bits", with("\"F32\"", "[18446744073709551616]", "[0,4]"),
     "tensor 'a': 'shape' must be integers, 0 or more, below 2^64"},
    {"DimBeyond63Bits", with("\"F32\"", "[0,9223372036854775808]", "[0,4]"),
     "tensor 'a': 'shape' has a dim of 9223372036854775808, beyond 2^63"},
    {"ShapeOverflows", with("\"F32\"", "[4294967296,4294967296]", "[0,4]"),
     "tensor 'a': shape [4294967296,4294967296] of F32 has more bits than 2^64"},
    {"ShapeTimesElementOverflows", with("\"F32\"", "[4611686018427387904]", "[0,4]"),
     "tensor 'a': shape [4611686018427387904] of F32 has more bits than 2^64"},
    {"OverflowBeforeZero", with("\"F32\"", "[9223372036854775807,4,0]", "[0,0]"),
     "of F32 has more bits than 2^64"},
    {"HalfAByte", with("\"F4\"", "[7]", "[0,4]"),
     "tensor 'a': shape [7] of F4 has more bits than 2^64 or ends inside a byte"},
    {"OneOffset", with("\"F32\"", "[1]", "[0]"),
     "tensor 'a': 'data_offsets' must be [begin, end], not 1 numbers"},
    {"ThreeOffsets", with("\"F32\"", "[1]", "[0,4,8]"),
     "tensor 'a': 'data_offsets' must be [begin, end], not 3 numbers"},
    {"OffsetsObject", with("\"F32\"", "[1]", "{}"),
     "tensor 'a': 'data_offsets' must be an array, not an object"},
    {"NegativeOffset", with("\"F32\"", "[1]", "[-4,0]"),
     "tensor 'a': 'data_offsets' must be integers, 0 or more"},
    {"OffsetsReversed", with("\"F32\"", "[1]", "[4,0]"),
     "tensor 'a': data_offsets [4, 0] end before they begin"},
    {"SizeTooSmall", with("\"F32\"", "[2]", "[0,4]"),
     "tensor 'a': data_offsets [0, 4] hold 4 bytes, but shape [2] of F32 has 8"},
    {"SizeTooLarge", with("\"F16\"", "[1]", "[0,4]"),
     "tensor 'a': data_offsets [0, 4] hold 4 bytes, but shape [1] of F16 has 2"},
    {"OutOfRange", with("\"F32\"", "[2]", "[0,8]"),
     "tensor 'a': data_offsets [0, 8] are out of range: the file is cut off after 4 bytes of "
     "tensors"},
    {"LargestOffsets", with("\"U8\"", "[1]", "[18446744073709551614,18446744073709551615]"),
     "leave a hole behind the header, 0 is where they must begin"},
    {"HoleAtTheStart", two("[1,3]", "[3,5]"),
     "tensor 'a': data_offsets [1, 3] leave a hole behind the header, 0 is where they must begin"},
    {"Hole", two("[0,2]", "[3,5]"),
     "tensor 'b': data_offsets [3, 5] leave a hole behind 'a', 2 is where they must begin"},
    {"Overlap", two("[0,2]", "[1,3]"),
     "tensor 'b': data_offsets [1, 3] overlap with 'a', 2 is where they must begin"},
    {"SameRange", two("[0,2]", "[0,2]"), "tensor 'b': data_offsets [0, 2] overlap with 'a'"},
    {"BytesLeft", two("[0,2]", "[2,4]") + "x", "1 bytes behind the last tensor belong to none"},
    {"BytesWithoutTensors", safetensors_text("{}", "xyz"),
     "3 bytes behind the last tensor belong to none"},
    {"NameOfSeveralLines", safetensors_text("{\"a\\nb\":1}"), "tensor 'a\\nb' must be an object"},
};

class MalformedSafetensors : public testing::TestWithParam<Malformed> {};

TEST_P(MalformedSafetensors, IsRefusedByName) {
  const TempDir dir;
  const std::string path = dir.file("m.safetensors");
  write_file_atomic(path, GetParam().file);
  const std::string message = input_error_of([&] { const SafetensorsFile file(path); });
  EXPECT_THAT(message, testing::StartsWith(path + ": "));
  EXPECT_THAT(message, HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(Files, MalformedSafetensors, testing::ValuesIn(kMalformed),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Safetensors, EveryPrefixOfAFileIsRefused) {
  const std::string file = two("[0,2]", "[2,4]");
  EXPECT_EQ(parse_safetensors(bytes_of(file), "m").tensors.size(), 2);
  for (std::size_t size = 0; size < file.size(); ++size) {
    input_error_of([&] { parse_safetensors(bytes_of(file).first(size), "m"); });
  }
}

TEST(Safetensors, AFileThatIsNotThere) {
  EXPECT_EQ(input_error_of([] { const SafetensorsFile file("/nowhere/m.safetensors"); }),
            "/nowhere/m.safetensors: cannot be read: No such file or directory");
}

TEST(Safetensors, DeepNestingIsRefused) {
  const std::string deep =
      R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":)" + std::string(100000, '[');
  EXPECT_THAT(input_error_of([&] { parse_safetensors(bytes_of(safetensors_text(deep)), "m"); }),
              HasSubstr("nested deeper than 128"));
}

}  // namespace
}  // namespace trireme::io
