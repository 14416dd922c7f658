// `data prepare`: what is written, that it does not depend on how the work was done, and that it
// survives being cut short anywhere.
#include "trireme/data/prepare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/base/test_util.h"
#include "trireme/base/files.h"
#include "trireme/data/token_shards.h"

namespace trireme::data {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using trireme::test::input_error_of;
using trireme::test::TempDir;

using Documents = std::vector<std::vector<int32_t>>;

constexpr int32_t kEnd = 5;

const text::Tokenizer& tokenizer() {
  static const text::Tokenizer loaded = text::Tokenizer::load(
      std::string(TRIREME_SOURCE_DIR) + "/tests/golden/tokenizers/gpt2_merges");
  return loaded;
}

std::vector<int32_t> expected(const std::string& text) {
  std::vector<int32_t> ids = tokenizer().encode(text, {.add_special = false}).ids;
  ids.push_back(kEnd);
  return ids;
}

Documents documents(const std::string& prefix) {
  const TokenShard shard(prefix);
  Documents out;
  for (int64_t s = 0; s < shard.sequences(); ++s) {
    std::vector<int64_t> ids(static_cast<size_t>(shard.length(s)));
    shard.read(s, 0, ids);
    out.emplace_back(ids.begin(), ids.end());
  }
  return out;
}

// 300 documents of many sizes in two files, some without text.
std::vector<std::string> write_inputs(const TempDir& dir) {
  std::string lines[2];
  for (int i = 0; i < 300; ++i) {
    std::string text;
    for (int word = 0; word < i * 7 % 40; ++word)
      text += cat(word ? " " : "", "w", i * word % 97, word % 5 ? "" : ".\\n");
    lines[i / 150] += cat(R"({"id": )", i, R"(, "text": ")", text, "\"}\n", i % 50 ? "" : "\n");
  }
  write_file_atomic(dir / "a.jsonl", lines[0]);
  write_file_atomic(dir / "b.jsonl", lines[1].substr(0, lines[1].size() - 1));  // no last \n
  return {dir / "a.jsonl", dir / "b.jsonl"};
}

PrepareOptions options(std::vector<std::string> files, const std::string& prefix) {
  PrepareOptions out;
  out.source.files = std::move(files);
  out.prefix = prefix;
  out.end_token = kEnd;
  return out;
}

std::string bytes_of(const std::string& prefix) {
  return read_file(prefix + ".idx") + "|" + read_file(prefix + ".bin");
}

TEST(Prepare, JsonLines) {
  const TempDir dir;
  write_file_atomic(
      dir / "a.jsonl",
      "{\"text\": \"One two.\"}\n\n{\"text\": \"\", \"n\": 1}\n{\"text\": \"caf\\u00e9\"}");
  const PrepareResult result = prepare(options({dir / "a.jsonl"}, dir / "out"), tokenizer(), "t");
  EXPECT_EQ(documents(dir / "out"), (Documents{expected("One two."), expected("caf\u00e9")}));
  EXPECT_EQ(result.documents, 2);
  EXPECT_EQ(result.empty, 1);
  EXPECT_EQ(result.tokens, TokenShard(dir / "out").tokens());
  EXPECT_FALSE(dir_exists(dir / "out.partial"));
}

TEST(Prepare, PlainTextByFileParagraphOrLine) {
  const TempDir dir;
  const std::string text = "\nFirst line\nsecond\n  \t\n\nThird\r\n";
  write_file_atomic(dir / "a.txt", text);
  const auto made = [&](TextUnit unit) {
    PrepareOptions prepare_options = options({dir / "a.txt"}, dir / "out");
    prepare_options.source.text_unit = unit;
    prepare(prepare_options, tokenizer(), "t");
    return documents(dir / "out");
  };
  EXPECT_EQ(made(TextUnit::kFile), (Documents{expected(text)}));
  EXPECT_EQ(made(TextUnit::kParagraph),
            (Documents{expected("First line\nsecond"), expected("Third")}));
  EXPECT_EQ(made(TextUnit::kLine),
            (Documents{expected("First line"), expected("second"), expected("Third")}));
}

