#include "libs/io/json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "libs/core/check.h"
#include "libs/core/files.h"
#include "libs/core/status.h"

namespace attnlab {
namespace {

using Nlohmann = nlohmann::json;

// What both readers share: the depth limit and the message of a syntax error.
class SaxBase {
 public:
  SaxBase(absl::string_view text, const JsonLimits& limits) : text_(text), limits_(limits) {}

  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const nlohmann::detail::exception& error) {
    const size_t offset = std::min(position == 0 ? 0 : position - 1, text_.size());
    const auto line = 1 + std::count(text_.begin(), text_.begin() + offset, '\n');
    // "[json.exception.parse_error.101] parse error at line 1, column 2: what" -> "what"
    absl::string_view what = error.what();
    if (const size_t colon = what.find(": "); colon != absl::string_view::npos)
      what.remove_prefix(colon + 2);
    what = what.substr(0, 200);  // it quotes the token, which may be megabytes long
    return Fail(absl::StrCat("line ", line, ", byte ", offset, ": not valid JSON (",
                             absl::Utf8SafeCHexEscape(what), ")"));
  }

  const std::string& error() const { return error_; }

 protected:
  bool Fail(std::string message) {
    error_ = std::move(message);
    return false;
  }
  bool Enter() {
    if (++depth_ <= limits_.max_depth) return true;
    return Fail(absl::StrCat("nested more than ", limits_.max_depth, " deep"));
  }
  void Leave() { --depth_; }
  int depth() const { return depth_; }

 private:
  const absl::string_view text_;
  const JsonLimits& limits_;
  std::string error_;
  int depth_ = 0;
};

// Builds a Json.
class TreeSax : public SaxBase {
 public:
  using SaxBase::SaxBase;

  bool null() { return Add(Json()); }
  bool boolean(bool value) { return Add(Json(value)); }
  bool number_integer(int64_t value) { return Add(Json(value)); }
  bool number_unsigned(uint64_t value) {
    if (value > static_cast<uint64_t>(INT64_MAX)) return Add(Json(static_cast<double>(value)));
    return Add(Json(static_cast<int64_t>(value)));
  }
  bool number_float(double value, const std::string&) { return Add(Json(value)); }
  bool string(std::string& value) { return Add(Json(std::move(value))); }
  bool binary(Nlohmann::binary_t&) { return Fail("binary value"); }
  bool key(std::string& value) {
    keys_.back() = std::move(value);
    return true;
  }
  bool start_array(std::size_t) { return Open(Json::MakeArray()); }
  bool start_object(std::size_t) { return Open(Json::MakeObject()); }
  bool end_array() { return Close(); }
  bool end_object() {
    absl::flat_hash_set<absl::string_view> seen;
    for (const auto& [key, value] : std::get<Json::Object>(open_.back().value())) {
      if (!seen.insert(key).second) return Fail(absl::StrCat("duplicate key \"", key, "\""));
    }
    return Close();
  }

  Json& root() { return root_; }

 private:
  bool Open(Json container) {
    open_.push_back(std::move(container));
    keys_.emplace_back();
    return Enter();
  }
  bool Close() {
    Json closed = std::move(open_.back());
    open_.pop_back();
    keys_.pop_back();
    Leave();
    return Add(std::move(closed));
  }
  bool Add(Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return true;
    }
    Json::Value& container = open_.back().value();
    if (auto* array = std::get_if<Json::Array>(&container)) {
      array->push_back(std::move(value));
    } else {
      std::get<Json::Object>(container).emplace_back(std::move(keys_.back()), std::move(value));
    }
    return true;
  }

  Json root_;
  std::vector<Json> open_;         // the containers around the current value
  std::vector<std::string> keys_;  // the key that is being read in each of them
};

// Keeps one string member of the top-level object.
class FieldSax : public SaxBase {
 public:
  FieldSax(absl::string_view text, absl::string_view field, const JsonLimits& limits)
      : SaxBase(text, limits), field_(field) {}

  bool null() { return Other("null"); }
  bool boolean(bool) { return Other("a truth value"); }
  bool number_integer(int64_t) { return Other("a number"); }
  bool number_unsigned(uint64_t) { return Other("a number"); }
  bool number_float(double, const std::string&) { return Other("a number"); }
  bool string(std::string& value) {
    if (depth() == 0) return Other("a string");
    if (!wanted_) return true;
    if (value_) return Fail(absl::StrCat("duplicate key \"", field_, "\""));
    value_ = std::move(value);
    wanted_ = false;
    return true;
  }
  bool binary(Nlohmann::binary_t&) { return Fail("binary value"); }
  bool key(std::string& value) {
    wanted_ = depth() == 1 && absl::string_view(value) == field_;
    return true;
  }
  bool start_array(std::size_t) { return Other("an array") && Enter(); }
  bool start_object(std::size_t) { return (depth() == 0 || Other("an object")) && Enter(); }
  bool end_array() { return Leave(), true; }
  bool end_object() { return Leave(), true; }

