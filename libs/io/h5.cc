#include "libs/io/h5.h"

#include <hdf5.h>

#include <algorithm>
#include <type_traits>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "libs/core/check.h"
#include "libs/core/files.h"
#include "libs/core/status.h"

namespace attnlab::h5 {
namespace {

constexpr size_t kSealBytes = 512;  // the smallest user block of HDF5
constexpr absl::string_view kMagic = "attnlab results\n";
constexpr size_t kMaxAttribute = 60000;  // HDF5 keeps attributes below 64 KiB
constexpr size_t kMaxChildren = 1 << 20;
constexpr int kMaxRank = 4;

// An HDF5 identifier with its closing function.
class Handle {
 public:
  Handle(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
  ~Handle() { Close(); }
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  hid_t get() const { return id_; }
  bool ok() const { return id_ >= 0; }
  void Close() {
    if (id_ >= 0) close_(std::exchange(id_, -1));
  }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

// HDF5 prints its error stack by default; failures become statuses here.
void Silence() { H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr); }

Handle StringType(size_t length) {
  Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.get(), std::max<size_t>(length, 1));
  H5Tset_strpad(type.get(), H5T_STR_NULLPAD);
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  return type;
}

template <class T>
hid_t FileType() {
  if constexpr (std::is_same_v<T, double>) return H5T_IEEE_F64LE;
  if constexpr (std::is_same_v<T, float>) return H5T_IEEE_F32LE;
  if constexpr (std::is_same_v<T, int64_t>) return H5T_STD_I64LE;
  if constexpr (std::is_same_v<T, int8_t>) return H5T_STD_I8LE;
}

template <class T>
hid_t MemoryType() {
  if constexpr (std::is_same_v<T, double>) return H5T_NATIVE_DOUBLE;
  if constexpr (std::is_same_v<T, float>) return H5T_NATIVE_FLOAT;
  if constexpr (std::is_same_v<T, int64_t>) return H5T_NATIVE_INT64;
  if constexpr (std::is_same_v<T, int8_t>) return H5T_NATIVE_INT8;
}

bool IsFixedString(const Handle& type) {
  return H5Tget_class(type.get()) == H5T_STRING && H5Tis_variable_str(type.get()) == 0;
}

void TrimPadding(std::string& text) {
  while (!text.empty() && text.back() == '\0') text.pop_back();
}

// Access through memory alone, never through a file.
Handle MemoryAccess() {
  Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_fapl_core(access.get(), size_t{1} << 20, /*backing_store=*/false);
  return access;
}

std::string Seal(absl::string_view body) {
  Sha256 sha;
  sha.Update({reinterpret_cast<const uint8_t*>(body.data()), body.size()});
  std::string seal = absl::StrCat(kMagic, body.size(), " bytes of HDF5 follow byte ", kSealBytes,
                                  "\nsha256 ", sha.Hex(), "\n");
  seal.resize(kSealBytes, '\0');
  return seal;
}

absl::Status CheckSeal(absl::string_view image, const std::string& source) {
  if (!absl::StartsWith(image, kMagic)) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, " is not a results file of attnlab (it does not start with \"",
                     kMagic.substr(0, kMagic.size() - 1), "\")"));
  }
  if (image.size() >= kSealBytes && image.substr(0, kSealBytes) == Seal(image.substr(kSealBytes)))
    return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat(source, " is damaged: its checksum does not fit its ", image.size(),
                   " bytes; restore it from a copy, or repeat the run in another folder"));
}

}  // namespace

std::string EncodeName(const std::string& name) {
  std::string link;
  for (const char c : name) {
    if (c == '/' || c == '%' || (c == '.' && link.empty()) || c == '\0') {
      absl::StrAppend(&link, "%", absl::Hex(static_cast<uint8_t>(c), absl::kZeroPad2));
    } else {
      link.push_back(c);
    }
  }
  return link.empty() ? "%" : link;
}

std::string DecodeName(const std::string& link) {
  if (link == "%") return "";
  std::string name;
  for (size_t i = 0; i < link.size(); ++i) {
    int code = 0;
    if (link[i] == '%' && i + 2 < link.size() &&
        absl::SimpleHexAtoi(link.substr(i + 1, 2), &code)) {
      name.push_back(static_cast<char>(code));
      i += 2;
    } else {
      name.push_back(link[i]);
    }
  }
  return name;
}

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