TEST(Prepare, AnyNumberOfWorkersAndAnyRoundWriteTheSameBytes) {
  const TempDir dir;
  const auto inputs = write_inputs(dir);
  prepare(options(inputs, dir / "one"), tokenizer(), "t");
  EXPECT_EQ(TokenShard(dir / "one").documents(), 292);  // 300 but those without text
  for (const int64_t round : {1, 900, 1 << 20}) {
    PrepareOptions other = options(inputs, dir / "other");
    other.workers = 3;
    other.round_bytes = round;
    prepare(other, tokenizer(), "t");
    EXPECT_EQ(bytes_of(dir / "other"), bytes_of(dir / "one")) << round;
  }
}

// Fails at the n-th step of the file system for every n until one run passes; each failed run is
// gone on with.
TEST(Prepare, CutShortAnywhereItGoesOnToTheSameBytes) {
  const TempDir dir;
  const auto inputs = write_inputs(dir);
  prepare(options(inputs, dir / "whole"), tokenizer(), "t");
  PrepareOptions cut = options(inputs, dir / "cut");
  cut.round_bytes = 4000;
  cut.save_every_s = 0;
  int cuts = 0, resumed = 0;
  for (bool cut_short = true; cut_short; ++cuts) {
    std::filesystem::remove_all(dir / "cut.partial");
    for (const char* name : {"cut.bin", "cut.idx"}) std::filesystem::remove(dir / name);
    int left = cuts;
    set_file_fault([&left](FileStep, const std::string&) { return left-- == 0 ? EIO : 0; });
    cut_short = false;
    try {
      prepare(cut, tokenizer(), "t");
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kRun) << error.what();
      cut_short = true;
    }
    set_file_fault({});
    if (!cut_short) break;
    const PrepareResult rest = prepare(cut, tokenizer(), "t");
    if (rest.tokens_here < rest.tokens) ++resumed;
    ASSERT_EQ(bytes_of(dir / "cut"), bytes_of(dir / "whole")) << "cut at step " << cuts;
    EXPECT_EQ(rest.documents, 292);
    EXPECT_FALSE(dir_exists(dir / "cut.partial"));
  }
  EXPECT_GT(cuts, 20);
  EXPECT_GT(resumed, cuts / 2);
}

// What was written behind the last save does not count.
TEST(Prepare, ATornTailIsCutOff) {
  const TempDir dir;
  const auto inputs = write_inputs(dir);
  prepare(options(inputs, dir / "whole"), tokenizer(), "t");
  PrepareOptions cut = options(inputs, dir / "cut");
  cut.round_bytes = 4000;
  cut.save_every_s = 0;
  int rounds = 0;
  cut.on_progress = [&rounds](const PrepareProgress&) {
    if (++rounds == 3) throw run_error("killed");
  };
  EXPECT_THROW(prepare(cut, tokenizer(), "t"), Error);
  {
    AppendFile tail(dir / "cut.partial/tokens");
    tail.write("torn");
  }
  bool resumed = false;
  cut.on_progress = [&resumed](const PrepareProgress& p) { resumed = resumed || p.resumed; };
  prepare(cut, tokenizer(), "t");
  EXPECT_TRUE(resumed);
  EXPECT_EQ(bytes_of(dir / "cut"), bytes_of(dir / "whole"));
}

