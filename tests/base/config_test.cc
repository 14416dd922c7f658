#include "trireme/base/config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <stdexcept>

#include "tests/base/test_util.h"
#include "trireme/base/files.h"
#include "trireme/base/random.h"

namespace trireme {
namespace {

using test::input_error_of;

enum class Schedule { kLinear, kCosine, kConstant };

struct Settings {
  std::string name = "run \"1\"";
  std::int64_t steps = 1000;
  std::int64_t epochs = 0;  // 0 = not given
  double lr = 3e-4;
  double decay = 0;
  bool amp = false;
  std::string precision = "fp32";
  Schedule schedule = Schedule::kLinear;
  std::string train_file;
  std::vector<std::string> axes = {"dp", "tp"};
  std::int64_t deep = 7;
};

class Config : public testing::Test {
 protected:
  Config() {
    schema_.add("name", &s_.name, "Name of the run.");
    schema_.add("train.steps", &s_.steps, Range<std::int64_t>{.min = 1, .max = 1000000},
                "Optimiser steps.");
    schema_.add("train.epochs", &s_.epochs, Range<std::int64_t>{.min = 1}, "Epochs.");
    schema_.add("optim.lr", &s_.lr, Range<double>{.above = 0}, "Peak learning rate.");
    schema_.add("optim.decay", &s_.decay, Range<double>{.min = 0, .below = 1}, "Weight decay.");
    schema_.add("train.amp", &s_.amp, "Mixed precision.");
    schema_.add("train.precision", &s_.precision, Choices{"fp32", "bf16"}, "Arithmetic.");
    schema_.add("optim.schedule", &s_.schedule,
                {{"linear", Schedule::kLinear},
                 {"cosine", Schedule::kCosine},
                 {"constant", Schedule::kConstant}},
                "Shape of the rate.");
    schema_.add("data.train", &s_.train_file, "Training file.").required();
    schema_.add("mesh.axes", &s_.axes, "Axes of the mesh.");
    schema_.add("a.b.deep", &s_.deep, "A key three deep.");
  }
  std::string load_error(std::string_view text) {
    return input_error_of([&] { schema_.load_text(text, "x.toml"); });
  }
  std::string set_error(std::string_view assignment) {
    return input_error_of([&] { schema_.set(assignment); });
  }
  Settings s_;
  Schema schema_;
};

constexpr char kGood[] = R"(# a run
name = "first"
a.b.deep = 8

[train]
steps = 500   # enough
amp = true
precision = "bf16"

[optim]
lr = 1
schedule = "cosine"

[data]
train = 'raw\path'

[mesh]
axes = [
  "pp",
  "dp",
]
)";

void expect_good(const Settings& s) {
  EXPECT_EQ(s.name, "first");
  EXPECT_EQ(s.deep, 8);
  EXPECT_EQ(s.steps, 500);
  EXPECT_TRUE(s.amp);
  EXPECT_EQ(s.precision, "bf16");
  EXPECT_EQ(s.lr, 1.0);
  EXPECT_EQ(s.schedule, Schedule::kCosine);
  EXPECT_EQ(s.train_file, "raw\\path");
  EXPECT_EQ(s.axes, (std::vector<std::string>{"pp", "dp"}));
}

TEST_F(Config, LoadsAFileIntoTheStruct) {
  const test::TempDir dir;
  write_file_atomic(dir / "run.toml", kGood);
  schema_.load(dir / "run.toml");
  schema_.check_required();
  expect_good(s_);
  EXPECT_EQ(schema_.where("train.steps"), dir / "run.toml:6: train.steps");
  EXPECT_EQ(schema_.where("optim.decay"), "optim.decay");
}

TEST_F(Config, KeysNotNamedKeepTheirValues) {
  schema_.load_text("[train]\nsteps = 5\n", "a");
  schema_.load_text("[optim]\nlr = 0.5\n", "b");
  EXPECT_EQ(s_.steps, 5);
  EXPECT_EQ(s_.lr, 0.5);
  EXPECT_EQ(s_.name, "run \"1\"");
  schema_.load_text("", "c");
  schema_.load_text("[train]\n", "d");
  EXPECT_EQ(s_.steps, 5);
}

TEST_F(Config, MissingFileIsNamed) {
  EXPECT_EQ(input_error_of([&] { schema_.load("/no/x.toml"); }),
            "/no/x.toml: cannot be read: No such file or directory");
}

TEST_F(Config, UnknownKeysNameTheLineAndTheNearest) {
  EXPECT_EQ(load_error("[train]\n\nstpes = 5\n"),
            "x.toml:3: unknown key 'train.stpes'; did you mean 'train.steps'?");
  EXPECT_EQ(load_error("[trian]\nsteps = 5\n"), "x.toml:1: unknown key 'trian'");
  EXPECT_EQ(load_error("train.lr = 5\n"),
            "x.toml:1: unknown key 'train.lr'; did you mean 'optim.lr'?");
  EXPECT_EQ(load_error("[train]\nsteps = 5\n[zebra]\n"), "x.toml:3: unknown key 'zebra'");
  EXPECT_EQ(load_error("x = {steps = 3}\n"), "x.toml:1: unknown key 'x'");
  EXPECT_EQ(load_error("[a.b]\ndeeep = 3"),
            "x.toml:2: unknown key 'a.b.deeep'; did you mean 'a.b.deep'?");
  EXPECT_EQ(load_error("\"odd key\" = 3"), "x.toml:1: unknown key 'odd key'");
}

TEST_F(Config, TheFirstMistakeOfTheFileIsTheOneReported) {
  EXPECT_EQ(load_error("[train]\nsteps = 'a'\nzzz = 1\n").substr(0, 9), "x.toml:2:");
  EXPECT_EQ(load_error("[train]\nzzz = 1\nsteps = 'a'\n").substr(0, 9), "x.toml:2:");
}

TEST_F(Config, TablesAndValuesAreNotMixedUp) {
  EXPECT_EQ(load_error("train = 3\n"), "x.toml:1: 'train' is a table of keys, not a value");
  EXPECT_EQ(load_error("[train.steps]\nx = 3\n"),
            "x.toml:1: 'train.steps' must be an integer, not a table");
  EXPECT_EQ(load_error("[[train]]\nsteps = 3\n"),
            "x.toml:1: 'train' is a table of keys, not a value");
}

TEST_F(Config, WrongTypesAreNamed) {
  EXPECT_EQ(load_error("train.steps = 'abc'"),
            "x.toml:1: 'train.steps' must be an integer, not the string \"abc\"");
  EXPECT_EQ(load_error("train.steps = 5.0"), "x.toml:1: 'train.steps' must be an integer, not 5.0");
  EXPECT_EQ(load_error("train.steps = true"),
            "x.toml:1: 'train.steps' must be an integer, not true");
  EXPECT_EQ(load_error("train.steps = [1]"),
            "x.toml:1: 'train.steps' must be an integer, not an array");
  EXPECT_EQ(load_error("train.steps = 2026-01-01"),
            "x.toml:1: 'train.steps' must be an integer, not a date or time");
  EXPECT_EQ(load_error("optim.lr = '1e-3'"),
            "x.toml:1: 'optim.lr' must be a number, not the string \"1e-3\"");
  EXPECT_EQ(load_error("train.amp = 1"), "x.toml:1: 'train.amp' must be true or false, not 1");
  EXPECT_EQ(load_error("name = 1"), "x.toml:1: 'name' must be a string, not 1");
  EXPECT_EQ(load_error("optim.schedule = 1"), "x.toml:1: 'optim.schedule' must be a string, not 1");
  EXPECT_EQ(load_error("mesh.axes = 'dp'"),
            "x.toml:1: 'mesh.axes' must be a list of strings, not the string \"dp\"");
  EXPECT_EQ(load_error("mesh.axes = ['dp', 3]"),
            "x.toml:1: 'mesh.axes' must be a list of strings, not an array");
  EXPECT_EQ(load_error("name = []"), "x.toml:1: 'name' must be a string, not an array");
}

TEST_F(Config, ValuesOutOfRangeAreNamed) {
  EXPECT_EQ(load_error("\ntrain.steps = 0"),
            "x.toml:2: 'train.steps' must be at least 1, at most 1000000, not 0");
  EXPECT_EQ(load_error("train.steps = 1000001"),
            "x.toml:1: 'train.steps' must be at least 1, at most 1000000, not 1000001");
  EXPECT_EQ(load_error("optim.lr = 0"), "x.toml:1: 'optim.lr' must be above 0.0, not 0.0");
  EXPECT_EQ(load_error("optim.decay = 1.0"),
            "x.toml:1: 'optim.decay' must be at least 0.0, below 1.0, not 1.0");
  EXPECT_EQ(load_error("optim.decay = -0.1"),
            "x.toml:1: 'optim.decay' must be at least 0.0, below 1.0, not -0.1");
  EXPECT_EQ(s_.steps, 1000) << "a refused value is not stored";
  schema_.load_text("train.steps = 1\noptim.decay = 0.0", "x");
  EXPECT_EQ(s_.steps, 1);
}

TEST_F(Config, BadChoicesNameTheNearest) {
  EXPECT_EQ(
      load_error("train.precision = 'bf61'"),
      "x.toml:1: 'train.precision' must be one of fp32 | bf16, not \"bf61\"; did you mean 'bf16'?");
  EXPECT_EQ(load_error("optim.schedule = 'cosin'"),
            "x.toml:1: 'optim.schedule' must be one of linear | cosine | constant, not \"cosin\"; "
            "did you mean "
            "'cosine'?");
  EXPECT_EQ(load_error("optim.schedule = ''"),
            "x.toml:1: 'optim.schedule' must be one of linear | cosine | constant, not \"\"");
}

TEST_F(Config, NumbersAreFiniteWithoutARangeToo) {
  double any = 0;
  schema_.add("any", &any, "Any number.");
  for (const char* number : {"nan", "inf", "-inf"}) {
    EXPECT_EQ(load_error(cat("optim.lr = ", number)),
              cat("x.toml:1: 'optim.lr' must be a finite number, not ", number));
    EXPECT_EQ(load_error(cat("any = ", number)),
              cat("x.toml:1: 'any' must be a finite number, not ", number));
  }
}

TEST_F(Config, WrongSyntaxNamesLineAndColumn) {
  const std::pair<const char*, const char*> cases[] = {
      {"[train\nsteps = 1", "x.toml:1:"},
      {"[*]\n", "x.toml:1:"},
      {"[[ \xC3\xA9 ]]\n", "x.toml:1:"},
      {"[train]\nsteps 5\n", "x.toml:2:"},
      {"[train]\nsteps = \n", "x.toml:2:"},
      {"name = \"abc\nx", "x.toml:1:"},
      {"train.steps = 1\ntrain.steps = 2\n", "x.toml:2:"},
      {"[train]\nsteps = 1\n[train]\namp = true\n", "x.toml:3:"},
      {"train.steps = 99999999999999999999", "x.toml:1:"},
      {"train.steps = 1 2", "x.toml:1:"},
      {"name = \"\\q\"", "x.toml:1:"},
      {"= 1", "x.toml:1:"},
      {"name = abc", "x.toml:1:"},
      {"mesh.axes = ['a'", "x.toml:1:"},
      {"a = {b = 1", "x.toml:1:"},
      {"name = 'a\xFFz'", "x.toml:1:"},
      {"\x01", "x.toml:1:"}};
  for (const auto& [text, start] : cases) {
    const std::string message = load_error(text);
    EXPECT_EQ(message.find(start), 0U) << message;
    EXPECT_NE(message.find(": not valid TOML: "), std::string::npos) << message;
  }
}

std::string dotted_key(int parts) {
  std::string key = "x";
  for (int i = 1; i < parts; ++i) key += ".x";
  return key;
}

TEST_F(Config, DeepNestingIsRefusedNotFollowed) {
  const std::string message = load_error("x = " + std::string(100000, '['));
  EXPECT_NE(message.find("x.toml:1:"), std::string::npos) << message;
  const std::string tables = load_error("x = " + std::string(100000, '{'));
  EXPECT_NE(tables.find("x.toml:1:"), std::string::npos) << tables;
  const std::string deep = ": a key has more than 64 parts";
  EXPECT_EQ(load_error(dotted_key(1000000) + " = 1"), "x.toml:1" + deep);
  EXPECT_EQ(load_error("\n\n[" + dotted_key(65) + "]"), "x.toml:3" + deep);
  EXPECT_EQ(load_error("a = {b = 1, " + dotted_key(100) + " = 2}"), "x.toml:1" + deep);
  const std::string text = "name = \"\"\"\n\"quoted\" \\\"\"\"\"\n" + dotted_key(65) + " = 1";
  EXPECT_EQ(load_error(text), "x.toml:3" + deep);
  EXPECT_EQ(load_error(dotted_key(64) + " = 1"), "x.toml:1: unknown key 'x'");
}

TEST_F(Config, DotsInStringsAndCommentsAreNotCounted) {
  const std::string dots(200, '.');
  const std::string texts[] = {
      "name = \"" + dots + "\"",
      "name = '" + dots + "'",
      "name = '''\n" + dots + "''' # '" + dots,
      "# it's \"\n# " + dots + "\nname = \"a \\\" " + dots + "\"",
      "name = \"\"\"" + dots + "\n\\\"\"\"" + dots + "\"\"\"",
  };
  for (const std::string& text : texts) {
    s_.name = "";
    schema_.load_text(text, "x.toml");
    EXPECT_NE(s_.name.find(dots), std::string::npos) << text;
  }
}

// Whatever the bytes: accepted, or an input_error of one line.
TEST_F(Config, SurvivesRandomChanges) {
  const std::string good = kGood;
  int refused = 0;
  for (std::uint64_t i = 0; i < 5000; ++i) {
    std::string text = good;
    for (std::uint64_t k = 0; k < 2; ++k) {
      text[uniform_below(text.size(), 5, i, 2 * k)] =
          static_cast<char>(uniform_below(256, 5, i, 2 * k + 1));
    }
    try {
      schema_.load_text(text, "x.toml");
    } catch (const Error& error) {
      ++refused;
      const std::string message = error.what();
      ASSERT_EQ(error.kind(), ErrorKind::kInput);
      ASSERT_EQ(message.find("x.toml:"), 0U) << message;
      ASSERT_EQ(message.find('\n'), std::string::npos) << message;
    }
  }
  EXPECT_GT(refused, 1000);
}

TEST_F(Config, SetOverridesWithAndWithoutQuotes) {
  schema_.set("train.steps=1_000");
  EXPECT_EQ(s_.steps, 1000);
  schema_.set(" train.steps = +42 ");
  EXPECT_EQ(s_.steps, 42);
  schema_.set("optim.lr=1e-5");
  EXPECT_EQ(s_.lr, 1e-5);
  schema_.set("optim.lr=3");
  EXPECT_EQ(s_.lr, 3.0);
  schema_.set("train.amp=true");
  EXPECT_TRUE(s_.amp);
  schema_.set("data.train=/data/a=b c.json");
  EXPECT_EQ(s_.train_file, "/data/a=b c.json");
  schema_.set("data.train=\"a\\tb\"");
  EXPECT_EQ(s_.train_file, "a\tb");
  schema_.set("data.train='it is'");
  EXPECT_EQ(s_.train_file, "it is");
  schema_.set("data.train=");
  EXPECT_EQ(s_.train_file, "");
  schema_.set("train.precision=bf16");
  EXPECT_EQ(s_.precision, "bf16");
  schema_.set("optim.schedule=\"constant\"");
  EXPECT_EQ(s_.schedule, Schedule::kConstant);
  schema_.set("mesh.axes=a, b,c");
  EXPECT_EQ(s_.axes, (std::vector<std::string>{"a", "b", "c"}));
  schema_.set("mesh.axes=['x, y', \"z\"]");
  EXPECT_EQ(s_.axes, (std::vector<std::string>{"x, y", "z"}));
  schema_.set("mesh.axes=[]");
  EXPECT_TRUE(s_.axes.empty());
  EXPECT_EQ(schema_.where("mesh.axes"), "--set mesh.axes=[]: mesh.axes");
}

TEST_F(Config, SetErrorsNameTheFlag) {
  EXPECT_EQ(set_error("train.steps"), "--set train.steps: must have the form key=value");
  EXPECT_EQ(set_error("=5"), "--set =5: must have the form key=value");
  EXPECT_EQ(set_error(""), "--set : must have the form key=value");
  EXPECT_EQ(set_error("train.step=5"),
            "--set train.step=5: unknown key 'train.step'; did you mean 'train.steps'?");
  EXPECT_EQ(set_error("train=5"), "--set train=5: 'train' is a table of keys, not a value");
  EXPECT_EQ(set_error("train.steps=0"),
            "--set train.steps=0: 'train.steps' must be at least 1, at most 1000000, not 0");
  for (const char* bad :
       {"train.steps=abc", "train.steps=", "train.steps=5.5", "train.steps=5x",
        "train.steps=99999999999999999999", "train.steps=- 5", "train.steps=++5"}) {
    EXPECT_EQ(set_error(bad), cat("--set ", bad, ": 'train.steps' must be an integer"));
  }
  for (const char* bad :
       {"optim.lr=fast", "optim.lr=", "optim.lr=1e", "optim.lr=1,5", "optim.lr=1e999"}) {
    EXPECT_EQ(set_error(bad), cat("--set ", bad, ": 'optim.lr' must be a number"));
  }
  EXPECT_EQ(set_error("optim.lr=inf"),
            "--set optim.lr=inf: 'optim.lr' must be a finite number, not inf");
  EXPECT_EQ(set_error("train.amp=yes"), "--set train.amp=yes: 'train.amp' must be true or false");
  EXPECT_EQ(
      set_error("train.precision=fp16"),
      "--set train.precision=fp16: 'train.precision' must be one of fp32 | bf16, not \"fp16\"");
  EXPECT_EQ(set_error("data.train=\"open"),
            "--set data.train=\"open: 'data.train' must be a string");
  EXPECT_EQ(set_error("mesh.axes=[1]"),
            "--set mesh.axes=[1]: 'mesh.axes' must be a list of strings");
  EXPECT_EQ(set_error("mesh.axes=['a'] y = 3"),
            "--set mesh.axes=['a'] y = 3: 'mesh.axes' must be a list of strings");
  EXPECT_EQ(set_error("data.train='a'\ntrain.steps=3").find("--set data.train='a' train.steps=3"),
            0U);
}

TEST_F(Config, RequiredKeysAreAskedFor) {
  EXPECT_EQ(input_error_of([&] { schema_.check_required(); }),
            "required key 'data.train' has no value (Training file.): give it in the configuration "
            "file or with "
            "--set data.train=...");
  schema_.set("data.train=x");
  EXPECT_NO_THROW(schema_.check_required());
}

constexpr char kPrinted[] = R"(# Name of the run.
name = "run \"1\""

[train]
# Optimiser steps.
steps = 1000
# Epochs.
# epochs =   (not given, an integer: at least 1)
# Mixed precision.
amp = false
# Arithmetic.
precision = "fp32"

[optim]
# Peak learning rate.
lr = 0.0003
# Weight decay.
decay = 0.0
# Shape of the rate.
schedule = "linear"

[data]
# Training file.
# train =   (required, a string)

[mesh]
# Axes of the mesh.
axes = ["dp", "tp"]

[a.b]
# A key three deep.
deep = 7
)";