  std::optional<std::string>& value() { return value_; }

 private:
  bool Other(absl::string_view found) {
    if (depth() == 0) return Fail(absl::StrCat("expected an object, found ", found));
    if (!wanted_) return true;
    return Fail(absl::StrCat("\"", field_, "\": expected a string, found ", found));
  }

  const absl::string_view field_;
  bool wanted_ = false;
  std::optional<std::string> value_;
};

absl::Status CheckSize(absl::string_view text, const JsonLimits& limits) {
  if (text.size() <= limits.max_bytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(text.size(), " bytes of JSON, at most ", limits.max_bytes, " are read"));
}

void NewLine(int indent, int depth, std::string& out) {
  if (indent == 0) return;
  out.push_back('\n');
  out.append(static_cast<size_t>(indent) * depth, ' ');
}

std::string DumpScalar(const Nlohmann& value) {
  return value.dump(-1, ' ', false, Nlohmann::error_handler_t::replace);
}

void DumpTo(const Json& json, int indent, int depth, std::string& out) {
  // `write(i)` writes member i of a container of `size` members between two brackets.
  const auto container = [&](char open, char close, size_t size, auto&& write) {
    out.push_back(open);
    for (size_t i = 0; i < size; ++i) {
      if (i > 0) out.push_back(',');
      NewLine(indent, depth + 1, out);
      write(i);
    }
    if (size > 0) NewLine(indent, depth, out);
    out.push_back(close);
  };
  if (const auto* array = std::get_if<Json::Array>(&json.value())) {
    container('[', ']', array->size(),
              [&](size_t i) { DumpTo((*array)[i], indent, depth + 1, out); });
  } else if (const auto* object = std::get_if<Json::Object>(&json.value())) {
    container('{', '}', object->size(), [&](size_t i) {
      absl::StrAppend(&out, DumpScalar((*object)[i].first), indent > 0 ? ": " : ":");
      DumpTo((*object)[i].second, indent, depth + 1, out);
    });
  } else {
    std::visit(
        [&](const auto& value) {
          if constexpr (std::is_constructible_v<Nlohmann, decltype(value)>)
            out += DumpScalar(Nlohmann(value));
        },
        json.value());
  }
}

absl::string_view TypeName(const Json& json) {
  static constexpr absl::string_view kNames[] = {
      "null", "a truth value", "an integer", "a number", "a string", "an array", "an object"};
  return kNames[json.value().index()];
}

}  // namespace

absl::StatusOr<Json> Json::Parse(absl::string_view text, absl::string_view source,
                                 const JsonLimits& limits) {
  if (absl::Status size = CheckSize(text, limits); !size.ok()) return Annotate(size, source);
  TreeSax sax(text, limits);
  if (!Nlohmann::sax_parse(text.begin(), text.end(), &sax))
    return absl::InvalidArgumentError(absl::StrCat(source, ": ", sax.error()));
  return std::move(sax.root());
}

absl::StatusOr<Json> Json::ParseFile(const std::string& path, const JsonLimits& limits) {
  ATTNLAB_ASSIGN_OR_RETURN(const std::unique_ptr<MappedFile> file, MappedFile::Open(path));
  const absl::string_view text(reinterpret_cast<const char*>(file->bytes().data()),
                               file->bytes().size());
  return Parse(text, path, limits);
}

Json& Json::Set(absl::string_view key, Json value) {
  auto* members = std::get_if<Object>(&value_);
  ATTNLAB_CHECK(members != nullptr, "Json::Set on a value that is no object");
  const auto it = std::find_if(members->begin(), members->end(),
                               [&](const auto& member) { return member.first == key; });
  if (it != members->end()) {
    it->second = std::move(value);
  } else {
    members->emplace_back(std::string(key), std::move(value));
  }
  return *this;
}

Json& Json::Append(Json value) {
  auto* elements = std::get_if<Array>(&value_);
  ATTNLAB_CHECK(elements != nullptr, "Json::Append on a value that is no array");
  elements->push_back(std::move(value));
  return *this;
}

std::string Json::Dump(int indent) const {
  std::string out;
  DumpTo(*this, indent, 0, out);
  return out;
}

JsonRef JsonRef::operator[](absl::string_view key) const {
  const std::string path = path_.empty() ? std::string(key) : absl::StrCat(path_, ".", key);
  if (IsObject()) {
    for (const auto& [name, member] : std::get<Json::Object>(node_->value())) {
      if (name == key) return JsonRef(&member, source_, path);
    }
  }
  return JsonRef(nullptr, source_, path);
}

