// Fields of the record as attributes of HDF5 objects. Private to the layout of results.h5.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "libs/io/h5.h"

namespace attnlab {

// Visitor of ForEach: writes each field as an attribute of `path`.
struct AttributeWriter {
  h5::Builder& builder;
  const std::string path;

  template <class T>
  void operator()(const char* name, const T& value, const char*) {
    builder.Attribute(path, name, value);
  }
  void operator()(const char* name, const std::optional<double>& value, const char*) {
    if (value) builder.Attribute(path, name, *value);
  }
};

// Visitor of ForEach: reads what is there, keeps the default of what is not, and the first error.
struct AttributeReader {
  const h5::Reader& reader;
  const std::string path;
  absl::Status status;

  template <class T>
  void operator()(const char* name, T& value, const char*) {
    if (reader.HasAttribute(path, name)) Keep(reader.Attribute(path, name, value));
  }
  void operator()(const char* name, std::optional<double>& value, const char*) {
    if (reader.HasAttribute(path, name)) Keep(reader.Attribute(path, name, value.emplace()));
  }
  void Keep(absl::Status other) {
    if (status.ok()) status = std::move(other);
  }
};

template <class T>
absl::Status ReadAttributes(const h5::Reader& reader, const std::string& path, T& value) {
  AttributeReader visitor{reader, path, absl::OkStatus()};
  value.ForEach(visitor);
  return visitor.status;
}

// The error of an object whose arrays have lengths or shapes that do not belong together.
absl::Status Inconsistent(const std::string& path);

}  // namespace attnlab
