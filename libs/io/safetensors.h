// Tensors in a file: the safetensors format of Hugging Face.
//
//     8 bytes   N, little-endian length of the header
//     N bytes   JSON {"name": {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {}}
//     the rest  the tensors, row-major, little-endian, without holes, offsets from its start
//
// The reader maps the file and believes nothing: header length and depth, dtype, shape x size
// against the offsets, ranges, overlaps, holes and alignment are checked before a tensor can be
// seen. The writer is byte-stable: tensors by falling element size, then by name, a header padded
// to 8 bytes with spaces; it streams, so that files larger than memory can be copied, and replaces
// the file atomically.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "libs/core/files.h"

namespace attnlab {

enum class TensorDType { kF64, kF32, kF16, kBF16, kI64, kI32, kI16, kI8, kU8, kBool };

absl::string_view DTypeName(TensorDType dtype);  // "F32", "BF16", ... as in the file
absl::StatusOr<TensorDType> ParseDType(absl::string_view name);
int64_t DTypeSize(TensorDType dtype);  // bytes an element

// A tensor that lies elsewhere: in a mapped file (valid as long as its SafetensorsFile) or in
// memory of the caller (valid until the write returns).
struct TensorView {
  std::string name;
  TensorDType dtype = TensorDType::kF32;
  std::vector<int64_t> shape;       // empty: a scalar
  absl::Span<const uint8_t> bytes;  // contiguous; aligned to the element size in a read file
};

// A file that is open for reading. Pages are read from the disk as they are touched.
class SafetensorsFile {
 public:
  // InvalidArgument or DataLoss, naming the file and the tensor, when anything in it does not fit.
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(const std::string& path);

  // In the order of their data.
  const std::vector<TensorView>& tensors() const { return tensors_; }
  // NotFound, with names that look alike, when there is no such tensor.
  absl::StatusOr<TensorView> Find(absl::string_view name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::string& path() const { return file_->path(); }

 private:
  explicit SafetensorsFile(std::unique_ptr<MappedFile> file) : file_(std::move(file)) {}
  absl::Status Parse();

  std::unique_ptr<MappedFile> file_;
  std::vector<TensorView> tensors_;
  std::map<std::string, size_t> index_;  // name -> place in tensors_
  std::map<std::string, std::string> metadata_;
};

// Writes `tensors` to PATH.tmp, syncs and renames it. InvalidArgument for a name that occurs twice,
// and for bytes that do not fit dtype and shape.
absl::Status WriteSafetensors(const std::string& path, std::vector<TensorView> tensors,
                              const std::map<std::string, std::string>& metadata = {});

}  // namespace attnlab
