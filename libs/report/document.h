// A report as data: sections of tables, figures and texts, rendered to Markdown and to one HTML
// page that needs nothing else.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/report/plot.h"

namespace attnlab {

struct Cell {
  std::string text;
  std::string color;      // a chip of this colour before the text (a run), "" for none
  bool strong = false;    // a row that stands for several runs (asked of its first cell)
  std::string note = "";  // smaller, below the text
};

struct Table {
  std::string title, caption;
  std::vector<std::string> header;
  std::vector<std::vector<Cell>> rows;
  size_t text_columns = 1;  // the first ones are texts, the others numbers
};

struct Figure {
  std::string title, caption;
  std::vector<Plot> plots;
  int columns = 0;  // plots side by side; 0: as many as fit
};

// A text in a fixed font (a recipe), folded away in HTML.
struct Code {
  std::string title, text;
};

using Block = std::variant<Table, Figure, Code>;

struct Section {
  std::string title, intro;
  std::vector<Block> blocks;
  std::vector<Block> more;  // folded away in HTML, left out of Markdown
};

struct LegendEntry {
  std::string label, color;
};

struct Document {
  std::string title, subtitle;
  std::vector<LegendEntry> legend;
  std::vector<Section> sections;  // those without blocks are left out
};

// The table in columns for a terminal, without title and caption.
std::string RenderText(const Table& table);
std::string RenderMarkdown(const Document& document);
absl::StatusOr<std::string> RenderHtml(const Document& document);

}  // namespace attnlab