TEST_F(Config, PrintsTheEffectiveFile) {
  EXPECT_EQ(schema_.print(), kPrinted);
}

TEST_F(Config, WhatItPrintsReadsBackToTheSame) {
  schema_.load_text(kGood, "x");
  s_.name = "tab\t quote\" back\\ line\n bell\x07 \x7F \xC3\xA9 \xF0\x9F\x98\x80";
  s_.lr = 0.1 + 0.2;
  s_.decay = 5e-324;
  s_.axes = {"", "a,b", "\"]"};
  const std::string printed = schema_.print();
  const Settings before = s_;
  s_ = Settings();
  schema_.load_text(printed, "printed.toml");
  EXPECT_EQ(s_.name, before.name);
  EXPECT_EQ(s_.lr, before.lr);
  EXPECT_EQ(s_.decay, before.decay);
  EXPECT_EQ(s_.axes, before.axes);
  EXPECT_EQ(s_.schedule, before.schedule);
  EXPECT_EQ(schema_.print(), printed);
}

TEST(ConfigDoubles, EveryDoublePrintsAndReadsBack) {
  double value = 0;
  Schema schema;
  schema.add("x", &value, "X.");
  for (std::uint64_t i = 0; i < 3000; ++i) {
    value = normal(1, 2, i) * std::pow(10.0, static_cast<double>(i % 600) - 300);
    const double before = value;
    const std::string printed = schema.print();
    value = -1;
    schema.load_text(printed, "x");
    ASSERT_EQ(value, before) << printed;
  }
  for (const double special : {0.0, -0.0, 1e22, 1e300, 1.0, -5.0}) {
    value = special;
    const std::string printed = schema.print();
    value = -1;
    schema.load_text(printed, "x");
    EXPECT_EQ(value, special) << printed;
  }
}

