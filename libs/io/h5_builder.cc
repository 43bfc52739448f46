#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/core/check.h"
#include "libs/core/status.h"
#include "libs/io/h5.h"
#include "libs/io/h5_handle.h"
#include "libs/io/h5_seal.h"

namespace attnlab::h5 {
namespace {

constexpr size_t kMaxAttribute = 60000;  // HDF5 keeps attributes below 64 KiB

}  // namespace

struct Builder::Impl {
  explicit Impl(Handle file) : file(std::move(file)) {
    Check(this->file.ok(), "in memory", "create a file");
  }

  // Keeps the first failure.
  bool Check(bool ok, const std::string& path, absl::string_view what) {
    if (!ok && status.ok())
      status = absl::InternalError(absl::StrCat("HDF5 cannot ", what, " ", path));
    return ok;
  }

  void WriteAttribute(const std::string& path, const std::string& name, hid_t file_type,
                      hid_t memory_type, const void* value) {
    Handle object(H5Oopen(file.get(), path.c_str(), H5P_DEFAULT), H5Oclose);
    Handle space(H5Screate(H5S_SCALAR), H5Sclose);
    Handle attribute(
        H5Acreate2(object.get(), name.c_str(), file_type, space.get(), H5P_DEFAULT, H5P_DEFAULT),
        H5Aclose);
    Check(attribute.ok() && H5Awrite(attribute.get(), memory_type, value) >= 0,
          absl::StrCat(path, " @", name), "write the attribute");
  }

  void WriteDataset(const std::string& path, hid_t file_type, hid_t memory_type, const void* values,
                    const std::vector<int64_t>& shape) {
    const std::vector<hsize_t> dims(shape.begin(), shape.end());
    Handle space(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr), H5Sclose);
    Handle options(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    H5Pset_obj_track_times(options.get(), false);  // the same record, the same bytes
    Handle dataset(H5Dcreate2(file.get(), path.c_str(), file_type, space.get(), H5P_DEFAULT,
                              options.get(), H5P_DEFAULT),
                   H5Dclose);
    if (!Check(dataset.ok(), path, "create the dataset")) return;
    if (std::count(dims.begin(), dims.end(), 0) > 0) return;
    Check(H5Dwrite(dataset.get(), memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0, path,
          "write the dataset");
  }

  template <class T>
  void WriteValues(const std::string& path, absl::Span<const T> values,
                   const std::vector<int64_t>& shape) {
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    ATTNLAB_CHECK(count == static_cast<int64_t>(values.size()), path);
    WriteDataset(path, FileType<T>(), MemoryType<T>(), values.data(), shape);
  }

  Handle file;
  absl::Status status;
};

Builder::Builder() {
  Silence();
  const Handle access = MemoryAccess();
  impl_ = std::make_unique<Impl>(
      Handle(H5Fcreate("results", H5F_ACC_TRUNC, H5P_DEFAULT, access.get()), H5Fclose));
}

Builder::~Builder() = default;

void Builder::Group(const std::string& path) {
  const Handle group(
      H5Gcreate2(impl_->file.get(), path.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Gclose);
  impl_->Check(group.ok(), path, "create the group");
}

void Builder::Attribute(const std::string& path, const std::string& name,
                        const std::string& value) {
  std::string text = value.substr(0, kMaxAttribute);
  const Handle type = StringType(text.size());
  text.resize(std::max<size_t>(text.size(), 1));
  impl_->WriteAttribute(path, name, type.get(), type.get(), text.data());
}

void Builder::Attribute(const std::string& path, const std::string& name, double value) {
  impl_->WriteAttribute(path, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value);
}

void Builder::Attribute(const std::string& path, const std::string& name, int64_t value) {
  impl_->WriteAttribute(path, name, H5T_STD_I64LE, H5T_NATIVE_INT64, &value);
}

void Builder::Attribute(const std::string& path, const std::string& name, bool value) {
  const int8_t byte = value ? 1 : 0;
  impl_->WriteAttribute(path, name, H5T_STD_I8LE, H5T_NATIVE_INT8, &byte);
}

void Builder::Dataset(const std::string& path, absl::Span<const double> values,
                      const std::vector<int64_t>& shape) {
  impl_->WriteValues(path, values, shape);
}

void Builder::Dataset(const std::string& path, absl::Span<const float> values,
                      const std::vector<int64_t>& shape) {
  impl_->WriteValues(path, values, shape);
}

void Builder::Dataset(const std::string& path, absl::Span<const int64_t> values,
                      const std::vector<int64_t>& shape) {
  impl_->WriteValues(path, values, shape);
}

void Builder::Dataset(const std::string& path, const std::vector<std::string>& values) {
  size_t length = 1;
  for (const std::string& value : values) length = std::max(length, value.size());
  std::string padded(length * values.size(), '\0');
  for (size_t i = 0; i < values.size(); ++i) values[i].copy(&padded[i * length], length);
  const Handle type = StringType(length);
  impl_->WriteDataset(path, type.get(), type.get(), padded.data(),
                      {static_cast<int64_t>(values.size())});
}

absl::StatusOr<std::string> Builder::Image() {
  ATTNLAB_RETURN_IF_ERROR(impl_->status);
  const hid_t file = impl_->file.get();
  const ssize_t size =
      H5Fflush(file, H5F_SCOPE_GLOBAL) < 0 ? -1 : H5Fget_file_image(file, nullptr, 0);
  std::string body(std::max<ssize_t>(size, 0), '\0');
  if (size < 0 || H5Fget_file_image(file, body.data(), body.size()) != size)
    return absl::InternalError("HDF5 cannot make the file image");
  impl_->file.Close();
  return absl::StrCat(Seal(body), body);
}

}  // namespace attnlab::h5
