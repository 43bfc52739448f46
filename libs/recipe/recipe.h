// Recipes: a TOML file that says everything about a run, read strictly into config structs
// (libs/core/fields.h).
//
//   extends = "base.toml"            # one parent, its path relative to this file; tables merge,
//   this file wins seed = 1 [model.attention] weighting = "softpick" [sweep] # optional: one run
//   for each combination model.attention.weighting = ["softmax", "softpick"] seed = [1, 2, 3]
//
// An unknown key, a wrong type or a value out of range is an error that names file, line and key.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/core/fields.h"

namespace attnlab {

namespace internal {

template <class T>
inline constexpr bool kIsSectionMap = false;
template <HasFields T>
inline constexpr bool kIsSectionMap<std::map<std::string, T>> = true;

// One table of a recipe while a struct is read from it; hides toml++.
class RecipeTable {
 public:
  RecipeTable(const void* table, std::string path) : table_(table), path_(std::move(path)) {}

  // Each returns OK and leaves `value` as it is when the table has no such key.
  absl::Status Get(const char* key, bool& value) const;
  absl::Status Get(const char* key, int64_t& value) const;
  absl::Status Get(const char* key, double& value) const;
  absl::Status Get(const char* key, std::string& value) const;
  absl::Status Get(const char* key, std::vector<int64_t>& value) const;
  absl::Status Get(const char* key, std::vector<double>& value) const;
  absl::Status Get(const char* key, std::vector<std::string>& value) const;
  absl::Status Get(const char* key, std::map<std::string, double>& value) const;

  absl::StatusOr<RecipeTable> Section(const char* key) const;
  std::vector<std::string> Keys() const;

  // An error for the first key that is not in `known`, with the nearest known key.
  absl::Status RejectUnknown(const std::vector<std::string>& known) const;

 private:
  const void* table_;  // toml::table, null for a section that the recipe does not have
  std::string path_;   // "model.attention"
};

// Writes TOML text: scalars of a table first, then its sections.
class TomlWriter {
 public:
  template <HasFields T>
  static std::string Dump(T& config, const std::string& path = "");

 private:
  template <HasFields T>
  static std::string Section(T& config, const std::string& path) {
    const std::string body = Dump(config, path);
    return body.empty() ? "" : "\n[" + path + "]\n" + body;
  }
  static std::string Literal(bool value);
  static std::string Literal(int64_t value);
  static std::string Literal(double value);
  static std::string Literal(const std::string& value);
  static std::string Literal(const std::map<std::string, double>& value);
  template <class T>
  static std::string Literal(const std::vector<T>& values) {
    std::string text = "[";
    for (size_t i = 0; i < values.size(); ++i) text += (i ? ", " : "") + Literal(values[i]);
    return text + "]";
  }
};

template <HasFields T>
absl::Status ReadTable(const RecipeTable& table, T& config);

template <HasFields T>
absl::Status ReadSection(const RecipeTable& parent, const char* key, T& config) {
  const absl::StatusOr<RecipeTable> section = parent.Section(key);
  return section.ok() ? ReadTable(*section, config) : section.status();
}

// Sections of any name, all of one kind.
template <HasFields T>
absl::Status ReadSection(const RecipeTable& parent, const char* key,
                         std::map<std::string, T>& sections) {
  const absl::StatusOr<RecipeTable> table = parent.Section(key);
  absl::Status status = table.status();
  if (!status.ok()) return status;
  for (const std::string& name : table->Keys()) {
    status = ReadSection(*table, name.c_str(), sections[name]);
    if (!status.ok()) return status;
  }
  return status;
}

template <HasFields T>
absl::Status ReadTable(const RecipeTable& table, T& config) {
  absl::Status status;
  std::vector<std::string> known;
  config.ForEach([&](const char* key, auto& field, const char* /*help*/) {
    known.push_back(key);
    if (!status.ok()) return;
    using Field = std::remove_reference_t<decltype(field)>;
    if constexpr (HasFields<Field> || kIsSectionMap<Field>) {
      status = ReadSection(table, key, field);
    } else {
      status = table.Get(key, field);
    }
  });
  if (!status.ok()) return status;
  return table.RejectUnknown(known);
}

template <HasFields T>
std::string TomlWriter::Dump(T& config, const std::string& path) {
  std::string scalars, sections;
  config.ForEach([&](const char* key, auto& field, const char* /*help*/) {
    using Field = std::remove_reference_t<decltype(field)>;
    const std::string inner = path.empty() ? key : path + "." + key;
    if constexpr (HasFields<Field>) {
      sections += Section(field, inner);
    } else if constexpr (kIsSectionMap<Field>) {
      for (auto& [name, section] : field) sections += Section(section, inner + "." + Literal(name));
    } else {
      scalars += std::string(key) + " = " + Literal(field) + "\n";
    }
  });
  return scalars + sections;
}

}  // namespace internal

class Recipe {
 public:
  // Reads `path` with its parents and applies each of `sets`, "section.key=value" with the value as
  // TOML (a bare word is taken as a string).
  static absl::StatusOr<Recipe> Load(const std::string& path,
                                     const std::vector<std::string>& sets = {});
  // The same from text; `name` stands for the file in messages. `extends` is looked for beside
  // `name`.
  static absl::StatusOr<Recipe> Parse(const std::string& text, const std::string& name,
                                      const std::vector<std::string>& sets = {});

  // Fills `config`, whose present values are the defaults.
  template <HasFields T>
  absl::Status Read(T& config) const {
    return internal::ReadTable(internal::RecipeTable(Root(), ""), config);
  }

  // One recipe for each combination of [sweep]; without [sweep] this recipe alone, its name empty.
  struct Cell;
  absl::StatusOr<std::vector<Cell>> Cells() const;

  // The entries of the table `key`, in the order of the file: each name with a list of tables,
  // every one a recipe of its own.
  //
  //   [methods]
  //   hqq = [{bits = 4}, {bits = 3, group_size = 64}]
  //
  // Keys of an entry that are in `apart` are no settings of it: they go into a recipe of their own.
  struct Alternative;
  absl::StatusOr<std::vector<Alternative>> Alternatives(
      const std::string& key, const std::vector<std::string>& apart = {}) const;

  // This recipe without the top-level `key`.
  Recipe Without(const std::string& key) const;

 private:
  struct Tree;
  explicit Recipe(std::shared_ptr<const Tree> tree) : tree_(std::move(tree)) {}
  const void* Root() const;

  std::shared_ptr<const Tree> tree_;
};

struct Recipe::Cell {
  std::string name;  // "softpick-seed2": the values of the sweep, safe as a folder name
  Recipe recipe;     // without [sweep]
};

struct Recipe::Alternative {
  std::string name;      // "hqq"
  std::string settings;  // "bits=3 group_size=64", by key
  Recipe recipe;         // the settings
  Recipe apart;          // the keys that were kept apart
};

// The whole config as TOML that reads back to the same config.
template <HasFields T>
std::string DumpToml(T config) {
  return internal::TomlWriter::Dump(config);
}

}  // namespace attnlab
