#include "apps/compress/rows.h"

#include <algorithm>
#include <limits>

namespace attnlab {

RowTable::RowTable(const std::vector<Column>& columns) : columns_(columns) {}

Column& RowTable::Find(const std::string& name, const std::string& unit, bool text) {
  for (Column& column : columns_) {
    if (column.name == name) return column;
  }
  const size_t rows = size();
  Column column{name, unit, {}, {}};
  if (text) {
    column.texts.resize(rows);
  } else {
    column.numbers.resize(rows, std::numeric_limits<double>::quiet_NaN());
  }
  return columns_.emplace_back(std::move(column));
}

void RowTable::Add(const Row& row) {
  const size_t rows = size() + 1;
  for (const auto& [name, text] : row.texts) {
    Column& column = Find(name, "", true);
    column.texts.resize(rows);
    column.texts.back() = text;
  }
  for (const Row::Number& number : row.numbers) {
    Column& column = Find(number.name, number.unit, false);
    column.numbers.resize(rows, std::numeric_limits<double>::quiet_NaN());
    column.numbers.back() = number.value;
  }
  for (Column& column : columns_) {
    if (column.texts.empty()) {
      column.numbers.resize(rows, std::numeric_limits<double>::quiet_NaN());
    } else {
      column.texts.resize(rows);
    }
  }
}

bool RowTable::Has(const std::vector<std::pair<std::string, std::string>>& texts) const {
  for (size_t row = 0; row < size(); ++row) {
    const bool same = std::all_of(texts.begin(), texts.end(), [&](const auto& wanted) {
      return std::any_of(columns_.begin(), columns_.end(), [&](const Column& column) {
        return column.name == wanted.first && row < column.texts.size() &&
               column.texts[row] == wanted.second;
      });
    });
    if (same) return true;
  }
  return false;
}

}  // namespace attnlab