TEST(Prepare, AHalfMadeOutputOfOtherInputIsRefused) {
  const TempDir dir;
  const auto inputs = write_inputs(dir);
  PrepareOptions cut = options(inputs, dir / "cut");
  cut.round_bytes = 4000;
  cut.save_every_s = 0;
  cut.on_progress = [](const PrepareProgress& p) {
    if (p.documents > 100) throw run_error("killed");
  };
  EXPECT_THROW(prepare(cut, tokenizer(), "t"), Error);
  cut.on_progress = {};
  EXPECT_THAT(input_error_of([&] { prepare(cut, tokenizer(), "another"); }),
              AllOf(HasSubstr("'tokenizer' is not what it was"), HasSubstr("cut.partial")));
  PrepareOptions other = cut;
  other.json_key = "body";
  EXPECT_THAT(input_error_of([&] { prepare(other, tokenizer(), "t"); }), HasSubstr("'json_key'"));
  other = cut;
  other.source.files.pop_back();
  EXPECT_THAT(input_error_of([&] { prepare(other, tokenizer(), "t"); }),
              HasSubstr("list of input files has changed"));
  write_file_atomic(inputs[1], "{\"text\": \"changed\"}\n");
  EXPECT_THAT(input_error_of([&] { prepare(cut, tokenizer(), "t"); }),
              HasSubstr("b.jsonl has changed"));
}

TEST(Prepare, TwoAtOnceAreRefused) {
  const TempDir dir;
  PrepareOptions first = options(write_inputs(dir), dir / "out");
  std::string refusal;
  first.on_progress = [&](const PrepareProgress&) {
    PrepareOptions second = first;
    second.on_progress = {};
    refusal = input_error_of([&] { prepare(second, tokenizer(), "t"); });
  };
  prepare(first, tokenizer(), "t");
  EXPECT_THAT(refusal, AllOf(HasSubstr("out.partial"), HasSubstr("another `data prepare`")));
  EXPECT_EQ(TokenShard(dir / "out").documents(), 292);
}

TEST(Prepare, BadDocumentsAreNamedOrLeftOutAndCounted) {
  const TempDir dir;
  const auto refusal = [&](const std::string& content, const std::string& name = "bad.jsonl") {
    write_file_atomic(dir / name, content);
    const std::string message =
        input_error_of([&] { prepare(options({dir / name}, dir / "bad"), tokenizer(), "t"); });
    EXPECT_FALSE(dir_exists(dir / "bad.partial"));
    EXPECT_FALSE(file_exists(dir / "bad.bin"));
    return message;
  };
  const std::string good = "{\"text\": \"good\"}\n";
  EXPECT_THAT(refusal(good + "{\"text\": \n"), HasSubstr("bad.jsonl:2:"));
  EXPECT_THAT(refusal(good + "{\"txt\": \"a\"}\n"),
              AllOf(HasSubstr("bad.jsonl:2: "), HasSubstr("'text' is missing")));
  EXPECT_THAT(refusal(good + "\n[1]\n"), HasSubstr("bad.jsonl:3: is not a JSON object"));
  EXPECT_THAT(refusal("{\"text\": 5}\n"), HasSubstr("bad.jsonl:1: "));
  EXPECT_THAT(refusal("{\"text\": \"\xff\"}\n"), HasSubstr("bad.jsonl:1:"));
  EXPECT_THAT(refusal("fine\n\xc3(\n", "bad.txt"), HasSubstr("bad.txt:1: the document"));
  EXPECT_THAT(refusal("\n\n"), HasSubstr("no document with text in it"));
  EXPECT_THAT(refusal("x", "bad.csv"), HasSubstr("--format jsonl or --format text"));
  EXPECT_THAT(
      input_error_of([&] { prepare(options({dir / "none.txt"}, dir / "bad"), tokenizer(), "t"); }),
      HasSubstr("none.txt"));

  write_file_atomic(dir / "mixed.jsonl", good + "oops\n" + good + "{}\n");
  PrepareOptions skipping = options({dir / "mixed.jsonl"}, dir / "mixed");
  skipping.skip_bad = true;
  const PrepareResult result = prepare(skipping, tokenizer(), "t");
  EXPECT_EQ(result.documents, 2);
  EXPECT_EQ(result.skipped, 2);
  EXPECT_THAT(result.first_skipped, HasSubstr("mixed.jsonl:2:"));
}

}  // namespace
}  // namespace trireme::data
