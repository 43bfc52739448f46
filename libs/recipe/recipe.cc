#include "libs/recipe/recipe.h"

#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "libs/core/files.h"
#include "libs/core/status.h"

namespace attnlab {
namespace {

constexpr int kMaxParents = 8;

std::string Where(const toml::node& node) {
  const toml::source_region& source = node.source();
  return absl::StrCat(source.path ? *source.path : "recipe", ":", source.begin.line);
}

const char* TypeName(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "an array";
    case toml::node_type::string:
      return "a string";
    case toml::node_type::integer:
      return "an integer";
    case toml::node_type::floating_point:
      return "a float";
    case toml::node_type::boolean:
      return "a boolean";
    default:
      return "a date or time";
  }
}

absl::Status WrongType(const toml::node& node, const std::string& key, const char* wanted) {
  return absl::InvalidArgumentError(
      absl::StrCat(Where(node), ": ", key, " must be ", wanted, ", not ", TypeName(node)));
}

// Scalars as the fields want them; an integer serves where a float is wanted.
absl::Status As(const toml::node& node, const std::string& key, bool& value) {
  if (!node.is_boolean()) return WrongType(node, key, "true or false");
  value = **node.as_boolean();
  return absl::OkStatus();
}
absl::Status As(const toml::node& node, const std::string& key, int64_t& value) {
  if (!node.is_integer()) return WrongType(node, key, "an integer");
  value = **node.as_integer();
  return absl::OkStatus();
}
absl::Status As(const toml::node& node, const std::string& key, double& value) {
  if (!node.is_number()) return WrongType(node, key, "a number");
  value = *node.value<double>();
  return absl::OkStatus();
}
absl::Status As(const toml::node& node, const std::string& key, std::string& value) {
  if (!node.is_string()) return WrongType(node, key, "a string");
  value = **node.as_string();
  return absl::OkStatus();
}
template <class T>
absl::Status As(const toml::node& node, const std::string& key, std::vector<T>& values) {
  if (!node.is_array()) return WrongType(node, key, "an array");
  std::vector<T> read;
  for (const toml::node& element : *node.as_array()) {
    const std::string element_key = absl::StrCat(key, "[", read.size(), "]");
    ATTNLAB_RETURN_IF_ERROR(As(element, element_key, read.emplace_back()));
  }
  values = std::move(read);
  return absl::OkStatus();
}
absl::Status As(const toml::node& node, const std::string& key,
                std::map<std::string, double>& values) {
  if (!node.is_table()) return WrongType(node, key, "a table of numbers");
  for (const auto& [name, element] : *node.as_table()) {
    ATTNLAB_RETURN_IF_ERROR(As(element, absl::StrCat(key, ".", std::string(name.str())),
                               values[std::string(name.str())]));
  }
  return absl::OkStatus();
}

template <class T>
absl::Status GetField(const void* table, const std::string& path, const char* key, T& value) {
  if (table == nullptr) return absl::OkStatus();
  const toml::node* node = static_cast<const toml::table*>(table)->get(key);
  if (node == nullptr) return absl::OkStatus();
  return As(*node, path.empty() ? key : absl::StrCat(path, ".", key), value);
}

int EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<int> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 1; i <= a.size(); ++i) {
    int diagonal = std::exchange(row[0], static_cast<int>(i));
    for (size_t j = 1; j <= b.size(); ++j) {
      const int above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row.back();
}

absl::StatusOr<toml::table> ParseToml(const std::string& text, const std::string& name) {
  try {
    return toml::parse(text, name);
  } catch (const toml::parse_error& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ":", error.source().begin.line, ": ", std::string(error.description())));
  }
}

// Tables merge key by key; anything else of `over` replaces what `base` has.
void Merge(toml::table& base, toml::table&& over) {
  for (auto&& [key, node] : over) {
    toml::node* existing = base.get(key.str());
    if (existing != nullptr && existing->is_table() && node.is_table()) {
      Merge(*existing->as_table(), std::move(*node.as_table()));
    } else {
      base.insert_or_assign(key.str(), std::move(node));
    }
  }
}

