// JSON (RFC 8259) for config.json, tokenizer.json, safetensors headers, state.json and .jsonl
// lines.
//
// Text comes from outside and is hostile: size and depth are bounded, duplicate keys and invalid
// UTF-8 are errors, and every error names the source, the line and the offset, or the path of the
// value that has the wrong type ("config.json: model.layers[3]: expected an integer, found a
// string"). Objects keep their order, so what is written is byte-stable.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace attnlab {

class JsonRef;

struct JsonLimits {
  size_t max_bytes = size_t{256} << 20;
  int max_depth = 64;
};

// A JSON value that owns its tree. Integers that do not fit int64_t are kept as doubles.
class Json {
 public:
  using Array = std::vector<Json>;
  using Object = std::vector<std::pair<std::string, Json>>;
  using Value = std::variant<std::nullptr_t, bool, int64_t, double, std::string, Array, Object>;

  Json() : value_(nullptr) {}
  Json(bool value) : value_(value) {}
  Json(int value) : value_(int64_t{value}) {}
  Json(int64_t value) : value_(value) {}
  Json(double value) : value_(value) {}
  Json(std::string value) : value_(std::move(value)) {}
  Json(const char* value) : value_(std::string(value)) {}
  Json(Array value) : value_(std::move(value)) {}
  Json(Object value) : value_(std::move(value)) {}
  static Json MakeArray() { return Json(Array()); }
  static Json MakeObject() { return Json(Object()); }

  // `source` names the text in errors (a path). The whole text must be one value.
  static absl::StatusOr<Json> Parse(absl::string_view text, absl::string_view source,
                                    const JsonLimits& limits = {});
  static absl::StatusOr<Json> ParseFile(const std::string& path, const JsonLimits& limits = {});

  // Objects: replaces the value of `key` or adds it at the end. Returns *this.
  Json& Set(absl::string_view key, Json value);
  // Arrays: adds at the end. Returns *this.
  Json& Append(Json value);

  // indent 0: one line without spaces. Doubles are the shortest text that reads back as the same
  // value; NaN and infinities become null; invalid UTF-8 becomes U+FFFD.
  std::string Dump(int indent = 0) const;

  const Value& value() const { return value_; }
  Value& value() { return value_; }

 private:
  Value value_;
};

// A place in a Json, which must outlive it: reads with the type checked and its path in the error.
// A member that is not there gives a reference to nothing; reading that is a NotFound error.
class JsonRef {
 public:
  explicit JsonRef(const Json& root, std::string source = "")
      : node_(&root), source_(std::move(source)) {}

  JsonRef operator[](absl::string_view key) const;
  JsonRef operator[](size_t index) const;

  bool present() const { return node_ != nullptr && !IsNull(); }  // there and not null
  bool IsString() const { return Holds<std::string>(); }
  bool IsObject() const { return Holds<Json::Object>(); }
  bool IsArray() const { return Holds<Json::Array>(); }
  bool IsInteger() const { return Holds<int64_t>(); }

  absl::StatusOr<bool> Bool() const;
  absl::StatusOr<int64_t> Integer() const;
  absl::StatusOr<double> Number() const;             // an integer will do
  absl::StatusOr<absl::string_view> String() const;  // a view into the Json
  absl::StatusOr<std::vector<JsonRef>> Elements() const;
  absl::StatusOr<std::vector<std::pair<absl::string_view, JsonRef>>> Members() const;
  absl::StatusOr<std::vector<int64_t>> Integers() const;     // an array of integers
  absl::StatusOr<std::vector<std::string>> Strings() const;  // an array of strings

  // `fallback` when the value is missing or null; still an error when it has another type.
  absl::StatusOr<bool> BoolOr(bool fallback) const;
  absl::StatusOr<int64_t> IntegerOr(int64_t fallback) const;
  absl::StatusOr<double> NumberOr(double fallback) const;
  absl::StatusOr<std::string> StringOr(absl::string_view fallback) const;

  // An InvalidArgument error with "SOURCE: PATH: " before `message`.
  absl::Status Error(absl::string_view message) const;
  const Json* get() const { return node_; }
  std::string path() const { return path_.empty() ? "the top level" : path_; }

 private:
  JsonRef(const Json* node, std::string source, std::string path)
      : node_(node), source_(std::move(source)), path_(std::move(path)) {}
  template <class T>
  bool Holds() const {
    return node_ != nullptr && std::holds_alternative<T>(node_->value());
  }
  bool IsNull() const { return Holds<std::nullptr_t>(); }
  absl::Status WrongType(absl::string_view expected) const;

  const Json* node_;
  std::string source_, path_;
};

// The string member `field` of the object that the one line `line` holds, without building a tree:
// the fast path of .jsonl corpora. NotFound when there is no such member, InvalidArgument when the
// line is no JSON object or the member no string; `field` may repeat nowhere at the top level.
absl::StatusOr<std::string> JsonStringField(absl::string_view line, absl::string_view field,
                                            const JsonLimits& limits = {});

}  // namespace attnlab
