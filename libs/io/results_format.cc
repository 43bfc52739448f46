// The layout of results.h5: one pass of Store and one of Load over the parts of RunResults.
#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/core/files.h"
#include "libs/core/status.h"
#include "libs/io/h5.h"
#include "libs/io/results.h"
#include "libs/io/results_attributes.h"
#include "libs/io/results_entries.h"

namespace attnlab {
namespace {

int64_t Size(size_t size) { return static_cast<int64_t>(size); }

// A part of the record: a group of named entries, left out when there are none.
template <class Entry>
void StorePart(h5::Builder& builder, const std::string& part,
               std::map<std::string, Entry>& entries) {
  if (entries.empty()) return;
  builder.Group(part);
  for (auto& [name, entry] : entries) {
    const std::string path = absl::StrCat(part, "/", h5::EncodeName(name));
    builder.Group(path);
    Store(builder, path, entry);
  }
}

template <class Entry>
absl::Status LoadPart(const h5::Reader& reader, const std::string& part,
                      std::map<std::string, Entry>& entries) {
  ATTNLAB_ASSIGN_OR_RETURN(const std::vector<std::string> links, reader.Children(part));
  for (const std::string& link : links) {
    const std::string path = absl::StrCat(part, "/", link);
    ATTNLAB_RETURN_IF_ERROR(Load(reader, path, entries[h5::DecodeName(link)]));
  }
  return absl::OkStatus();
}

// Calls part(PATH, MAP) for each part of the record that is a map of named entries.
template <class Visitor>
void ForEachPart(RunResults& results, Visitor&& part) {
  part("/series", results.series);
  part("/metrics", results.metrics);
  part("/eval", results.evals);
  part("/histograms", results.histograms);
  part("/attention", results.attention);
  part("/layers", results.layers);
  part("/maps", results.maps);
  part("/boxes", results.boxes);
  part("/claims", results.claims);
}

void StoreProvenance(h5::Builder& builder, Provenance& provenance) {
  const std::string path = "/provenance";
  builder.Group(path);
  provenance.ForEach(AttributeWriter{builder, path});
  builder.Dataset(path + "/recipe", std::vector<std::string>{provenance.recipe});
  std::vector<std::string> paths, digests;
  std::vector<int64_t> bytes;
  for (const InputFile& input : provenance.inputs) {
    paths.push_back(input.path);
    digests.push_back(input.sha256);
    bytes.push_back(input.bytes);
  }
  const std::string inputs = path + "/inputs";
  builder.Group(inputs);
  builder.Dataset(inputs + "/path", paths);
  builder.Dataset(inputs + "/sha256", digests);
  builder.Dataset(inputs + "/bytes", absl::MakeConstSpan(bytes), {Size(bytes.size())});
}

absl::Status LoadProvenance(const h5::Reader& reader, Provenance& provenance) {
  const std::string path = "/provenance", inputs = path + "/inputs";
  ATTNLAB_RETURN_IF_ERROR(ReadAttributes(reader, path, provenance));
  ATTNLAB_ASSIGN_OR_RETURN(const auto recipe, reader.Strings(path + "/recipe"));
  if (recipe.size() != 1) return Inconsistent(path);
  provenance.recipe = recipe[0];
  ATTNLAB_ASSIGN_OR_RETURN(const auto paths, reader.Strings(inputs + "/path"));
  ATTNLAB_ASSIGN_OR_RETURN(const auto digests, reader.Strings(inputs + "/sha256"));
  ATTNLAB_ASSIGN_OR_RETURN(const auto bytes, reader.Integers(inputs + "/bytes"));
  if (digests.size() != paths.size() || bytes.values.size() != paths.size())
    return Inconsistent(inputs);
  for (size_t i = 0; i < paths.size(); ++i)
    provenance.inputs.push_back({paths[i], digests[i], bytes.values[i]});
  return absl::OkStatus();
}

void StoreTable(h5::Builder& builder, const std::string& group,
                const std::vector<Column>& columns) {
  builder.Group(group);
  for (size_t i = 0; i < columns.size(); ++i) {
    const Column& column = columns[i];
    const std::string path = absl::StrCat(group, "/", h5::EncodeName(column.name));
    if (column.texts.empty()) {
      builder.Dataset(path, absl::MakeConstSpan(column.numbers), {Size(column.size())});
    } else {
      builder.Dataset(path, column.texts);
    }
    builder.Attribute(path, "unit", column.unit);
    builder.Attribute(path, "place", Size(i));
    builder.Attribute(path, "text", !column.texts.empty());
  }
}

void StoreTables(h5::Builder& builder, const RunResults& results) {
  if (results.tables.empty()) return;
  builder.Group("/tables");
  for (const auto& [name, columns] : results.tables) {
    StoreTable(builder, absl::StrCat("/tables/", h5::EncodeName(name)), columns);
  }
}

absl::Status LoadTable(const h5::Reader& reader, const std::string& group,
                       std::vector<Column>& columns) {
  ATTNLAB_ASSIGN_OR_RETURN(const auto links, reader.Children(group));
  std::vector<std::pair<int64_t, Column>> placed;
  for (const std::string& link : links) {
    const std::string path = absl::StrCat(group, "/", link);
    auto& [place, column] = placed.emplace_back(0, Column{h5::DecodeName(link), "", {}, {}});
    bool text = false;
    ATTNLAB_RETURN_IF_ERROR(reader.Attribute(path, "unit", column.unit));
    ATTNLAB_RETURN_IF_ERROR(reader.Attribute(path, "place", place));
    ATTNLAB_RETURN_IF_ERROR(reader.Attribute(path, "text", text));
    if (text) {
      ATTNLAB_ASSIGN_OR_RETURN(column.texts, reader.Strings(path));
    } else {
      ATTNLAB_ASSIGN_OR_RETURN(auto numbers, reader.Doubles(path));
      column.numbers = std::move(numbers.values);
    }
    if (column.size() != placed.front().second.size()) return Inconsistent(path);
  }
  std::stable_sort(placed.begin(), placed.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto& [place, column] : placed) columns.push_back(std::move(column));
  return absl::OkStatus();
}

absl::Status LoadTables(const h5::Reader& reader, RunResults& results) {
  if (!reader.Has("/tables")) return absl::OkStatus();
  ATTNLAB_ASSIGN_OR_RETURN(const auto links, reader.Children("/tables"));
  for (const std::string& link : links) {
    ATTNLAB_RETURN_IF_ERROR(
        LoadTable(reader, absl::StrCat("/tables/", link), results.tables[h5::DecodeName(link)]));
  }
  return absl::OkStatus();
}

absl::StatusOr<RunResults> ParseResults(std::string image, const std::string& source) {
  ATTNLAB_ASSIGN_OR_RETURN(const h5::Reader reader, h5::Reader::Open(std::move(image), source));
  int64_t version = 0;
  ATTNLAB_RETURN_IF_ERROR(reader.Attribute("/", "schema_version", version));
  if (version != kResultsSchemaVersion)
    return absl::InvalidArgumentError(
        absl::StrCat(source, " has schema version ", version, ", this program reads version ",
                     kResultsSchemaVersion, "; read it with the attnlab that wrote it"));
  RunResults results;
  ATTNLAB_RETURN_IF_ERROR(ReadAttributes(reader, "/", results.info));
  ATTNLAB_RETURN_IF_ERROR(reader.Attribute("/", "created_utc", results.created_utc));
  ATTNLAB_RETURN_IF_ERROR(reader.Attribute("/", "finished_utc", results.finished_utc));
  ATTNLAB_RETURN_IF_ERROR(reader.Attribute("/", "status", results.status));
  absl::Status status = LoadProvenance(reader, results.provenance);
  ForEachPart(results, [&](const char* path, auto& entries) {
    if (status.ok()) status = LoadPart(reader, path, entries);
  });
  if (status.ok()) status = LoadTables(reader, results);
  if (!status.ok()) return status;
  return results;
}

}  // namespace

absl::StatusOr<RunResults> ReadResults(const std::string& path) {
  std::error_code error;
  const bool folder = std::filesystem::is_directory(path, error);
  const std::string file = folder ? (std::filesystem::path(path) / "results.h5").string() : path;
  ATTNLAB_ASSIGN_OR_RETURN(std::string image, ReadFile(file));
  return ParseResults(std::move(image), file);
}

absl::StatusOr<std::string> SerializeResults(RunResults& results) {
  h5::Builder builder;
  builder.Attribute("/", "schema_version", kResultsSchemaVersion);
  results.info.ForEach(AttributeWriter{builder, "/"});
  builder.Attribute("/", "created_utc", results.created_utc);
  builder.Attribute("/", "finished_utc", results.finished_utc);
  builder.Attribute("/", "status", results.status);
  StoreProvenance(builder, results.provenance);
  ForEachPart(results, [&](const char* path, auto& entries) { StorePart(builder, path, entries); });
  StoreTables(builder, results);
  return builder.Image();
}

}  // namespace attnlab
