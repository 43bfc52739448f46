#include "libs/io/safetensors.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/core/check.h"
#include "libs/core/status.h"
#include "libs/io/json.h"

namespace attnlab {
namespace {

constexpr size_t kLengthBytes = 8;
constexpr size_t kMaxHeader = 100'000'000;  // as the format's own implementation bounds it
constexpr size_t kMaxRank = 32;

struct DTypeInfo {
  absl::string_view name;
  int64_t size;
  int rank;  // place in the file: a higher rank comes first, so that every tensor is aligned
};

// In the order of TensorDType. The ranks are those of the format's own implementation, whose files
// ours equal byte for byte.
constexpr DTypeInfo kDTypes[] = {{"F64", 8, 8}, {"F32", 4, 7}, {"F16", 2, 4}, {"BF16", 2, 5},
                                 {"I64", 8, 9}, {"I32", 4, 6}, {"I16", 2, 3}, {"I8", 1, 2},
                                 {"U8", 1, 1},  {"BOOL", 1, 0}};

const DTypeInfo& Info(TensorDType dtype) { return kDTypes[static_cast<int>(dtype)]; }

// Bytes of a tensor, or an error when a size is negative or the product overflows.
absl::StatusOr<uint64_t> ByteCount(TensorDType dtype, const std::vector<int64_t>& shape) {
  uint64_t bytes = DTypeSize(dtype);
  if (shape.size() > kMaxRank)
    return absl::InvalidArgumentError(
        absl::StrCat(shape.size(), " dimensions, at most ", kMaxRank));
  for (const int64_t size : shape) {
    if (size < 0 || __builtin_mul_overflow(bytes, static_cast<uint64_t>(size), &bytes))
      return absl::InvalidArgumentError(
          absl::StrCat("shape [", absl::StrJoin(shape, ", "), "] is negative or too large"));
  }
  return bytes;
}

// Where a tensor lies in the data, before its bytes are known to be there.
struct Entry {
  TensorView tensor;
  uint64_t begin = 0, end = 0;
};

absl::StatusOr<Entry> ParseEntry(absl::string_view name, const JsonRef& json) {
  Entry entry;
  entry.tensor.name = std::string(name);
  ATTNLAB_ASSIGN_OR_RETURN(const absl::string_view dtype, json["dtype"].String());
  auto parsed = ParseDType(dtype);
  if (!parsed.ok()) return json["dtype"].Error(parsed.status().message());
  entry.tensor.dtype = *parsed;
  ATTNLAB_ASSIGN_OR_RETURN(entry.tensor.shape, json["shape"].Integers());
  ATTNLAB_ASSIGN_OR_RETURN(const std::vector<int64_t> offsets, json["data_offsets"].Integers());
  if (offsets.size() != 2 || offsets[0] < 0 || offsets[1] < offsets[0])
    return json["data_offsets"].Error("expected [begin, end] with 0 <= begin <= end");
  entry.begin = offsets[0];
  entry.end = offsets[1];
  auto bytes = ByteCount(entry.tensor.dtype, entry.tensor.shape);
  if (!bytes.ok()) return json["shape"].Error(bytes.status().message());
  if (*bytes != entry.end - entry.begin)
    return json.Error(absl::StrCat("dtype and shape take ", *bytes, " bytes, data_offsets span ",
                                   entry.end - entry.begin));
  return entry;
}

// The length field and the padded JSON.
std::string Header(const std::vector<TensorView>& tensors,
                   const std::map<std::string, std::string>& metadata) {
  Json json = Json::MakeObject();
  if (!metadata.empty()) {
    Json object = Json::MakeObject();
    for (const auto& [key, value] : metadata) object.Set(key, value);
    json.Set("__metadata__", std::move(object));
  }
  int64_t offset = 0;
  Json::Object& members = std::get<Json::Object>(json.value());
  for (const TensorView& tensor : tensors) {
    Json shape = Json::MakeArray();
    for (const int64_t size : tensor.shape) shape.Append(size);
    Json offsets = Json::MakeArray();
    offsets.Append(offset);
    offset += static_cast<int64_t>(tensor.bytes.size());
    offsets.Append(offset);
    Json entry = Json::MakeObject();
    entry.Set("dtype", std::string(DTypeName(tensor.dtype)))
        .Set("shape", std::move(shape))
        .Set("data_offsets", std::move(offsets));
    members.emplace_back(tensor.name, std::move(entry));
  }
  std::string text = json.Dump();
  text.resize((text.size() + kLengthBytes - 1) / kLengthBytes * kLengthBytes, ' ');
  std::string header(kLengthBytes, '\0');
  const uint64_t length = text.size();
  for (size_t i = 0; i < kLengthBytes; ++i) header[i] = static_cast<char>(length >> (8 * i));
  return header + text;
}

absl::Status CheckTensors(const std::vector<TensorView>& tensors) {
  absl::flat_hash_set<absl::string_view> names;
  for (const TensorView& tensor : tensors) {
    const auto bytes = ByteCount(tensor.dtype, tensor.shape);
    if (!bytes.ok()) return Annotate(bytes.status(), tensor.name);
    if (*bytes != tensor.bytes.size())
      return absl::InvalidArgumentError(absl::StrCat(tensor.name, ": dtype and shape take ", *bytes,
                                                     " bytes, ", tensor.bytes.size(), " given"));
    if (tensor.name == "__metadata__" || !names.insert(tensor.name).second)
      return absl::InvalidArgumentError(absl::StrCat("the name ", tensor.name, " is taken"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::string_view DTypeName(TensorDType dtype) { return Info(dtype).name; }
int64_t DTypeSize(TensorDType dtype) { return Info(dtype).size; }

absl::StatusOr<TensorDType> ParseDType(absl::string_view name) {
  for (size_t i = 0; i < std::size(kDTypes); ++i) {
    if (kDTypes[i].name == name) return static_cast<TensorDType>(i);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("dtype \"", name, "\" is not one of ",
                   absl::StrJoin(kDTypes, ", ", [](std::string* out, const DTypeInfo& info) {
                     absl::StrAppend(out, info.name);
                   })));
}

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(const std::string& path) {
  ATTNLAB_ASSIGN_OR_RETURN(auto mapped, MappedFile::Open(path));
  std::unique_ptr<SafetensorsFile> file(new SafetensorsFile(std::move(mapped)));
  ATTNLAB_RETURN_IF_ERROR(file->Parse());
  return file;
}

absl::Status SafetensorsFile::Parse() {
  const absl::Span<const uint8_t> bytes = file_->bytes();
  const auto damaged = [&](auto&&... what) {
    return absl::DataLossError(absl::StrCat(path(), ": not a whole safetensors file: ", what...));
  };
  if (bytes.size() < kLengthBytes) return damaged("it has ", bytes.size(), " bytes");
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) length |= uint64_t{bytes[i]} << (8 * i);
  if (length > kMaxHeader || length > bytes.size() - kLengthBytes)
    return damaged("its header would take ", length, " bytes, the file has ", bytes.size());
  const absl::Span<const uint8_t> data = bytes.subspan(kLengthBytes + length);

  JsonLimits limits;
  limits.max_depth = 4;
  ATTNLAB_ASSIGN_OR_RETURN(
      const Json json,
      Json::Parse(
          absl::string_view(reinterpret_cast<const char*>(&bytes[0]) + kLengthBytes, length),
          path() + ", header", limits));
  ATTNLAB_ASSIGN_OR_RETURN(const auto members, JsonRef(json, path()).Members());
  std::vector<Entry> entries;
  for (const auto& [name, member] : members) {
    if (name == "__metadata__") {
      ATTNLAB_ASSIGN_OR_RETURN(const auto pairs, member.Members());
      for (const auto& [key, value] : pairs) {
        ATTNLAB_ASSIGN_OR_RETURN(const absl::string_view text, value.String());
        metadata_[std::string(key)] = std::string(text);
      }
      continue;
    }
    ATTNLAB_ASSIGN_OR_RETURN(Entry entry, ParseEntry(name, member));
    entries.push_back(std::move(entry));
  }

  // Sorted by place, each must begin where the one before ends, and the last end with the file.
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t end = 0;
  for (Entry& entry : entries) {
    const std::string& name = entry.tensor.name;
    if (entry.end > data.size())
      return damaged(name, " ends at byte ", entry.end, " of the data, which has ", data.size());
    if (entry.begin != end)
      return damaged(
          name, entry.begin < end ? " overlaps the tensor before it" : " leaves a hole before it");
    entry.tensor.bytes = data.subspan(entry.begin, entry.end - entry.begin);
    if (reinterpret_cast<uintptr_t>(entry.tensor.bytes.data()) % DTypeSize(entry.tensor.dtype) != 0)
      return absl::InvalidArgumentError(
          absl::StrCat(path(), ": ", name,
                       " is not aligned to its elements; write the file again "
                       "with safetensors 0.3 or newer, which pads the header"));
    end = entry.end;
    index_.emplace(name, tensors_.size());
    tensors_.push_back(std::move(entry.tensor));
  }
  if (end != data.size())
    return damaged(data.size() - end, " bytes after the last tensor belong to none");
  return absl::OkStatus();
}

absl::StatusOr<TensorView> SafetensorsFile::Find(absl::string_view name) const {
  const auto it = index_.find(std::string(name));
  if (it != index_.end()) return tensors_[it->second];
  // The names that begin most like it.
  const auto common = [name](const std::string& other) {
    return std::mismatch(name.begin(), name.end(), other.begin(), other.end()).first - name.begin();
  };
  std::vector<absl::string_view> alike;
  for (const TensorView& tensor : tensors_) alike.push_back(tensor.name);
  std::stable_sort(alike.begin(), alike.end(), [&](absl::string_view a, absl::string_view b) {
    return common(std::string(a)) > common(std::string(b));
  });
  alike.resize(std::min<size_t>(alike.size(), 3));
  return absl::NotFoundError(absl::StrCat(path(), " has no tensor ", name, " (it has ",
                                          tensors_.size(), ", among them ",
                                          absl::StrJoin(alike, ", "), ")"));
}

absl::Status WriteSafetensors(const std::string& path, std::vector<TensorView> tensors,
                              const std::map<std::string, std::string>& metadata) {
  if (absl::Status fits = CheckTensors(tensors); !fits.ok()) return Annotate(fits, path);
  std::sort(tensors.begin(), tensors.end(), [](const TensorView& a, const TensorView& b) {
    return Info(a.dtype).rank != Info(b.dtype).rank ? Info(a.dtype).rank > Info(b.dtype).rank
                                                    : a.name < b.name;
  });
  const std::string header = Header(tensors, metadata);
  std::vector<absl::string_view> pieces = {header};
  for (const TensorView& tensor : tensors)
    pieces.emplace_back(reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size());
  return WriteFileAtomically(path, pieces);
}

}  // namespace attnlab
