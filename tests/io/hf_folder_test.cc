#include "trireme/io/hf_folder.h"

#include "tests/io/test_files.h"

namespace trireme::io {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const Json kConfig = {{"model_type", "bert"}, {"hidden_size", 4}, {"architectures", {"BertModel"}}};
const std::vector<TensorInfo> kTensors = {{"w", Dtype::kU8, {2}}, {"b", Dtype::kU8, {1}}};

void write_folder(const std::string& path, const HfWriteOptions& options = {},
                  const std::string& tokenizer = "") {
  HfFolderWriter writer(path, kConfig, kTensors, options);
  writer.write("w", bytes_of("ww"));
  writer.write("b", bytes_of("b"));
  if (!tokenizer.empty()) writer.copy_tokenizer(tokenizer);
  writer.commit();
}

TEST(HfFolder, RoundTrip) {
  const TempDir dir;
  const std::string source = dir.file("source");
  ensure_dir(source);
  write_file_atomic(source + "/vocab.txt", "[PAD]\n[UNK]\n");
  write_file_atomic(source + "/tokenizer_config.json", "{}");
  write_file_atomic(source + "/notes.txt", "not a tokenizer's file");
  write_folder(dir.file("model"), {}, source);

  const HfFolder folder(dir.file("model/"));
  EXPECT_EQ(folder.path(), dir.file("model"));
  EXPECT_EQ(folder.config(), kConfig);
  EXPECT_THAT(folder.tokenizer_files(), ElementsAre("vocab.txt", "tokenizer_config.json"));
  EXPECT_EQ(read_file(folder.file("vocab.txt")), "[PAD]\n[UNK]\n");
  const auto tensors = folder.open_tensors();
  EXPECT_EQ(tensors->tensors(), kTensors);
  EXPECT_EQ(text_of(tensors->view("w").bytes), "ww");
  EXPECT_THAT(list_dir(folder.path()), ElementsAre("config.json", "model.safetensors",
                                                   "tokenizer_config.json", "vocab.txt"));
}

TEST(HfFolder, Sharded) {
  const TempDir dir;
  write_folder(dir.file("model"), {.shards = {.max_shard_bytes = 2}});
  EXPECT_THAT(list_dir(dir.file("model")),
              ElementsAre("config.json", "model-00001-of-00002.safetensors",
                          "model-00002-of-00002.safetensors", "model.safetensors.index.json"));
  EXPECT_EQ(text_of(HfFolder(dir.file("model")).open_tensors()->view("b").bytes), "b");
}

TEST(HfFolder, WhatIsMissingIsNamed) {
  const TempDir dir;
  const auto open = [&](const std::string& name) {
    return input_error_of([&] { const HfFolder folder(dir.file(name)); });
  };
  EXPECT_EQ(open("none"),
            dir.file("none") +
                ": no such folder; a model is the path of a folder with "
                "config.json and model.safetensors (models are not downloaded by name)");
  write_file_atomic(dir.file("file"), "");
  EXPECT_THAT(open("file"), HasSubstr("is a file; wanted is the model's folder"));

  ensure_dir(dir.file("empty"));
  EXPECT_THAT(open("empty"), HasSubstr("empty: no config.json in it; a model folder has"));
  ensure_dir(dir.file("ckpt"));
  write_file_atomic(dir.file("ckpt/manifest.json"), "{}");
  EXPECT_THAT(open("ckpt"),
              HasSubstr("it is a training checkpoint: make a model folder with `trireme export`"));

  ensure_dir(dir.file("broken"));
  write_file_atomic(dir.file("broken/config.json"), "{\"a\": }");
  EXPECT_THAT(open("broken"), HasSubstr("broken/config.json:1:7: not valid JSON"));
  write_file_atomic(dir.file("broken/config.json"), "[]");
  EXPECT_THAT(open("broken"), HasSubstr("broken/config.json must be an object, not an array"));
}

TEST(HfFolder, WeightsThatAreMissingOrOfAnotherFormat) {
  const TempDir dir;
  write_file_atomic(dir.file("config.json"), "{}");
  const HfFolder folder(dir.path());
  EXPECT_EQ(input_error_of([&] { folder.open_tensors(); }),
            dir.path() + ": neither model.safetensors nor model.safetensors.index.json is in it");
  write_file_atomic(dir.file("training_args.bin"), "x");
  EXPECT_THAT(input_error_of([&] { folder.open_tensors(); }), testing::EndsWith("is in it"));
  write_file_atomic(dir.file("pytorch_model.bin"), "x");
  EXPECT_THAT(input_error_of([&] { folder.open_tensors(); }),
              testing::AllOf(HasSubstr("'pytorch_model.bin' is, in a format that is not read"),
                             HasSubstr("save_pretrained(safe_serialization=True)")));
}

TEST(HfFolder, TokenizerFilesThatDo) {
  const TempDir dir;
  write_file_atomic(dir.file("config.json"), "{}");
  const auto copy = [&] { write_folder(dir.file("copy"), {}, dir.path()); };
  EXPECT_EQ(input_error_of(copy),
            dir.path() +
                ": no tokenizer in it: wanted is tokenizer.json, or vocab.txt, or vocab.json "
                "with merges.txt");
  write_file_atomic(dir.file("vocab.json"), "{}");
  EXPECT_THAT(input_error_of(copy), HasSubstr("vocab.json is there but merges.txt is missing"));
  write_file_atomic(dir.file("merges.txt"), "");
  copy();
  EXPECT_THAT(HfFolder(dir.file("copy")).tokenizer_files(),
              ElementsAre("vocab.json", "merges.txt"));
}

TEST(HfFolderWriter, NothingIsSeenBeforeCommitNorWithoutIt) {
  const TempDir dir;
  {
    HfFolderWriter writer(dir.file("model"), kConfig, kTensors);
    writer.write("w", bytes_of("ww"));
    EXPECT_FALSE(dir_exists(dir.file("model")));
    EXPECT_THAT(input_error_of([&] { writer.copy_tokenizer(dir.path()); }),
                HasSubstr("no tokenizer in it"));
    EXPECT_THAT(run_error_of([&] { writer.commit(); }),
                HasSubstr("1 bytes are missing, from tensor "));
    EXPECT_FALSE(dir_exists(dir.file("model")));
  }
  EXPECT_THAT(list_dir(dir.path()), IsEmpty());
}

TEST(HfFolderWriter, ReplacesAModelFolderOnlyWhenAsked) {
  const TempDir dir;
  write_folder(dir.file("model"));
  write_file_atomic(dir.file("model/extra"), "x");
  EXPECT_THAT(
      input_error_of([&] { write_folder(dir.file("model")); }),
      HasSubstr("the folder exists and is not empty; choose another name, or give --replace"));
  EXPECT_TRUE(file_exists(dir.file("model/extra")));
  write_folder(dir.file("model"), {.replace = true});
  EXPECT_THAT(list_dir(dir.file("model")), ElementsAre("config.json", "model.safetensors"));

  ensure_dir(dir.file("home"));
  write_file_atomic(dir.file("home/letter"), "x");
  EXPECT_THAT(
      input_error_of([&] { write_folder(dir.file("home"), {.replace = true}); }),
      HasSubstr("not empty and is no model folder (no config.json in it), so it is not replaced"));
  EXPECT_EQ(read_file(dir.file("home/letter")), "x");
}

}  // namespace
}  // namespace trireme::io
