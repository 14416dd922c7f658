#include "trireme/base/json.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <string>

#include "tests/base/test_util.h"
#include "trireme/base/files.h"
#include "trireme/base/random.h"

namespace trireme {
namespace {

using test::input_error_of;

std::string parse_error(std::string_view text) {
  return input_error_of([&] { parse_json(text, "x.json"); });
}

TEST(ParseJson, KeepsValuesAndTheOrderOfKeys) {
  const Json value = parse_json(
      R"({"z": [1, -2, 2.5, 1e3, true, false, null], "a": {"é\n": "\ud83d\ude00"}, "": {}})", "x");
  EXPECT_EQ(dump_json(value), R"({"z":[1,-2,2.5,1000.0,true,false,null],"a":{"é\n":"😀"},"":{}})");
  EXPECT_TRUE(value["z"][0].is_number_integer());
  EXPECT_TRUE(value["z"][3].is_number_float());
}

TEST(ParseJson, TakesAnyValueAtTheTop) {
  EXPECT_EQ(parse_json("3", "x"), Json(3));
  EXPECT_EQ(parse_json(" \"a\" ", "x"), Json("a"));
  EXPECT_EQ(parse_json("null", "x"), Json(nullptr));
  EXPECT_EQ(parse_json("[]\n", "x"), Json::array());
  EXPECT_EQ(parse_json("\xEF\xBB\xBF{}", "x"), Json::object());
}

TEST(ParseJson, KeepsTheLimitsOfNumbers) {
  EXPECT_EQ(parse_json("9223372036854775807", "x").get<std::int64_t>(), INT64_MAX);
  EXPECT_EQ(parse_json("-9223372036854775808", "x").get<std::int64_t>(), INT64_MIN);
  EXPECT_EQ(parse_json("18446744073709551615", "x").get<std::uint64_t>(), UINT64_MAX);
  EXPECT_EQ(parse_json("1.7976931348623157e308", "x").get<double>(),
            std::numeric_limits<double>::max());
  EXPECT_EQ(parse_json("5e-324", "x").get<double>(), std::numeric_limits<double>::denorm_min());
}

TEST(ParseJson, NamesLineAndColumnOfWrongSyntax) {
  EXPECT_EQ(parse_error("{\"a\": 1,\n \"b\": tru }"),
            "x.json:2:7: not valid JSON: unexpected 'tru'");
  EXPECT_EQ(parse_error("{\"a\" 1}"), "x.json:1:6: not valid JSON: unexpected '1'");
  EXPECT_EQ(parse_error("{\"a\": 1,}"), "x.json:1:9: not valid JSON: unexpected '}'");
  EXPECT_EQ(parse_error("[1 2]"), "x.json:1:4: not valid JSON: unexpected '2'");
  EXPECT_EQ(parse_error("{} {}"), "x.json:1:4: not valid JSON: unexpected '{'");
  EXPECT_EQ(parse_error("[1]]"), "x.json:1:4: not valid JSON: unexpected ']'");
  EXPECT_EQ(parse_error("{'a': 1}"), "x.json:1:2: not valid JSON: unexpected '''");
  EXPECT_EQ(parse_error("{a: 1}"), "x.json:1:2: not valid JSON: unexpected 'a'");
  EXPECT_EQ(parse_error("{1: 1}"), "x.json:1:2: not valid JSON: unexpected '1'");
  EXPECT_EQ(parse_error("[NaN]"), "x.json:1:2: not valid JSON: unexpected 'NaN'");
  EXPECT_EQ(parse_error("[Infinity]"), "x.json:1:2: not valid JSON: unexpected 'Infinity'");
  EXPECT_EQ(parse_error("[1, // one\n2]"), "x.json:1:5: not valid JSON: unexpected '/'");
  EXPECT_EQ(parse_error("[01]"), "x.json:1:2: not valid JSON: unexpected '01'");
  EXPECT_EQ(parse_error("[\"a\" \"b\\\"c\"]"),
            "x.json:1:6: not valid JSON: unexpected '\"b\\\"c\"'");
  EXPECT_EQ(parse_error("[1, \xC3\xA9]"), "x.json:1:5: not valid JSON: unexpected character");
  EXPECT_EQ(parse_error("[1 \"\xC3\xA9\"]"), "x.json:1:4: not valid JSON: unexpected string");
  EXPECT_EQ(parse_error("[" + std::string(100, 'q')),
            "x.json:1:2: not valid JSON: unexpected '" + std::string(24, 'q') + "...'");
  EXPECT_EQ(parse_error("[1.]").find("x.json:1:"), 0U);
  EXPECT_EQ(parse_error("[-]").find("x.json:1:"), 0U);
  EXPECT_EQ(parse_error("[1e]").find("x.json:1:"), 0U);
}

TEST(ParseJson, CountsColumnsInCodePoints) {
  EXPECT_EQ(parse_error("[\"\xC3\xA9\xF0\x9F\x98\x80\", x]"),
            "x.json:1:8: not valid JSON: unexpected 'x'");
}

TEST(ParseJson, SaysWhenTheTextEnds) {
  const std::string ends = ": not valid JSON: the text ends in the middle of a value";
  EXPECT_EQ(parse_error(""), "x.json:1:1" + ends);
  EXPECT_EQ(parse_error("  \n"), "x.json:2:1" + ends);
  EXPECT_EQ(parse_error("{\"a\": [1, 2"), "x.json:1:12" + ends);
  EXPECT_EQ(parse_error("{\"a"), "x.json:1:4" + ends);
  EXPECT_EQ(parse_error("{\n\"a\":\n"), "x.json:3:1" + ends);
}

TEST(ParseJson, RefusesBadStrings) {
  const std::string bad =
      ": not valid JSON: a string holds a control character, a wrong escape, or bytes that are not "
      "UTF-8";
  EXPECT_EQ(parse_error("[\"a\x01\"]"), "x.json:1:4" + bad);
  EXPECT_EQ(parse_error("[\"a\nb\"]"), "x.json:1:4" + bad);
  EXPECT_EQ(parse_error("[\"\\q\"]"), "x.json:1:4" + bad);
  EXPECT_EQ(parse_error("[\"\\u12G4\"]").find("x.json:1:"), 0U);
  EXPECT_EQ(parse_error("[\"\\ud800\"]").find("x.json:1:"), 0U);
  EXPECT_EQ(parse_error("[\"ab\xFF\"]"), "x.json:1:5" + bad);
  EXPECT_EQ(parse_error("[\"\xED\xA0\x80\"]").find("x.json:1:"), 0U);
  EXPECT_EQ(parse_error("[\"\xC0\xAF\"]").find("x.json:1:"), 0U);
}

// The lexer ends there: what is behind would not be seen.
TEST(ParseJson, RefusesANulByte) {
  EXPECT_EQ(parse_error(std::string("{}\0garbage", 10)), "x.json:1:3: not valid JSON: a NUL byte");
  EXPECT_EQ(parse_error(std::string("[1,\n2]\0", 8)), "x.json:2:3: not valid JSON: a NUL byte");
  EXPECT_EQ(parse_error(std::string("\0", 1)), "x.json:1:1: not valid JSON: a NUL byte");
}

TEST(ParseJson, RefusesNumbersBeyondDouble) {
  EXPECT_EQ(parse_error("{\"a\": 1e999}"), "x.json:1:7: number '1e999' is out of range");
  EXPECT_EQ(parse_error("[-1e400]"), "x.json:1:2: number '-1e400' is out of range");
}

TEST(ParseJson, RefusesAKeyTwice) {
  EXPECT_EQ(parse_error("{\"a\": 1,\n \"b\": {\"a\": 2}, \"a\": 3}").substr(0, 9), "x.json:2:");
  EXPECT_NE(parse_error("{\"a\": 1, \"a\": 3}").find(": key 'a' stands twice in one object"),
            std::string::npos);
  EXPECT_NE(parse_error("{\"a\": 1, \"\\u0061\": 3}").find("twice"), std::string::npos);
}

TEST(ParseJson, LimitsTheDepth) {
  const std::string right = std::string(kMaxJsonDepth, '[') + std::string(kMaxJsonDepth, ']');
  EXPECT_TRUE(parse_json(right, "x").is_array());
  EXPECT_EQ(parse_error(std::string(1'000'000, '[')),
            "x.json:1:130: nested deeper than 128 levels");
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += "{\"a\":";
  EXPECT_NE(parse_error(objects).find("nested deeper than 128 levels"), std::string::npos);
}

TEST(ParseJson, EveryTruncationOfATextIsRefusedInOneLine) {
  const std::string text = R"({"a": [1, 2.5e-3, "x\u00e9\\", {"b": null}], "c": true, "d": -12})";
  EXPECT_NO_THROW(parse_json(text, "x"));
  for (std::size_t length = 0; length < text.size(); ++length) {
    const std::string message = parse_error(text.substr(0, length));
    EXPECT_EQ(message.find("x.json:1:"), 0U) << message;
    EXPECT_EQ(message.find("exception"), std::string::npos) << message;
  }
}

// Whatever the bytes: a value, or an input_error of one line.
TEST(ParseJson, SurvivesRandomChanges) {
  const std::string text = R"({"a": [1, 2.5e-3, "x\u00e9", {"b": null}], "c": true, "d": -12})";
  int refused = 0;
  for (std::uint64_t i = 0; i < 20000; ++i) {
    std::string changed = text;
    for (std::uint64_t k = 0; k < 3; ++k) {
      changed[uniform_below(text.size(), 1, i, 2 * k)] =
          static_cast<char>(uniform_below(256, 1, i, 2 * k + 1));
    }
    try {
      parse_json(changed, "x.json");
    } catch (const Error& error) {
      ++refused;
      const std::string message = error.what();
      ASSERT_EQ(message.find("x.json:"), 0U) << message;
      ASSERT_EQ(message.find("json.exception"), std::string::npos) << message;
    }
  }
  EXPECT_GT(refused, 10000);
}

// The stock builder of ordered objects needs a time that grows with the square: 15 s for this one.
TEST(ParseJson, LargeObjectsTakeLinearTime) {
  std::string text = "{";
  for (int i = 0; i < 200000; ++i)
    text += (i > 0 ? ",\"token" : "\"token") + std::to_string(i) + "\":" + std::to_string(i);
  text += "}";
  const auto start = std::chrono::steady_clock::now();
  const Json value = parse_json(text, "vocab.json");
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  EXPECT_EQ(value.size(), 200000U);
  EXPECT_EQ(value.get_ref<const Json::object_t&>().back().second, 199999);
  EXPECT_LT(took.count(), 5);
}

TEST(ReadJsonFile, NamesTheFile) {
  const test::TempDir dir;
  write_file_atomic(dir / "c.json", "{\"a\": }");
  EXPECT_EQ(input_error_of([&] { read_json_file(dir / "c.json"); }),
            dir / "c.json:1:7: not valid JSON: unexpected '}'");
  EXPECT_EQ(input_error_of([&] { read_json_file(dir / "none.json"); }),
            dir / "none.json: cannot be read: No such file or directory");
  write_file_atomic(dir / "c.json", "{\"a\": 1}");
  EXPECT_EQ(read_json_file(dir / "c.json"), (Json{{"a", 1}}));
}

TEST(DumpJson, DoublesReadBackToTheSameBits) {
  for (std::uint64_t i = 0; i < 20000; ++i) {
    const double value = normal(1, 2, i) * std::pow(10.0, static_cast<double>(i % 60) - 30);
    ASSERT_EQ(parse_json(dump_json(Json(value)), "x").get<double>(), value);
  }
}

TEST(DumpJson, NeverThrowsOnBadContent) {
  EXPECT_EQ(dump_json(Json("a\xFF")), "\"a\xEF\xBF\xBD\"");
  EXPECT_EQ(dump_json(Json(std::nan(""))), "null");
  EXPECT_EQ(dump_json(Json{{"a", 1}}, 2), "{\n  \"a\": 1\n}");
}

class Getters : public testing::Test {
 protected:
  const Json object_ = parse_json(
      R"({"hidden_size": 768, "eps": 1e-12, "act": "gelu", "tie": true, "list": [1, "a"],
          "inner": {"x": 1}, "none": null, "huge": 18446744073709551615})",
      "c");
};

