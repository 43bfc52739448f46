#include "libs/io/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

namespace attnlab {
namespace {

using ::testing::HasSubstr;

std::string ErrorOf(absl::string_view text, const JsonLimits& limits = {}) {
  const auto json = Json::Parse(text, "file.json", limits);
  EXPECT_FALSE(json.ok()) << text;
  return std::string(json.status().message());
}

TEST(Json, WhatIsWrittenReadsBackAndIsStable) {
  Json json = Json::MakeObject();
  json.Set("z", 1).Set("a", Json::MakeArray().Append(0.1).Append(true).Append(Json()));
  json.Set("text", "tab\t \"quoted\" \xC3\xA9").Set("z", int64_t{1} << 62);
  const std::string compact =
      "{\"z\":4611686018427387904,\"a\":[0.1,true,null],\"text\":\"tab\\t \\\"quoted\\\" "
      "\xC3\xA9\"}";
  EXPECT_EQ(json.Dump(), compact);
  EXPECT_EQ(Json::Parse(compact, "")->Dump(), compact);
  EXPECT_EQ(Json::Parse(json.Dump(2), "")->Dump(2), json.Dump(2));
  EXPECT_EQ(Json::Parse("{\"a\": [], \"b\": {}}", "")->Dump(2), "{\n  \"a\": [],\n  \"b\": {}\n}");
}

TEST(Json, Numbers) {
  const double value = 0.1 + 0.2;
  EXPECT_EQ(*JsonRef(*Json::Parse(Json(value).Dump(), "")).Number(), value);
  EXPECT_EQ(*JsonRef(*Json::Parse("-9223372036854775808", "")).Integer(),
            std::numeric_limits<int64_t>::min());
  // Beyond int64_t an integer is a double, and no integer any more.
  const Json big = *Json::Parse("9223372036854775808", "");
  EXPECT_EQ(*JsonRef(big).Number(), 0x1p63);
  EXPECT_FALSE(JsonRef(big).Integer().ok());
  EXPECT_EQ(Json(std::numeric_limits<double>::infinity()).Dump(), "null");
  EXPECT_EQ(Json(std::nan("")).Dump(), "null");
}

TEST(Json, HostileTextIsAnErrorWithItsPlace) {
  EXPECT_THAT(ErrorOf("{\"a\": 1,\n \"b\": tru}"), HasSubstr("file.json: line 2, byte 1"));
  EXPECT_THAT(ErrorOf(""), HasSubstr("line 1"));
  EXPECT_THAT(ErrorOf("[1] 2"), HasSubstr("end of input"));
  EXPECT_THAT(ErrorOf("\"\xFF\""), HasSubstr("UTF-8"));
  EXPECT_THAT(ErrorOf("\"\\ud800\""), HasSubstr("surrogate"));
  EXPECT_THAT(ErrorOf("{\"a\": 1, \"b\": 2, \"a\": 3}"), HasSubstr("duplicate key \"a\""));
  EXPECT_THAT(ErrorOf("1e999"), HasSubstr("not valid"));
  EXPECT_THAT(ErrorOf(std::string(100000, '[')), HasSubstr("more than 64 deep"));
  EXPECT_THAT(ErrorOf("[[1]]", {.max_depth = 1}), HasSubstr("more than 1 deep"));
  EXPECT_THAT(ErrorOf("[1,2,3]", {.max_bytes = 6}), HasSubstr("7 bytes"));
  EXPECT_LT(ErrorOf("[1, x" + std::string(100000, 'y')).size(), 500u);
}

TEST(Json, TypedReadsNameThePath) {
  const Json json = *Json::Parse("{\"model\": {\"layers\": [1, \"two\"], \"name\": null}}", "");
  const JsonRef root(json, "config.json");
  EXPECT_EQ(*root["model"]["layers"][0].Integer(), 1);
  EXPECT_EQ(*root["model"]["layers"][1].String(), "two");
  EXPECT_EQ(root["model"]["layers"][1].Integer().status().message(),
            "config.json: model.layers[1]: expected an integer, found a string");
  const absl::Status missing = root["model"]["heads"].Integer().status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("config.json: model.heads: missing"));
  EXPECT_THAT(std::string(root["a"]["b"][3].Bool().status().message()), HasSubstr("a.b[3]"));
  EXPECT_EQ(*root["model"]["heads"].IntegerOr(12), 12);
  EXPECT_EQ(*root["model"]["name"].StringOr("none"), "none");
  EXPECT_FALSE(root["model"]["layers"].StringOr("none").ok());
  EXPECT_THAT(std::string(root["model"]["layers"].Integers().status().message()),
              HasSubstr("layers[1]"));
  EXPECT_EQ(root["model"].Members()->size(), 2u);
}

TEST(Json, StringField) {
  const auto field = [](absl::string_view line) { return JsonStringField(line, "text"); };
  EXPECT_EQ(
      *field("{\"a\": {\"text\": 1, \"b\": [{\"text\": \"no\"}]}, \"text\": \"y\\u00e9s\\n\"}"),
      "y\xC3\xA9s\n");
  EXPECT_EQ(*field("{\"text\": \"\"}"), "");
  EXPECT_EQ(field("{\"txt\": \"x\"}").status().code(), absl::StatusCode::kNotFound);
  for (const char* line :
       {"[]", "\"text\"", "null", "1", "{\"text\": 1}", "{\"text\": [\"x\"]}", "{\"text\": {}}",
        "{\"text\": null}", "{\"text\": \"a\", \"text\": \"b\"}", "{\"text\": \"x\"} {}",
        "{\"text\": \"x\"", ""}) {
    EXPECT_EQ(field(line).status().code(), absl::StatusCode::kInvalidArgument) << line;
  }
}

}  // namespace
}  // namespace attnlab