absl::StatusOr<toml::table> LoadWithParents(const std::string& text, const std::string& name,
                                            int depth) {
  ATTNLAB_ASSIGN_OR_RETURN(toml::table table, ParseToml(text, name));
  const toml::node* extends = table.get("extends");
  if (extends == nullptr) return table;
  std::string parent;
  ATTNLAB_RETURN_IF_ERROR(As(*extends, "extends", parent));
  if (depth == kMaxParents) {
    return absl::InvalidArgumentError(absl::StrCat(Where(*extends), ": more than ", kMaxParents,
                                                   " parents; does the recipe extend itself?"));
  }
  const std::string path = (std::filesystem::path(name).parent_path() / parent).string();
  const absl::StatusOr<std::string> parent_text = ReadFile(path);
  if (!parent_text.ok()) return Annotate(parent_text.status(), Where(*extends));
  ATTNLAB_ASSIGN_OR_RETURN(toml::table merged, LoadWithParents(*parent_text, path, depth + 1));
  table.erase("extends");
  Merge(merged, std::move(table));
  return merged;
}

// "a.b=v" as a table. A value that is no TOML and looks like a word is a string.
absl::StatusOr<toml::table> ParseSet(const std::string& set) {
  const size_t equals = set.find('=');
  const std::string name = absl::StrCat("--set ", set);
  if (equals == std::string::npos || equals == 0) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": expected section.key=value"));
  }
  absl::StatusOr<toml::table> table = ParseToml(set, name);
  const std::string value = set.substr(equals + 1);
  const bool word = !value.empty() && std::all_of(value.begin(), value.end(), [](char c) {
    return absl::ascii_isalnum(c) || absl::StrContains("_-./:", absl::string_view(&c, 1));
  });
  if (!table.ok() && word)
    table = ParseToml(absl::StrCat(set.substr(0, equals), "=\"", value, "\""), name);
  if (!table.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": the value is no TOML; a string needs quotes, e.g. --set '",
                     set.substr(0, equals), "=\"text\"'"));
  }
  return table;
}

struct Axis {
  std::string key;  // "model.attention.weighting"
  const toml::array* values;
};

absl::Status CollectAxes(const toml::table& table, const std::string& prefix,
                         std::vector<Axis>& axes) {
  for (const auto& [key, node] : table) {
    const std::string path =
        absl::StrCat(prefix, prefix.empty() ? "" : ".", std::string(key.str()));
    if (node.is_table()) {
      ATTNLAB_RETURN_IF_ERROR(CollectAxes(*node.as_table(), path, axes));
    } else if (!node.is_array() || node.as_array()->empty()) {
      return absl::InvalidArgumentError(absl::StrCat(
          Where(node), ": sweep.", path, " must be an array of the values to run, e.g. [1, 2, 3]"));
    } else {
      axes.push_back({path, node.as_array()});
    }
  }
  return absl::OkStatus();
}

// "softpick" for a string, "seed2" for seed = 2; other characters become '_'.
std::string AxisName(const std::string& key, const toml::node& value) {
  std::string text;
  if (value.is_string()) {
    text = **value.as_string();
  } else {
    std::ostringstream out;
    value.visit([&out](const auto& concrete) { out << concrete; });
    text = absl::StrCat(key.substr(key.rfind('.') + 1), out.str());
  }
  for (char& c : text) {
    if (!absl::ascii_isalnum(c) && c != '.' && c != '_' && c != '-') c = '_';
  }
  return text;
}

// "bits=3 group_size=64"
std::string Settings(const toml::table& table) {
  std::vector<std::string> settings;
  for (const auto& [key, value] : table) {
    std::ostringstream out;
    value.visit([&out](const auto& concrete) {
      using Node = std::remove_cvref_t<decltype(concrete)>;
      if constexpr (toml::is_string<Node>) {
        out << concrete.get();
      } else {
        out << concrete;
      }
    });
    settings.push_back(absl::StrCat(std::string(key.str()), "=", out.str()));
  }
  return absl::StrJoin(settings, " ");
}

