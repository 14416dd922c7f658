#include "trireme/io/sharded.h"

#include "tests/io/test_files.h"
#include "trireme/base/json.h"

namespace trireme::io {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::vector<TensorInfo> kThree = {
    {"a", Dtype::kU8, {4}}, {"b", Dtype::kU8, {2, 2}}, {"c", Dtype::kU8, {3}}};

void write_three(ShardedWriter& writer) {
  writer.write("a", bytes_of("aaaa"));
  writer.write("b", bytes_of("bb"));
  writer.write("b", bytes_of("BB"));
  writer.write("c", bytes_of("ccc"));
  writer.commit();
}

std::vector<std::vector<std::size_t>> planned(const std::vector<std::int64_t>& sizes,
                                              std::uint64_t max_bytes) {
  std::vector<TensorInfo> tensors;
  for (const std::int64_t size : sizes) tensors.push_back({"t", Dtype::kU8, {size}});
  std::vector<std::vector<std::size_t>> out;
  for (const Shard& shard : plan_shards(tensors, max_bytes)) out.push_back(shard.tensors);
  return out;
}

using Plan = std::vector<std::vector<std::size_t>>;

TEST(PlanShards, FillsInOrder) {
  EXPECT_EQ(planned({4, 4, 3}, 8), (Plan{{0, 1}, {2}}));
  EXPECT_EQ(planned({4, 4, 3}, 11), (Plan{{0, 1, 2}}));
  EXPECT_EQ(planned({4, 4, 3}, 7), (Plan{{0}, {1, 2}}));
  EXPECT_EQ(planned({1, 20, 1}, 5), (Plan{{0}, {1}, {2}}));  // one that fits nowhere
  EXPECT_EQ(planned({20, 1, 1}, 5), (Plan{{0}, {1, 2}}));
  EXPECT_EQ(planned({}, 5), (Plan{{}}));
}

TEST(PlanShards, HuggingFaceFileNames) {
  const std::vector<Shard> shards = plan_shards(kThree, 4);
  ASSERT_EQ(shards.size(), 3);
  EXPECT_EQ(shards[0].file, "model-00001-of-00003.safetensors");
  EXPECT_EQ(shards[2].file, "model-00003-of-00003.safetensors");
  EXPECT_EQ(plan_shards(kThree, 100)[0].file, "model.safetensors");
}

TEST(Sharded, OneFileWhenItFits) {
  const TempDir dir;
  ShardedWriter writer(dir.path(), kThree);
  write_three(writer);
  EXPECT_THAT(list_dir(dir.path()), ElementsAre("model.safetensors"));
  const auto source = open_tensors(dir.path());
  EXPECT_EQ(source->tensors(), kThree);
  EXPECT_EQ(text_of(source->view("b").bytes), "bbBB");
  EXPECT_EQ(SafetensorsFile(dir.file("model.safetensors")).metadata().at("format"), "pt");
}

TEST(Sharded, ShardsAndIndex) {
  const TempDir dir;
  ShardedWriter writer(dir.path(), kThree, {.max_shard_bytes = 8});
  write_three(writer);
  EXPECT_THAT(list_dir(dir.path()),
              ElementsAre("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                          "model.safetensors.index.json"));
  EXPECT_EQ(read_file(dir.file("model.safetensors.index.json")),
            "{\n"
            "  \"metadata\": {\n"
            "    \"total_size\": 11\n"
            "  },\n"
            "  \"weight_map\": {\n"
            "    \"a\": \"model-00001-of-00002.safetensors\",\n"
            "    \"b\": \"model-00001-of-00002.safetensors\",\n"
            "    \"c\": \"model-00002-of-00002.safetensors\"\n"
            "  }\n"
            "}\n");
  const auto source = open_tensors(dir.path());
  EXPECT_EQ(source->tensors(), kThree);
  EXPECT_EQ(text_of(source->view("a").bytes), "aaaa");
  EXPECT_EQ(text_of(source->view("b").bytes), "bbBB");
  EXPECT_EQ(text_of(source->view("c").bytes), "ccc");
  EXPECT_EQ(source->find("c")->shape, std::vector<std::int64_t>{3});
  EXPECT_EQ(source->find("d"), nullptr);
  EXPECT_THAT(input_error_of([&] { source->view("d"); }),
              HasSubstr("model.safetensors.index.json: no tensor 'd'"));

  // The index and a shard alone can be opened too.
  EXPECT_EQ(open_tensors(dir.file("model.safetensors.index.json"))->tensors().size(), 3);
  EXPECT_EQ(open_tensors(dir.file("model-00002-of-00002.safetensors"))->tensors().size(), 1);
}

TEST(Sharded, TheSingleFileComesFirst) {
  const TempDir dir;
  ShardedWriter shards(dir.path(), kThree, {.max_shard_bytes = 4});
  write_three(shards);
  ShardedWriter single(dir.path(), {{"only", Dtype::kU8, {1}}});
  single.write("only", bytes_of("x"));
  single.commit();
  EXPECT_THAT(open_tensors(dir.path())->tensors(),
              ElementsAre(TensorInfo{"only", Dtype::kU8, {1}}));
}

TEST(Sharded, WriterRefusesDisorder) {
  const TempDir dir;
  ShardedWriter writer(dir.path(), kThree, {.max_shard_bytes = 4});
  EXPECT_THAT(run_error_of([&] { writer.write("z", bytes_of("x")); }),
              HasSubstr("was not declared"));
  EXPECT_THAT(run_error_of([&] { writer.write("c", bytes_of("ccc")); }),
              HasSubstr("4 bytes are missing, from tensor 'a' on"));
  writer.write("a", bytes_of("aaaa"));
  writer.write("b", bytes_of("bbbb"));
  EXPECT_THAT(run_error_of([&] { writer.write("a", bytes_of("a")); }),
              HasSubstr("came after its shard was full"));
  EXPECT_THAT(run_error_of([&] {
                const ShardedWriter twice(
                    dir.path(),
                    {{"a", Dtype::kU8, {4}}, {"b", Dtype::kU8, {4}}, {"a", Dtype::kU8, {1}}},
                    {.max_shard_bytes = 4});
              }),
              HasSubstr("tensor 'a' is declared twice"));
}

// A folder with one shard "s.safetensors" that holds the tensor "a", and the index given.
std::string index_error(const std::string& index) {
  const TempDir dir;
  write_file_atomic(
      dir.file("s.safetensors"),
      safetensors_text(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x"));
  write_file_atomic(dir.file("broken.safetensors"), "broken");
  const std::string path = dir.file("model.safetensors.index.json");
  write_file_atomic(path, index);
  const std::string message = input_error_of([&] { open_tensors(dir.path()); });
  EXPECT_THAT(message, testing::StartsWith(dir.path() + "/"));
  return message;
}

TEST(ShardedIndex, WhatIsWrongIsNamed) {
  EXPECT_THAT(index_error("{"), HasSubstr("index.json:1:2: not valid JSON"));
  EXPECT_THAT(index_error("[]"), HasSubstr("index.json must be an object, not an array"));
  EXPECT_THAT(index_error("{}"), HasSubstr("key 'weight_map' is missing"));
  EXPECT_THAT(index_error(R"({"weight_map":{"a":1}})"),
              HasSubstr("weight_map: tensor 'a' must be a string, not the number 1"));
  EXPECT_THAT(index_error(R"({"weight_map":{"a":"s2.safetensors"}})"),
              testing::AllOf(HasSubstr("tensor 'a' should be in the shard "),
                             HasSubstr("/s2.safetensors, which is missing")));
  EXPECT_THAT(index_error(R"({"weight_map":{"b":"s.safetensors"}})"),
              HasSubstr("tensor 'b' is not in its shard "));
  EXPECT_THAT(index_error(R"({"weight_map":{"a":"broken.safetensors"}})"),
              HasSubstr("broken.safetensors: 6 bytes are too few"));
}

TEST(ShardedIndex, NoShardOutsideTheFolder) {
  for (const char* file : {"../s.safetensors", "/etc/passwd", "sub/s.safetensors", "..", ".", "",
                           "a\\\\b", "s\\u0000"}) {
    EXPECT_THAT(index_error(std::string(R"({"weight_map":{"a":")") + file + "\"}}"),
                HasSubstr("a shard must be the name of a file in the same folder"))
        << file;
  }
}

TEST(ShardedIndex, TensorsItDoesNotNameAreNoPartOfTheModel) {
  const TempDir dir;
  write_file_atomic(dir.file("s.safetensors"),
                    safetensors_text(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                     R"("b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                                     "xy"));
  write_file_atomic(dir.file("i.index.json"), R"({"weight_map":{"b":"s.safetensors"}})");
  const auto source = open_tensors(dir.file("i.index.json"));
  EXPECT_THAT(source->tensors(), ElementsAre(TensorInfo{"b", Dtype::kU8, {1}}));
  EXPECT_EQ(source->find("a"), nullptr);
}

TEST(OpenTensors, FolderWithoutWeights) {
  const TempDir dir;
  EXPECT_EQ(input_error_of([&] { open_tensors(dir.path()); }),
            dir.path() + ": neither model.safetensors nor model.safetensors.index.json is in it");
}

}  // namespace
}  // namespace trireme::io