TEST_F(Config, ToJsonNestsAndMarksWhatHasNoValue) {
  schema_.set("optim.lr=0.5");
  EXPECT_EQ(
      dump_json(schema_.to_json()),
      R"({"name":"run \"1\"","train":{"steps":1000,"epochs":null,"amp":false,"precision":"fp32"},)"
      R"("optim":{"lr":0.5,"decay":0.0,"schedule":"linear"},"data":{"train":null},)"
      R"("mesh":{"axes":["dp","tp"]},"a":{"b":{"deep":7}}})");
}

TEST_F(Config, MistakesInCodeAreLogicErrors) {
  std::int64_t x = 0;
  for (const char* key :
       {"train.steps", "train", "train.steps.more", "", ".x", "x.", "x..y", "x y", "x=y"}) {
    EXPECT_THROW(schema_.add(key, &x, "X."), std::logic_error) << key;
  }
  EXPECT_THROW(schema_.add("ok", &x, ""), std::logic_error);
  EXPECT_THROW(schema_.add("ok", &x, "two\nlines"), std::logic_error);
  EXPECT_THROW(schema_.where("nothing"), std::logic_error);
  EXPECT_NO_THROW(schema_.add("train.stepsize", &x, "X."));
}

}  // namespace
}  // namespace trireme
