#include "libs/report/bench_tables.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "libs/io/result_names.h"
#include "libs/report/tables.h"
#include "libs/report/text.h"

namespace attnlab {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

// A table of the bench by row and column name; a column that is not there is empty or NaN.
class Rows {
 public:
  explicit Rows(const std::vector<Column>& columns) : columns_(columns) {}

  size_t size() const { return columns_.empty() ? 0 : columns_[0].size(); }
  std::string Text(size_t row, const std::string& name) const {
    const Column* column = FindColumn(columns_, name);
    return column != nullptr && row < column->texts.size() ? column->texts[row] : "";
  }
  double Number(size_t row, const std::string& name) const {
    const Column* column = FindColumn(columns_, name);
    return column != nullptr && row < column->numbers.size() ? column->numbers[row] : kNone;
  }
  std::string Whole(size_t row, const std::string& name) const {
    return absl::StrFormat("%.0f", Number(row, name));
  }

 private:
  const std::vector<Column>& columns_;
};

using Group = std::vector<size_t>;  // rows, in their order

// Rows with the same text of `key`, groups in the order of their first rows.
template <class Key>
std::vector<std::pair<std::string, Group>> GroupBy(const Group& rows, Key key) {
  std::vector<std::pair<std::string, Group>> groups;
  for (const size_t row : rows) {
    const std::string name = key(row);
    auto it = std::find_if(groups.begin(), groups.end(),
                           [&](const auto& group) { return group.first == name; });
    if (it == groups.end()) it = groups.insert(groups.end(), {name, {}});
    it->second.push_back(row);
  }
  return groups;
}

bool AnyNumber(const Rows& rows, const Group& group, const std::string& name) {
  return std::any_of(group.begin(), group.end(),
                     [&](size_t row) { return !std::isnan(rows.Number(row, name)); });
}

// "1980 MHz", "1695 to 1980 MHz", "" where none was read.
std::string ClockText(const Rows& rows, const Group& group, const std::string& name) {
  double low = kNone, high = kNone;
  for (const size_t row : group) {
    low = std::fmin(low, rows.Number(row, name));
    high = std::fmax(high, rows.Number(row, name));
  }
  if (std::isnan(low)) return "";
  const std::string most = absl::StrFormat("%.0f MHz", high);
  return low == high ? most : absl::StrFormat("%.0f to %s", low, most);
}

std::string MetricText(const RunResults& results, const std::string& name) {
  const auto it = results.metrics.find(name);
  if (it == results.metrics.end()) return "";
  return absl::StrCat(it->second.label, " ", FormatNumber(it->second.value), " ", it->second.unit);
}

// What the figures of `group` were measured on.
std::string DeviceText(const RunResults& results, const Rows& rows, const Group& group) {
  std::vector<std::string> parts = {results.provenance.device};
  if (!results.provenance.driver.empty()) {
    parts.push_back(absl::StrCat("driver ", results.provenance.driver));
  }
  const std::string sm = ClockText(rows, group, "sm_clock");
  if (!sm.empty()) parts.push_back(sm);
  const std::string memory = ClockText(rows, group, "memory_clock");
  if (!memory.empty()) parts.push_back(absl::StrCat("memory ", memory));
  for (const char* name : {names::kMatrixProductRate, names::kCopyBandwidth}) {
    const std::string text = MetricText(results, name);
    if (!text.empty()) parts.push_back(text);
  }
  return absl::StrJoin(parts, ", ");
}

struct Extra {
  const char* name;    // of the stored column
  const char* header;  // here
  const char* unit;    // of FormatNumber
  int digits;
};
constexpr Extra kRatios[] = {
    {"flash", "× flash", "", 3},           {"cudnn", "× cuDNN", "", 3},
    {"efficient", "× efficient", "", 3},   {"of_device", "of device", "fraction", 3},
    {"skipped", "skipped", "fraction", 3}, {"skip_gain", "× unskipped", "", 3},
    {"error_ratio", "error", "", 3}};

std::vector<Extra> Extras(const Rows& rows, const Group& group) {
  std::vector<Extra> extras;
  for (const Extra& extra : kRatios) {
    if (AnyNumber(rows, group, extra.name)) extras.push_back(extra);
  }
  return extras;
}

Cell NumberCell(const Rows& rows, size_t row, const Extra& extra) {
  return {FormatNumber(rows.Number(row, extra.name), extra.unit, extra.digits), "", false};
}

constexpr char kCaption[] =
    "× PEER: how many times as fast as LibTorch's operator (softmax) on the same tensors; of "
    "device: "
    "share of what it reaches; error: against float64, in units of LibTorch's in the same dtype.";

// One dtype, head dim, mask and pass.
Table AttentionTable(const RunResults& results, const Rows& rows, const std::string& title,
                     const Group& group) {
  const auto lengths = GroupBy(group, [&](size_t row) {
    return absl::StrCat("T ", rows.Whole(row, "T"), ", B ", rows.Whole(row, "B"));
  });
  const bool named = std::any_of(group.begin(), group.end(),
                                 [&](size_t row) { return rows.Text(row, "inputs") != "random"; });
  Table table;
  table.title = title;
  table.caption = absl::StrCat("TFLOP/s; the other columns at ", lengths.back().first, ". ",
                               kCaption, " ", DeviceText(results, rows, group), ".");
  table.header = {"variant", "kernel"};
  if (named) table.header.push_back("inputs");
  table.text_columns = table.header.size();
  for (const auto& [length, of_length] : lengths) table.header.push_back(length);
  const std::vector<Extra> extras = Extras(rows, lengths.back().second);
  for (const Extra& extra : extras) table.header.push_back(extra.header);
  const auto lines = GroupBy(group, [&](size_t row) {
    return absl::StrCat(rows.Text(row, "variant"), "/", rows.Text(row, "kernel"), "/",
                        rows.Text(row, "inputs"));
  });
  for (const auto& [name, line] : lines) {
    std::vector<Cell> cells = {{rows.Text(line[0], "variant"), "", false},
                               {rows.Text(line[0], "kernel"), "", false}};
    if (named) cells.push_back({rows.Text(line[0], "inputs"), "", false});
    for (const auto& [length, of_length] : lengths) {
      const auto it =
          std::find_first_of(line.begin(), line.end(), of_length.begin(), of_length.end());
      cells.push_back({it == line.end() ? "" : FormatNumber(rows.Number(*it, "rate")), "", false});
    }
    for (const Extra& extra : extras) cells.push_back(NumberCell(rows, line.back(), extra));
    table.rows.push_back(std::move(cells));
  }
  return table;
}

// One dtype and shape.
Table DecodeTable(const RunResults& results, const Rows& rows, const std::string& title,
                  const Group& group) {
  Table table;
  table.title = title;
  table.caption = absl::StrCat("One query a sequence; GB/s of keys and values. ", kCaption, " ",
                               DeviceText(results, rows, group), ".");
  table.header = {"variant", "kernel", "us", "GB/s"};
  table.text_columns = 2;
  const std::vector<Extra> extras = Extras(rows, group);
  for (const Extra& extra : extras) table.header.push_back(extra.header);
  for (const size_t row : group) {
    std::vector<Cell> cells = {{rows.Text(row, "variant"), "", false},
                               {rows.Text(row, "kernel"), "", false},
                               {FormatNumber(rows.Number(row, "seconds") * 1e6), "", false},
                               {FormatNumber(rows.Number(row, "rate")), "", false}};
    for (const Extra& extra : extras) cells.push_back(NumberCell(rows, row, extra));
    table.rows.push_back(std::move(cells));
  }
  return table;
}

std::string AttentionTitle(const Rows& rows, size_t row) {
  const std::string heads = rows.Whole(row, "H"), kv_heads = rows.Whole(row, "Hkv");
  return absl::StrCat("attention, ", rows.Text(row, "pass"), ", ", rows.Text(row, "dtype"), ", d ",
                      rows.Whole(row, "dim"), ", ", rows.Text(row, "mask"), ", H ", heads,
                      heads == kv_heads ? "" : absl::StrCat(" on ", kv_heads));
}

std::string DecodeTitle(const Rows& rows, size_t row) {
  return absl::StrCat("decode, ", rows.Text(row, "dtype"), ", B ", rows.Whole(row, "B"), ", H ",
                      rows.Whole(row, "H"), " on ", rows.Whole(row, "Hkv"), ", d ",
                      rows.Whole(row, "dim"), ", T ", rows.Whole(row, "T"));
}

// The tables of the stored table `name`, one for each title.
void AddTables(const RunResults& results, const std::string& name,
               std::string (*title)(const Rows&, size_t),
               Table (*make)(const RunResults&, const Rows&, const std::string&, const Group&),
               std::vector<Table>& tables) {
  const auto it = results.tables.find(name);
  if (it == results.tables.end()) return;
  const Rows rows(it->second);
  Group all(rows.size());
  for (size_t row = 0; row < all.size(); ++row) all[row] = row;
  for (const auto& [text, group] : GroupBy(all, [&](size_t row) { return title(rows, row); })) {
    tables.push_back(make(results, rows, text, group));
  }
}

}  // namespace

std::vector<Table> BenchTables(const RunSet& set) {
  std::vector<Table> tables;
  for (const ReportRun& run : set.runs) {
    if (run.results.info.kind != "bench") continue;
    AddTables(run.results, names::kAttentionTable, AttentionTitle, AttentionTable, tables);
    AddTables(run.results, names::kDecodeTable, DecodeTitle, DecodeTable, tables);
  }
  return tables;
}

}  // namespace attnlab
