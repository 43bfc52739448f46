#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/core/status.h"
#include "libs/io/h5.h"
#include "libs/io/h5_handle.h"
#include "libs/io/h5_seal.h"

namespace attnlab::h5 {
namespace {

constexpr size_t kMaxChildren = 1 << 20;
constexpr int kMaxRank = 4;

bool IsFixedString(const Handle& type) {
  return H5Tget_class(type.get()) == H5T_STRING && H5Tis_variable_str(type.get()) == 0;
}

void TrimPadding(std::string& text) {
  while (!text.empty() && text.back() == '\0') text.pop_back();
}

}  // namespace

struct Reader::Impl {
  Impl(std::string source, size_t size, Handle file)
      : source(std::move(source)), size(size), file(std::move(file)) {}

  absl::Status Error(const std::string& path, absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(source, ": ", path, ": ", what));
  }
  absl::Status Missing(const std::string& path) const {
    return absl::NotFoundError(absl::StrCat(source, ": there is no ", path));
  }

  // Every link on the way must be a hard one: soft and external links could lead out of the image.
  bool Has(const std::string& path) const {
    if (path == "/") return true;
    for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
      const std::string prefix = path.substr(0, end);
      H5L_info_t link;
      if (H5Lget_info(file.get(), prefix.c_str(), &link, H5P_DEFAULT) < 0) return false;
      if (link.type != H5L_TYPE_HARD) return false;
      if (end == std::string::npos) return true;
    }
  }

  // The shape of a dataset whose values lie in the image as one block of elements of `type`.
  absl::StatusOr<std::vector<int64_t>> Shape(const std::string& path, const Handle& dataset,
                                             const Handle& type) const {
    const Handle space(H5Dget_space(dataset.get()), H5Sclose);
    const Handle options(H5Dget_create_plist(dataset.get()), H5Pclose);
    if (!space.ok() || !options.ok() || !type.ok()) return Error(path, "cannot be read");
    if (H5Pget_layout(options.get()) != H5D_CONTIGUOUS ||
        H5Pget_external_count(options.get()) != 0 || H5Pget_nfilters(options.get()) != 0)
      return Error(path, "expected a contiguous dataset without filters");
    const int rank = H5Sget_simple_extent_ndims(space.get());
    if (rank < 0 || rank > kMaxRank) return Error(path, "has too many dimensions");
    hsize_t dims[kMaxRank];
    if (H5Sget_simple_extent_dims(space.get(), dims, nullptr) != rank)
      return Error(path, "has no shape");
    hsize_t bytes = H5Tget_size(type.get());
    for (int i = 0; i < rank; ++i) {
      if (dims[i] > size || __builtin_mul_overflow(bytes, dims[i], &bytes) || bytes > size)
        return Error(path, "is larger than the file");
    }
    if (bytes > 0 && H5Dget_storage_size(dataset.get()) != bytes)
      return Error(path, "its values are not all in the file");
    return std::vector<int64_t>(dims, dims + rank);
  }

  template <class T>
  absl::StatusOr<Array<T>> Read(const std::string& path) const {
    if (!Has(path)) return Missing(path);
    const Handle dataset(H5Dopen2(file.get(), path.c_str(), H5P_DEFAULT), H5Dclose);
    if (!dataset.ok()) return Error(path, "is not a dataset");
    const Handle type(H5Dget_type(dataset.get()), H5Tclose);
    Array<T> array;
    ATTNLAB_ASSIGN_OR_RETURN(array.shape, Shape(path, dataset, type));
    if (H5Tequal(type.get(), FileType<T>()) <= 0) return Error(path, "has another type");
    size_t count = 1;
    for (const int64_t dim : array.shape) count *= dim;
    array.values.resize(count);
    if (count > 0 && H5Dread(dataset.get(), MemoryType<T>(), H5S_ALL, H5S_ALL, H5P_DEFAULT,
                             array.values.data()) < 0)
      return Error(path, "cannot be read");
    return array;
  }

  // A scalar attribute; `read` gets its type and identifier.
  template <class ReadInto>
  absl::Status ReadAttribute(const std::string& path, const std::string& name,
                             ReadInto&& read) const {
    const std::string where = absl::StrCat(path, " @", name);
    if (!Has(path)) return Missing(path);
    const Handle attribute(
        H5Aopen_by_name(file.get(), path.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT),
        H5Aclose);
    if (!attribute.ok()) return Missing(where);
    const Handle space(H5Aget_space(attribute.get()), H5Sclose);
    const Handle type(H5Aget_type(attribute.get()), H5Tclose);
    if (!space.ok() || !type.ok() || H5Sget_simple_extent_npoints(space.get()) != 1)
      return Error(where, "expected one value");
    return read(attribute, type) ? absl::OkStatus() : Error(where, "has another type");
  }

  template <class T>
  absl::Status ReadNumber(const std::string& path, const std::string& name, T& value) const {
    return ReadAttribute(path, name, [&](const Handle& attribute, const Handle& type) {
      return H5Tequal(type.get(), FileType<T>()) > 0 &&
             H5Aread(attribute.get(), MemoryType<T>(), &value) >= 0;
    });
  }

  const std::string source;
  const size_t size;  // bytes of the image
  const Handle file;
};

