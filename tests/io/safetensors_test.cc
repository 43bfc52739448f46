#include "libs/io/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "libs/core/files.h"
#include "libs/core/rng.h"

namespace attnlab {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string TempPath(const std::string& name) {
  return absl::StrCat(::testing::TempDir(), "/attnlab_safetensors_", name);
}

template <class T>
absl::Span<const uint8_t> Bytes(const std::vector<T>& values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(T)};
}

template <class T>
std::vector<T> Values(const TensorView& tensor) {
  std::vector<T> values(tensor.bytes.size() / sizeof(T));
  std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

std::string Contents(const std::string& path) { return ReadFile(path).value(); }

std::string LengthField(uint64_t length) {
  std::string field(8, '\0');
  for (int i = 0; i < 8; ++i) field[i] = static_cast<char>(length >> (8 * i));
  return field;
}

// A file of `header` and `data`; the header is padded to 8 bytes.
std::string FileOf(std::string header, const std::string& data) {
  header.resize((header.size() + 7) / 8 * 8, ' ');
  return LengthField(header.size()) + header + data;
}

absl::Status OpenImage(const std::string& image) {
  const std::string path = TempPath("hostile");
  std::ofstream(path, std::ios::binary) << image;
  return SafetensorsFile::Open(path).status();
}

const std::string kPythonFile = ATTNLAB_SOURCE_DIR "/tests/golden/safetensors/python.safetensors";

TEST(Safetensors, ReadsWhatThePythonPackageWrote) {
  const auto file = SafetensorsFile::Open(kPythonFile);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->tensors().size(), 11u);
  EXPECT_EQ((*file)->metadata().at("format"), "pt");
  const auto embed = (*file)->Find("model.embed_tokens.weight").value();
  EXPECT_EQ(embed.dtype, TensorDType::kF32);
  EXPECT_EQ(embed.shape, (std::vector<int64_t>{3, 4}));
  EXPECT_EQ(Values<float>(embed)[11], 11.0f / 8);
  EXPECT_EQ(Values<double>((*file)->Find("model.norm.weight").value()),
            (std::vector<double>{1, -2, 0.5}));
  EXPECT_EQ(Values<int64_t>((*file)->Find("ids").value())[1], int64_t{1} << 40);
  EXPECT_EQ(Values<uint16_t>((*file)->Find("half").value())[2], 0xfbff);  // -65504
  EXPECT_EQ(Values<uint8_t>((*file)->Find("mask").value()), (std::vector<uint8_t>{1, 0}));
  EXPECT_TRUE((*file)->Find("scalar").value().shape.empty());
  EXPECT_TRUE((*file)->Find("empty").value().bytes.empty());
}

TEST(Safetensors, CopyEqualsThePythonFileByteForByte) {
  const auto file = SafetensorsFile::Open(kPythonFile).value();
  std::vector<TensorView> tensors = file->tensors();
  std::reverse(tensors.begin(), tensors.end());  // the order of the caller does not matter
  const std::string path = TempPath("copy");
  ASSERT_TRUE(WriteSafetensors(path, tensors, file->metadata()).ok());
  EXPECT_EQ(Contents(path), Contents(kPythonFile));
}

TEST(Safetensors, EveryDtypeSurvives) {
  const std::vector<uint8_t> bytes = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
  std::vector<TensorView> tensors;
  for (const TensorDType dtype :
       {TensorDType::kF64, TensorDType::kF32, TensorDType::kF16, TensorDType::kBF16,
        TensorDType::kI64, TensorDType::kI32, TensorDType::kI16, TensorDType::kI8, TensorDType::kU8,
        TensorDType::kBool}) {
    EXPECT_EQ(ParseDType(DTypeName(dtype)).value(), dtype);
    tensors.push_back(
        {absl::StrCat("t.", DTypeName(dtype)), dtype, {16 / DTypeSize(dtype)}, Bytes(bytes)});
  }
  const std::string path = TempPath("dtypes");
  ASSERT_TRUE(WriteSafetensors(path, tensors).ok());
  const auto file = SafetensorsFile::Open(path).value();
  for (const TensorView& tensor : tensors) {
    const auto read = file->Find(tensor.name).value();
    EXPECT_EQ(read.dtype, tensor.dtype);
    EXPECT_EQ(read.shape, tensor.shape);
    EXPECT_EQ(Values<uint8_t>(read), bytes);
  }
}

TEST(Safetensors, MissingTensorNamesItsNeighbours) {
  const auto file = SafetensorsFile::Open(kPythonFile).value();
  const auto missing = file->Find("model.embed_tokens.weigth").status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("among them model.embed_tokens.weight"));
}

