#include "libs/report/document.h"

#include <algorithm>
#include <cctype>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "libs/core/status.h"
#include "libs/report/text.h"

namespace attnlab {
namespace {

constexpr char kStyle[] = R"css(
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #ffffff; color: #1a1f24;
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 0 28px 72px; }
header { border-bottom: 1px solid #d9dee3; padding: 34px 0 16px; }
h1 { font-size: 29px; line-height: 1.2; letter-spacing: -0.01em; margin: 0 0 6px; }
h2 { font-size: 20px; margin: 46px 0 4px; padding-top: 6px; }
h3 { font-size: 15px; margin: 24px 0 4px; }
p { margin: 4px 0 10px; max-width: 84ch; }
.quiet, figcaption, .caption { color: #56606a; font-size: 13.5px; }
nav { position: sticky; top: 0; z-index: 1; background: #ffffff; border-bottom: 1px solid #d9dee3;
  padding: 9px 0; display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 14px; }
nav a { color: #1f5fa8; text-decoration: none; }
nav a:hover { text-decoration: underline; }
section { scroll-margin-top: 48px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 20px; margin-top: 8px; font-size: 14px; }
.chip { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 7px; }
.scroll { overflow-x: auto; margin: 10px 0 6px; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th { font-weight: 600; text-align: right; vertical-align: bottom; color: #3b444d;
  border-bottom: 2px solid #c3cad1; padding: 5px 10px; max-width: 14ch; }
td { text-align: right; padding: 5px 10px; border-bottom: 1px solid #e6e9ec; white-space: nowrap; }
th.text, td.text { text-align: left; max-width: 64ch; white-space: normal; }
td.text:first-child { min-width: 16ch; }
tr.strong td { font-weight: 600; background: #f5f7f9; }
tbody tr:hover td { background: #f0f4f8; }
.note { font-weight: 400; font-size: 12px; color: #56606a; }
.verdict { font-weight: 600; }
.held { color: #12694f; } .missed { color: #a3261a; }
figure { display: inline-block; vertical-align: top; max-width: 100%; margin: 8px 26px 14px 0; }
figure h3 { margin: 8px 0 6px; }
figcaption { width: 0; min-width: 100%; margin-top: 4px; }
.plots { display: flex; flex-wrap: wrap; gap: 8px 12px; overflow-x: auto; align-items: flex-start; }
.plots svg { max-width: 100%; height: auto; }
svg text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }
svg image { image-rendering: pixelated; }
details { margin: 10px 0; border: 1px solid #d9dee3; border-radius: 6px; padding: 8px 14px; }
summary { cursor: pointer; font-weight: 600; font-size: 14px; color: #3b444d; }
pre { background: #f5f7f9; border-radius: 6px; padding: 12px 14px; overflow-x: auto;
  font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
@media print { nav { position: static; } figure, table { break-inside: avoid; } }
)css";

std::string Anchor(const std::string& title) {
  std::string anchor;
  for (const char c : title) anchor += std::isalnum(static_cast<unsigned char>(c)) ? c : '-';
  return anchor;
}

bool Shown(const Section& section) { return !section.blocks.empty() || !section.more.empty(); }

class Html {
 public:
  // `drawn` are the plots of the document in the order in which they occur.
  explicit Html(const std::vector<std::string>& drawn) : drawn_(drawn) {}

  std::string Page(const Document& document) {
    const std::string title = EscapeHtml(document.title);
    absl::StrAppend(
        &out_, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n",
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n", "<title>",
        title, "</title>\n<style>", kStyle, "</style>\n</head>\n<body>\n", "<main>\n<header>\n<h1>",
        title, "</h1>\n<p class=\"quiet\">", EscapeHtml(document.subtitle), "</p>\n");
    Legend(document.legend);
    out_ += "</header>\n<nav>";
    for (const Section& section : document.sections) {
      if (Shown(section))
        absl::StrAppend(&out_, "<a href=\"#", Anchor(section.title), "\">",
                        EscapeHtml(section.title), "</a>");
    }
    out_ += "</nav>\n";
    for (const Section& section : document.sections) {
      if (Shown(section)) Add(section);
    }
    out_ += "</main>\n</body>\n</html>\n";
    return std::move(out_);
  }

 private:
  void Legend(const std::vector<LegendEntry>& legend) {
    if (legend.size() < 2) return;
    out_ += "<div class=\"legend\">";
    for (const LegendEntry& entry : legend)
      absl::StrAppend(&out_, "<span>", Chip(entry.color), EscapeHtml(entry.label), "</span>");
    out_ += "</div>\n";
  }

  void Add(const Section& section) {
    absl::StrAppend(&out_, "<section id=\"", Anchor(section.title), "\">\n<h2>",
                    EscapeHtml(section.title), "</h2>\n");
    if (!section.intro.empty()) absl::StrAppend(&out_, "<p>", EscapeHtml(section.intro), "</p>\n");
    for (const Block& block : section.blocks) Add(block);
    if (!section.more.empty()) {
      out_ += "<details>\n<summary>More</summary>\n";
      for (const Block& block : section.more) Add(block);
      out_ += "</details>\n";
    }
    out_ += "</section>\n";
  }

  void Add(const Block& block) {
    std::visit([this](const auto& kind) { Write(kind); }, block);
  }

  void Write(const Table& table) {
    Title(table.title);
    out_ += "<div class=\"scroll\"><table>\n<thead><tr>";
    for (size_t i = 0; i < table.header.size(); ++i)
      absl::StrAppend(&out_, "<th", Class(table, i), ">", EscapeHtml(table.header[i]), "</th>");
    out_ += "</tr></thead>\n<tbody>\n";
    for (const std::vector<Cell>& row : table.rows) {
      const bool strong = !row.empty() && row[0].strong;
      out_ += strong ? "<tr class=\"strong\">" : "<tr>";
      for (size_t i = 0; i < row.size(); ++i)
        absl::StrAppend(&out_, "<td", Class(table, i), ">", Text(row[i]), "</td>");
      out_ += "</tr>\n";
    }
    out_ += "</tbody>\n</table></div>\n";
    if (!table.caption.empty())
      absl::StrAppend(&out_, "<p class=\"caption\">", EscapeHtml(table.caption), "</p>\n");
  }

  void Write(const Figure& figure) {
    out_ += "<figure>\n";
    Title(figure.title);
    const std::string grid =
        figure.columns == 0 ? ""
                            : absl::StrCat(" style=\"display:grid;grid-template-columns:repeat(",
                                           figure.columns, ",max-content)\"");
    absl::StrAppend(&out_, "<div class=\"plots\"", grid, ">\n");
    for (size_t i = 0; i < figure.plots.size(); ++i)
      absl::StrAppend(&out_, drawn_[next_plot_++], "\n");
    out_ += "</div>\n";
    if (!figure.caption.empty())
      absl::StrAppend(&out_, "<figcaption>", EscapeHtml(figure.caption), "</figcaption>\n");
    out_ += "</figure>\n";
  }

  void Write(const Code& code) {
    std::vector<std::string> lines;
    for (const absl::string_view line : absl::StrSplit(code.text, '\n'))
      lines.push_back(EscapeHtml(std::string(line)));
    absl::StrAppend(&out_, "<details>\n<summary>", EscapeHtml(code.title), "</summary>\n<pre>",
                    absl::StrJoin(lines, "\n"), "</pre>\n</details>\n");
  }

  void Title(const std::string& title) {
    if (!title.empty()) absl::StrAppend(&out_, "<h3>", EscapeHtml(title), "</h3>\n");
  }

  static std::string Class(const Table& table, size_t column) {
    return column < table.text_columns ? " class=\"text\"" : "";
  }

  static std::string Chip(const std::string& color) {
    return color.empty()
               ? ""
               : absl::StrCat("<span class=\"chip\" style=\"background:", EscapeHtml(color),
                              "\"></span>");
  }

  static std::string Text(const Cell& cell) {
    const std::string text = EscapeHtml(cell.text);
    if (cell.text == "held" || cell.text == "missed")
      return absl::StrCat("<span class=\"verdict ", text, "\">", text, "</span>");
    if (cell.note.empty()) return Chip(cell.color) + text;
    return absl::StrCat(Chip(cell.color), text, "<br/><span class=\"note\">", EscapeHtml(cell.note),
                        "</span>");
  }

  const std::vector<std::string>& drawn_;
  size_t next_plot_ = 0;
  std::string out_;
};

std::string MarkdownTable(const Table& table) {
  std::string out =
      table.title.empty() ? "" : absl::StrCat("### ", EscapeMarkdown(table.title), "\n\n");
  std::vector<std::string> names, rules;
  for (size_t i = 0; i < table.header.size(); ++i) {
    names.push_back(EscapeMarkdown(table.header[i]));
    rules.push_back(i < table.text_columns ? "---" : "---:");
  }
  absl::StrAppend(&out, "| ", absl::StrJoin(names, " | "), " |\n|", absl::StrJoin(rules, "|"),
                  "|\n");
  for (const std::vector<Cell>& row : table.rows) {
    std::vector<std::string> cells;
    for (const Cell& cell : row) {
      const std::string text = EscapeMarkdown(cell.text);
      cells.push_back(row[0].strong && !text.empty() ? absl::StrCat("**", text, "**") : text);
      if (!cell.note.empty()) absl::StrAppend(&cells.back(), " ", EscapeMarkdown(cell.note));
    }
    absl::StrAppend(&out, "| ", absl::StrJoin(cells, " | "), " |\n");
  }
  if (!table.caption.empty()) absl::StrAppend(&out, "\n", EscapeMarkdown(table.caption), "\n");
  return out + "\n";
}

// Characters of valid UTF-8.
size_t Length(const std::string& text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; });
}

}  // namespace

std::string RenderText(const Table& table) {
  std::vector<std::vector<std::string>> lines = {table.header};
  for (const std::vector<Cell>& row : table.rows) {
    std::vector<std::string>& line = lines.emplace_back();
    for (const Cell& cell : row)
      line.push_back(
          CleanText(cell.note.empty() ? cell.text : absl::StrCat(cell.text, " (", cell.note, ")")));
  }
  std::vector<size_t> widths(table.header.size());
  for (const std::vector<std::string>& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], Length(line[i]));
  }
  std::string out;
  for (const std::vector<std::string>& line : lines) {
    std::string text;
    for (size_t i = 0; i < line.size(); ++i)
      absl::StrAppend(&text, line[i], std::string(widths[i] - Length(line[i]) + 2, ' '));
    absl::StrAppend(&out, absl::StripTrailingAsciiWhitespace(text), "\n");
  }
  return out;
}

std::string RenderMarkdown(const Document& document) {
  std::string out =
      absl::StrCat("# ", EscapeMarkdown(document.title), "\n\n", EscapeMarkdown(document.subtitle),
                   "\n\n", "The plots are in [report.html](report.html).\n\n");
  for (const Section& section : document.sections) {
    std::string tables;
    for (const Block& block : section.blocks) {
      if (const Table* table = std::get_if<Table>(&block)) tables += MarkdownTable(*table);
    }
    if (!tables.empty())
      absl::StrAppend(&out, "## ", EscapeMarkdown(section.title), "\n\n", tables);
  }
  return out;
}

absl::StatusOr<std::string> RenderHtml(const Document& document) {
  std::vector<Plot> plots;
  for (const Section& section : document.sections) {
    for (const std::vector<Block>* blocks : {&section.blocks, &section.more}) {
      for (const Block& block : *blocks) {
        if (const Figure* figure = std::get_if<Figure>(&block))
          plots.insert(plots.end(), figure->plots.begin(), figure->plots.end());
      }
    }
  }
  ATTNLAB_ASSIGN_OR_RETURN(const std::vector<std::string> drawn, DrawPlots(plots));
  return Html(drawn).Page(document);
}

}  // namespace attnlab