TEST_F(Getters, GiveTheValue) {
  EXPECT_EQ(require_int(object_, "hidden_size", "c"), 768);
  EXPECT_EQ(require_double(object_, "eps", "c"), 1e-12);
  EXPECT_EQ(require_double(object_, "hidden_size", "c"), 768.0);
  EXPECT_EQ(require_string(object_, "act", "c"), "gelu");
  EXPECT_TRUE(require_bool(object_, "tie", "c"));
  EXPECT_EQ(require_array(object_, "list", "c").size(), 2U);
  EXPECT_EQ(require_int(require_object(object_, "inner", "c"), "x", "c: inner"), 1);
  EXPECT_TRUE(require(object_, "none", "c").is_null());
}

TEST_F(Getters, NameTheMissingKeyAndTheNearest) {
  EXPECT_EQ(input_error_of([&] { require_int(object_, "hiden_size", "c.json"); }),
            "c.json: key 'hiden_size' is missing; did you mean 'hidden_size'?");
  EXPECT_EQ(input_error_of([&] { require_string(object_, "architecture", "c.json"); }),
            "c.json: key 'architecture' is missing");
}

TEST_F(Getters, NameTheKeyOfAWrongType) {
  EXPECT_EQ(input_error_of([&] { require_int(object_, "act", "c.json"); }),
            "c.json: key 'act' must be an integer, not the string \"gelu\"");
  EXPECT_EQ(input_error_of([&] { require_int(object_, "eps", "c.json"); }),
            "c.json: key 'eps' must be an integer, not the number 1e-12");
  EXPECT_EQ(
      input_error_of([&] { require_int(object_, "huge", "c.json"); }),
      "c.json: key 'huge' must be an integer of 64 bits, not the number 18446744073709551615");
  EXPECT_EQ(input_error_of([&] { require_double(object_, "tie", "c.json"); }),
            "c.json: key 'tie' must be a number, not true");
  EXPECT_EQ(input_error_of([&] { require_string(object_, "list", "c.json"); }),
            "c.json: key 'list' must be a string, not an array");
  EXPECT_EQ(input_error_of([&] { require_bool(object_, "inner", "c.json"); }),
            "c.json: key 'inner' must be true or false, not an object");
  EXPECT_EQ(input_error_of([&] { require_array(object_, "none", "c.json"); }),
            "c.json: key 'none' must be an array, not null");
  EXPECT_EQ(input_error_of([&] { require_object(object_, "list", "c.json"); }),
            "c.json: key 'list' must be an object, not an array");
  EXPECT_EQ(input_error_of([&] { require_int(object_["list"], "x", "c.json: list"); }),
            "c.json: list must be an object, not an array");
  EXPECT_EQ(input_error_of([&] { as_string(object_["list"][0], "c.json: list[0]"); }),
            "c.json: list[0] must be a string, not the number 1");
  EXPECT_EQ(input_error_of([&] { as_int(Json(std::string(100, 'a')), "x"); }),
            "x must be an integer, not a string");
}

TEST_F(Getters, OptionalOnesFallBackOnlyWhenAbsentOrNull) {
  EXPECT_EQ(optional_int(object_, "layers", "c", 12), 12);
  EXPECT_EQ(optional_int(object_, "none", "c", 12), 12);
  EXPECT_EQ(optional_int(object_, "hidden_size", "c", 12), 768);
  EXPECT_EQ(optional_double(object_, "dropout", "c", 0.1), 0.1);
  EXPECT_EQ(optional_string(object_, "act", "c", "relu"), "gelu");
  EXPECT_EQ(optional_string(object_, "other", "c", "relu"), "relu");
  EXPECT_FALSE(optional_bool(object_, "other", "c", false));
  EXPECT_EQ(input_error_of([&] { optional_int(object_, "act", "c", 1); }),
            "c: key 'act' must be an integer, not the string \"gelu\"");
  EXPECT_EQ(input_error_of([&] { optional_bool(object_["list"], "a", "c", true); }),
            "c must be an object, not an array");
}

}  // namespace
}  // namespace trireme