JsonRef JsonRef::operator[](size_t index) const {
  const std::string path = absl::StrCat(path_, "[", index, "]");
  if (IsArray()) {
    const auto& elements = std::get<Json::Array>(node_->value());
    if (index < elements.size()) return JsonRef(&elements[index], source_, path);
  }
  return JsonRef(nullptr, source_, path);
}

absl::Status JsonRef::Error(absl::string_view message) const {
  return absl::InvalidArgumentError(
      absl::StrCat(source_, source_.empty() ? "" : ": ", path(), ": ", message));
}

absl::Status JsonRef::WrongType(absl::string_view expected) const {
  if (node_ == nullptr) {
    return absl::NotFoundError(absl::StrCat(source_, source_.empty() ? "" : ": ", path(),
                                            ": missing; ", expected, " is needed here"));
  }
  return Error(absl::StrCat("expected ", expected, ", found ", TypeName(*node_)));
}

absl::StatusOr<bool> JsonRef::Bool() const {
  if (!Holds<bool>()) return WrongType("a truth value");
  return std::get<bool>(node_->value());
}

absl::StatusOr<int64_t> JsonRef::Integer() const {
  if (!Holds<int64_t>()) return WrongType("an integer");
  return std::get<int64_t>(node_->value());
}

absl::StatusOr<double> JsonRef::Number() const {
  if (Holds<int64_t>()) return static_cast<double>(std::get<int64_t>(node_->value()));
  if (!Holds<double>()) return WrongType("a number");
  return std::get<double>(node_->value());
}

absl::StatusOr<absl::string_view> JsonRef::String() const {
  if (!IsString()) return WrongType("a string");
  return absl::string_view(std::get<std::string>(node_->value()));
}

absl::StatusOr<std::vector<JsonRef>> JsonRef::Elements() const {
  if (!IsArray()) return WrongType("an array");
  std::vector<JsonRef> elements;
  const size_t size = std::get<Json::Array>(node_->value()).size();
  elements.reserve(size);
  for (size_t i = 0; i < size; ++i) elements.push_back((*this)[i]);
  return elements;
}

absl::StatusOr<std::vector<std::pair<absl::string_view, JsonRef>>> JsonRef::Members() const {
  if (!IsObject()) return WrongType("an object");
  std::vector<std::pair<absl::string_view, JsonRef>> members;
  const auto& object = std::get<Json::Object>(node_->value());
  members.reserve(object.size());
  for (const auto& [key, value] : object) {
    std::string path = path_.empty() ? key : absl::StrCat(path_, ".", key);
    members.emplace_back(absl::string_view(key), JsonRef(&value, source_, std::move(path)));
  }
  return members;
}

absl::StatusOr<std::vector<int64_t>> JsonRef::Integers() const {
  ATTNLAB_ASSIGN_OR_RETURN(const std::vector<JsonRef> elements, Elements());
  std::vector<int64_t> values;
  values.reserve(elements.size());
  for (const JsonRef& element : elements) {
    ATTNLAB_ASSIGN_OR_RETURN(const int64_t value, element.Integer());
    values.push_back(value);
  }
  return values;
}

absl::StatusOr<std::vector<std::string>> JsonRef::Strings() const {
  ATTNLAB_ASSIGN_OR_RETURN(const std::vector<JsonRef> elements, Elements());
  std::vector<std::string> values;
  values.reserve(elements.size());
  for (const JsonRef& element : elements) {
    ATTNLAB_ASSIGN_OR_RETURN(const absl::string_view value, element.String());
    values.emplace_back(value);
  }
  return values;
}

absl::StatusOr<bool> JsonRef::BoolOr(bool fallback) const {
  return present() ? Bool() : absl::StatusOr<bool>(fallback);
}

absl::StatusOr<int64_t> JsonRef::IntegerOr(int64_t fallback) const {
  return present() ? Integer() : absl::StatusOr<int64_t>(fallback);
}

absl::StatusOr<double> JsonRef::NumberOr(double fallback) const {
  return present() ? Number() : absl::StatusOr<double>(fallback);
}

absl::StatusOr<std::string> JsonRef::StringOr(absl::string_view fallback) const {
  if (!present()) return std::string(fallback);
  ATTNLAB_ASSIGN_OR_RETURN(const absl::string_view value, String());
  return std::string(value);
}

absl::StatusOr<std::string> JsonStringField(absl::string_view line, absl::string_view field,
                                            const JsonLimits& limits) {
  ATTNLAB_RETURN_IF_ERROR(CheckSize(line, limits));
  FieldSax sax(line, field, limits);
  if (!Nlohmann::sax_parse(line.begin(), line.end(), &sax))
    return absl::InvalidArgumentError(sax.error());
  if (!sax.value()) return absl::NotFoundError(absl::StrCat("no member \"", field, "\""));
  return *std::move(sax.value());
}

}  // namespace attnlab