void Assign(toml::table& table, const std::string& key, const toml::node& value) {
  toml::table* at = &table;
  std::string rest = key;
  for (size_t dot = rest.find('.'); dot != std::string::npos; dot = rest.find('.')) {
    const std::string head = rest.substr(0, dot);
    toml::node* next = at->get(head);
    if (next == nullptr || !next->is_table()) at->insert_or_assign(head, toml::table{});
    at = at->get(head)->as_table();
    rest = rest.substr(dot + 1);
  }
  value.visit([&](const auto& concrete) { at->insert_or_assign(rest, concrete); });
}

}  // namespace

struct Recipe::Tree {
  toml::table table;
};

const void* Recipe::Root() const { return &tree_->table; }

absl::StatusOr<Recipe> Recipe::Load(const std::string& path, const std::vector<std::string>& sets) {
  ATTNLAB_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  return Parse(text, path, sets);
}

absl::StatusOr<Recipe> Recipe::Parse(const std::string& text, const std::string& name,
                                     const std::vector<std::string>& sets) {
  ATTNLAB_ASSIGN_OR_RETURN(toml::table table, LoadWithParents(text, name, 0));
  for (const std::string& set : sets) {
    ATTNLAB_ASSIGN_OR_RETURN(toml::table over, ParseSet(set));
    Merge(table, std::move(over));
  }
  return Recipe(std::make_shared<const Tree>(Tree{std::move(table)}));
}

absl::StatusOr<std::vector<Recipe::Cell>> Recipe::Cells() const {
  const toml::node* sweep = tree_->table.get("sweep");
  if (sweep == nullptr) return std::vector<Cell>{{"", *this}};
  if (!sweep->is_table()) return WrongType(*sweep, "sweep", "a table");
  std::vector<Axis> axes;
  ATTNLAB_RETURN_IF_ERROR(CollectAxes(*sweep->as_table(), "", axes));
  // Strings first, so that the variant leads the name of a run.
  std::stable_sort(axes.begin(), axes.end(), [](const Axis& a, const Axis& b) {
    return a.values->front().is_string() > b.values->front().is_string();
  });
  std::vector<Cell> cells;
  std::vector<size_t> choice(axes.size(), 0);
  for (bool more = true; more;) {
    toml::table table = tree_->table;
    table.erase("sweep");
    std::vector<std::string> names;
    for (size_t i = 0; i < axes.size(); ++i) {
      const toml::node& value = *axes[i].values->get(choice[i]);
      names.push_back(AxisName(axes[i].key, value));
      Assign(table, axes[i].key, value);
    }
    cells.push_back(
        {absl::StrJoin(names, "-"), Recipe(std::make_shared<const Tree>(Tree{std::move(table)}))});
    more = false;
    for (size_t i = axes.size(); i-- > 0 && !more;) {
      more = ++choice[i] < axes[i].values->size();
      if (!more) choice[i] = 0;
    }
  }
  return cells;
}

