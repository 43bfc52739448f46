// HDF5 in memory: builds and reads file images through the C API.
//
// An image is an ordinary HDF5 file whose first 512 bytes (the user block, which HDF5 leaves to the
// program) hold a seal: the length and the SHA-256 of what follows. A reader checks the seal before
// the HDF5 library sees a byte, so that a damaged file is an error with a cause and not a crash in
// a parser. Strings have fixed length and datasets are contiguous: no global heap, no filters, no
// chunk index, and external, virtual and soft links are refused.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace attnlab::h5 {

// "/" and "%" cannot stand in a link name: any text becomes one, and back.
std::string EncodeName(const std::string& name);
std::string DecodeName(const std::string& link);

// Builds an image. Errors are kept and come out of Image(). The same calls give the same bytes.
class Builder {
 public:
  Builder();
  ~Builder();
  Builder(const Builder&) = delete;
  Builder& operator=(const Builder&) = delete;

  // Parents first; "/" is there from the start.
  void Group(const std::string& path);
  // On a group or dataset that is there. Text is cut at 60000 bytes, the most that HDF5 holds.
  void Attribute(const std::string& path, const std::string& name, const std::string& value);
  void Attribute(const std::string& path, const std::string& name, double value);
  void Attribute(const std::string& path, const std::string& name, int64_t value);
  void Attribute(const std::string& path, const std::string& name, bool value);

  // Row-major datasets; the shape's product is the number of values.
  void Dataset(const std::string& path, absl::Span<const double> values,
               const std::vector<int64_t>& shape);
  void Dataset(const std::string& path, absl::Span<const float> values,
               const std::vector<int64_t>& shape);
  void Dataset(const std::string& path, absl::Span<const int64_t> values,
               const std::vector<int64_t>& shape);
  void Dataset(const std::string& path, const std::vector<std::string>& values);  // 1-D

  // The sealed image; the builder is spent afterwards.
  absl::StatusOr<std::string> Image();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

template <class T>
struct Array {
  std::vector<int64_t> shape;
  std::vector<T> values;  // row-major
};

// Reads an image. A missing object is NotFound; one of another type or an absurd size is
// InvalidArgument; both name the source and the path.
class Reader {
 public:
  // `source` names the image in errors. DataLoss when the seal is broken, InvalidArgument when
  // there is none.
  static absl::StatusOr<Reader> Open(std::string image, const std::string& source);
  Reader(Reader&&) noexcept;
  ~Reader();

  bool Has(const std::string& path) const;  // a group or dataset
  // Names of the members of a group, as links, sorted; none when there is no such group.
  absl::StatusOr<std::vector<std::string>> Children(const std::string& path) const;

  bool HasAttribute(const std::string& path, const std::string& name) const;
  // Into `value`, which must have the type that was written.
  absl::Status Attribute(const std::string& path, const std::string& name,
                         std::string& value) const;
  absl::Status Attribute(const std::string& path, const std::string& name, double& value) const;
  absl::Status Attribute(const std::string& path, const std::string& name, int64_t& value) const;
  absl::Status Attribute(const std::string& path, const std::string& name, bool& value) const;

  absl::StatusOr<Array<double>> Doubles(const std::string& path) const;
  absl::StatusOr<Array<float>> Floats(const std::string& path) const;
  absl::StatusOr<Array<int64_t>> Integers(const std::string& path) const;
  absl::StatusOr<std::vector<std::string>> Strings(const std::string& path) const;

 private:
  struct Impl;
  explicit Reader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace attnlab::h5
