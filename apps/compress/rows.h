// The rows of a sweep as columns of results.h5: texts first, then numbers, the same for every row.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "libs/io/results.h"

namespace attnlab {

class RowTable {
 public:
  RowTable() = default;
  explicit RowTable(const std::vector<Column>& columns);

  struct Row {
    std::vector<std::pair<std::string, std::string>> texts;
    struct Number {
      std::string name, unit;
      double value;
    };
    std::vector<Number> numbers;
  };
  // Numbers that a row lacks are NaN.
  void Add(const Row& row);

  size_t size() const { return columns_.empty() ? 0 : columns_[0].size(); }
  // True when a row has all of these texts.
  bool Has(const std::vector<std::pair<std::string, std::string>>& texts) const;
  const std::vector<Column>& columns() const { return columns_; }

 private:
  Column& Find(const std::string& name, const std::string& unit, bool text);
  std::vector<Column> columns_;
};

}  // namespace attnlab