absl::StatusOr<std::vector<Recipe::Alternative>> Recipe::Alternatives(
    const std::string& key, const std::vector<std::string>& apart) const {
  const toml::node* node = tree_->table.get(key);
  if (node == nullptr || !node->is_table()) {
    return absl::InvalidArgumentError(absl::StrCat("the recipe has no table [", key, "]"));
  }
  std::vector<std::pair<toml::source_position, Alternative>> found;
  for (const auto& [name, list] : *node->as_table()) {
    const std::string path = absl::StrCat(key, ".", std::string(name.str()));
    if (!list.is_array()) return WrongType(list, path, "a list of tables");
    for (const toml::node& entry : *list.as_array()) {
      if (!entry.is_table()) return WrongType(entry, path, "a list of tables");
      toml::table table = *entry.as_table(), rest;
      for (const std::string& other : apart) {
        if (const toml::node* value = table.get(other)) rest.insert(other, *value);
        table.erase(other);
      }
      const std::string settings = Settings(table);
      found.push_back({entry.source().begin,
                       {std::string(name.str()), settings,
                        Recipe(std::make_shared<const Tree>(Tree{std::move(table)})),
                        Recipe(std::make_shared<const Tree>(Tree{std::move(rest)}))}});
    }
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Alternative> alternatives;
  for (auto& [place, alternative] : found) alternatives.push_back(std::move(alternative));
  return alternatives;
}

Recipe Recipe::Without(const std::string& key) const {
  toml::table table = tree_->table;
  table.erase(key);
  return Recipe(std::make_shared<const Tree>(Tree{std::move(table)}));
}

namespace internal {

absl::Status RecipeTable::Get(const char* key, bool& value) const {
  return GetField(table_, path_, key, value);
}
absl::Status RecipeTable::Get(const char* key, int64_t& value) const {
  return GetField(table_, path_, key, value);
}
absl::Status RecipeTable::Get(const char* key, double& value) const {
  return GetField(table_, path_, key, value);
}
absl::Status RecipeTable::Get(const char* key, std::string& value) const {
  return GetField(table_, path_, key, value);
}
absl::Status RecipeTable::Get(const char* key, std::vector<int64_t>& value) const {
  return GetField(table_, path_, key, value);
}
absl::Status RecipeTable::Get(const char* key, std::vector<double>& value) const {
  return GetField(table_, path_, key, value);
}
absl::Status RecipeTable::Get(const char* key, std::vector<std::string>& value) const {
  return GetField(table_, path_, key, value);
}
absl::Status RecipeTable::Get(const char* key, std::map<std::string, double>& value) const {
  return GetField(table_, path_, key, value);
}

absl::StatusOr<RecipeTable> RecipeTable::Section(const char* key) const {
  const std::string path = path_.empty() ? key : absl::StrCat(path_, ".", key);
  const toml::node* node =
      table_ == nullptr ? nullptr : static_cast<const toml::table*>(table_)->get(key);
  if (node == nullptr) return RecipeTable(nullptr, path);
  if (!node->is_table()) return WrongType(*node, path, "a table");
  return RecipeTable(node->as_table(), path);
}

std::vector<std::string> RecipeTable::Keys() const {
  std::vector<std::string> keys;
  if (table_ == nullptr) return keys;
  for (const auto& [key, node] : *static_cast<const toml::table*>(table_)) {
    keys.emplace_back(key.str());
  }
  return keys;
}

absl::Status RecipeTable::RejectUnknown(const std::vector<std::string>& known) const {
  if (table_ == nullptr) return absl::OkStatus();
  for (const auto& [key, node] : *static_cast<const toml::table*>(table_)) {
    const absl::string_view name(key.str().data(), key.str().size());
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    const auto nearest =
        std::min_element(known.begin(), known.end(), [&](const auto& a, const auto& b) {
          return EditDistance(a, name) < EditDistance(b, name);
        });
    const bool close = nearest != known.end() && EditDistance(*nearest, name) <= 3;
    return absl::InvalidArgumentError(
        absl::StrCat(Where(node), ": unknown key ", path_, path_.empty() ? "" : ".", name,
                     close ? absl::StrCat("; did you mean ", *nearest, "?")
                           : absl::StrCat("; known: ", absl::StrJoin(known, ", "))));
  }
  return absl::OkStatus();
}

std::string TomlWriter::Literal(bool value) { return value ? "true" : "false"; }
std::string TomlWriter::Literal(int64_t value) { return absl::StrCat(value); }
std::string TomlWriter::Literal(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  // The shortest of 15 to 17 digits that reads back to the same double.
  std::string text;
  for (int digits = 15; digits <= 17; ++digits) {
    text = absl::StrFormat("%.*g", digits, value);
    if (std::strtod(text.c_str(), nullptr) == value) break;
  }
  return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
}
std::string TomlWriter::Literal(const std::string& value) {
  std::string text = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') {
      absl::StrAppend(&text, "\\", std::string(1, c));
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      absl::StrAppend(&text, absl::StrFormat("\\u%04x", c));
    } else {
      text += c;
    }
  }
  return text + "\"";
}
std::string TomlWriter::Literal(const std::map<std::string, double>& value) {
  std::vector<std::string> entries;
  for (const auto& [key, number] : value)
    entries.push_back(absl::StrCat(Literal(key), " = ", Literal(number)));
  return entries.empty() ? "{}" : absl::StrCat("{", absl::StrJoin(entries, ", "), "}");
}

}  // namespace internal
}  // namespace attnlab