TEST(Safetensors, WriterRefusesWhatDoesNotFit) {
  const std::vector<float> values = {1, 2, 3};
  const std::string path = TempPath("refused");
  const TensorView good{"a", TensorDType::kF32, {3}, Bytes(values)};
  TensorView wrong = good;
  wrong.shape = {4};
  EXPECT_EQ(WriteSafetensors(path, {wrong}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(WriteSafetensors(path, {good, good}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(Safetensors, HostileHeaders) {
  const std::string one = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  ASSERT_TRUE(OpenImage(FileOf(one, std::string(8, 'x'))).ok());
  const auto header = [](const std::string& dtype, const std::string& shape,
                         const std::string& offsets) {
    return absl::StrCat(R"({"a":{"dtype":")", dtype, R"(","shape":)", shape, R"(,"data_offsets":)",
                        offsets, "}}");
  };
  const std::string eight(8, 'x');
  const std::pair<std::string, std::string> cases[] = {
      {"", "has 0 bytes"},
      {"1234567", "has 7 bytes"},
      {LengthField(~uint64_t{0}) + eight, "header would take 18446744073709551615"},
      {LengthField(uint64_t{1} << 40) + eight, "header would take"},
      {LengthField(9) + eight, "header would take 9"},
      {FileOf("nonsense", eight), "not valid JSON"},
      {FileOf("[1]", ""), "expected an object"},
      {FileOf(std::string(100000, '['), ""), "nested more than"},
      {FileOf(header("F33", "[2]", "[0,8]"), eight), "F33"},
      {FileOf(header("F32", "[3]", "[0,8]"), eight), "take 12 bytes"},
      {FileOf(header("F32", "[-2]", "[0,8]"), eight), "negative or too large"},
      {FileOf(header("F32", "[4294967296,4294967296]", "[0,8]"), eight), "too large"},
      {FileOf(header("F32", "[9223372036854775807]", "[0,8]"), eight), "too large"},
      {FileOf(header("F32", "[0,9223372036854775807,4]", "[0,8]"), eight), "take 0 bytes"},
      {FileOf(header("F32", "[2.5]", "[0,8]"), eight), "expected an integer"},
      {FileOf(header("F32", "[2]", "[8,0]"), eight), "data_offsets"},
      {FileOf(header("F32", "[2]", "[-8,0]"), eight), "data_offsets"},
      {FileOf(header("F32", "[2]", "[0]"), eight), "data_offsets"},
      {FileOf(header("F32", "[2]", "[0,8]"), "short"), "ends at byte 8"},
      {FileOf(header("F32", "[2]", "[8,16]"), eight + eight), "hole"},
      {FileOf(one, eight + "more"), "belong to none"},
      {FileOf(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
              R"("b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
              "xyz"),
       "overlaps"},
      {FileOf(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
              R"("b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})",
              "12345"),
       "not aligned"},
      {FileOf(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
              R"("a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
              "12"),
       "duplicate key"},
      {FileOf(R"({"__metadata__":{"a":1}})", ""), "expected a string"},
      {FileOf(R"({"a":{"shape":[2],"data_offsets":[0,8]}})", eight), "a.dtype"},
  };
  for (const auto& [image, message] : cases) {
    const absl::Status status = OpenImage(image);
    EXPECT_FALSE(status.ok()) << message;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(message), HasSubstr("hostile")));
  }
}

// Whatever is changed in a file: it opens with every byte in range, or it is refused.
TEST(Safetensors, MutationsAreRefusedOrConsistent) {
  const std::string image = Contents(kPythonFile);
  const std::string path = TempPath("mutated");
  int opened = 0;
  for (uint64_t round = 0; round < 2000; ++round) {
    Rng rng(1, "mutate", round);
    std::string mutated = image;
    const uint64_t changes = 1 + rng.Below(4);
    for (uint64_t i = 0; i < changes; ++i) {
      const size_t place = rng.Below(std::min<size_t>(mutated.size(), 900));
      switch (rng.Below(4)) {
        case 0:
          mutated[place] = static_cast<char>(rng.Below(256));
          break;
        case 1:
          mutated[place] = "0123456789[]{},:-"[rng.Below(17)];
          break;
        case 2:
          mutated.erase(place, 1 + rng.Below(8));
          break;
        default:
          mutated.insert(place, 1 + rng.Below(8), static_cast<char>(rng.Below(256)));
      }
    }
    if (rng.Below(8) == 0) mutated.resize(rng.Below(mutated.size()));
    std::ofstream(path, std::ios::binary) << mutated;
    const auto file = SafetensorsFile::Open(path);
    if (!file.ok()) continue;
    ++opened;
    uint64_t total = 0, sum = 0;
    for (const TensorView& tensor : (*file)->tensors()) {
      total += tensor.bytes.size();
      for (const uint8_t byte : tensor.bytes) sum += byte;
    }
    EXPECT_LT(total, mutated.size());
    EXPECT_LT(sum, 256 * mutated.size());
  }
  EXPECT_LT(opened, 1000);  // most mutations hit something that counts
}

}  // namespace
}  // namespace attnlab