Reader::Reader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Reader::Reader(Reader&&) noexcept = default;
Reader::~Reader() = default;

absl::StatusOr<Reader> Reader::Open(std::string image, const std::string& source) {
  Silence();
  ATTNLAB_RETURN_IF_ERROR(CheckSeal(image, source));
  const Handle access = MemoryAccess();
  H5Pset_file_image(access.get(), image.data() + kSealBytes, image.size() - kSealBytes);
  Handle file(H5Fopen("results", H5F_ACC_RDONLY, access.get()), H5Fclose);
  if (!file.ok()) return absl::InvalidArgumentError(absl::StrCat(source, " is not an HDF5 file"));
  return Reader(std::make_unique<Impl>(source, image.size(), std::move(file)));
}

bool Reader::Has(const std::string& path) const { return impl_->Has(path); }

absl::StatusOr<std::vector<std::string>> Reader::Children(const std::string& path) const {
  std::vector<std::string> names;
  if (!Has(path)) return names;
  const Handle group(H5Gopen2(impl_->file.get(), path.c_str(), H5P_DEFAULT), H5Gclose);
  if (!group.ok()) return impl_->Error(path, "is not a group");
  const auto add = [](hid_t, const char* name, const H5L_info_t*, void* list) -> herr_t {
    auto& names = *static_cast<std::vector<std::string>*>(list);
    names.emplace_back(name);
    return names.size() > kMaxChildren ? -1 : 0;
  };
  if (H5Literate(group.get(), H5_INDEX_NAME, H5_ITER_NATIVE, nullptr, add, &names) < 0)
    return impl_->Error(path, "its members cannot be listed");
  std::sort(names.begin(), names.end());
  return names;
}

bool Reader::HasAttribute(const std::string& path, const std::string& name) const {
  return impl_->Has(path) &&
         H5Aexists_by_name(impl_->file.get(), path.c_str(), name.c_str(), H5P_DEFAULT) > 0;
}

absl::Status Reader::Attribute(const std::string& path, const std::string& name,
                               std::string& value) const {
  return impl_->ReadAttribute(path, name, [&](const Handle& attribute, const Handle& type) {
    if (!IsFixedString(type)) return false;
    value.assign(H5Tget_size(type.get()), '\0');
    if (value.size() > impl_->size || H5Aread(attribute.get(), type.get(), value.data()) < 0)
      return false;
    TrimPadding(value);
    return true;
  });
}

absl::Status Reader::Attribute(const std::string& path, const std::string& name,
                               double& value) const {
  return impl_->ReadNumber(path, name, value);
}

absl::Status Reader::Attribute(const std::string& path, const std::string& name,
                               int64_t& value) const {
  return impl_->ReadNumber(path, name, value);
}

absl::Status Reader::Attribute(const std::string& path, const std::string& name,
                               bool& value) const {
  int8_t byte = 0;
  ATTNLAB_RETURN_IF_ERROR(impl_->ReadNumber(path, name, byte));
  value = byte != 0;
  return absl::OkStatus();
}

absl::StatusOr<Array<double>> Reader::Doubles(const std::string& path) const {
  return impl_->Read<double>(path);
}

absl::StatusOr<Array<float>> Reader::Floats(const std::string& path) const {
  return impl_->Read<float>(path);
}

absl::StatusOr<Array<int64_t>> Reader::Integers(const std::string& path) const {
  return impl_->Read<int64_t>(path);
}

absl::StatusOr<std::vector<std::string>> Reader::Strings(const std::string& path) const {
  if (!Has(path)) return impl_->Missing(path);
  const Handle dataset(H5Dopen2(impl_->file.get(), path.c_str(), H5P_DEFAULT), H5Dclose);
  if (!dataset.ok()) return impl_->Error(path, "is not a dataset");
  const Handle type(H5Dget_type(dataset.get()), H5Tclose);
  if (!IsFixedString(type)) return impl_->Error(path, "expected texts of fixed length");
  ATTNLAB_ASSIGN_OR_RETURN(const std::vector<int64_t> shape, impl_->Shape(path, dataset, type));
  if (shape.size() != 1) return impl_->Error(path, "expected a list");
  const size_t length = H5Tget_size(type.get());
  std::string padded(length * shape[0], '\0');
  if (!padded.empty() &&
      H5Dread(dataset.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, padded.data()) < 0)
    return impl_->Error(path, "cannot be read");
  std::vector<std::string> values(shape[0]);
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = padded.substr(i * length, length);
    TrimPadding(values[i]);
  }
  return values;
}

}  // namespace attnlab::h5
