#include "libs/report/tables.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "libs/io/result_names.h"
#include "libs/report/text.h"

namespace attnlab {
namespace {

// How the runs of a bar spread about their mean, "" for a single one.
std::string RangeOf(const Verdict& verdict) {
  const std::string range = FormatRange(verdict.measurements);
  return range.empty() ? "" : absl::StrCat(range, " in ", verdict.measurements.size(), " runs");
}

// Header of a table with one column a run after the `first` ones.
std::vector<std::string> RunHeader(const RunSet& set, std::vector<std::string> first) {
  for (const ReportRun& run : set.runs) first.push_back(run.label);
  return first;
}

}  // namespace

const Column* FindColumn(const std::vector<Column>& columns, const std::string& name) {
  for (const Column& column : columns) {
    if (column.name == name) return &column;
  }
  return nullptr;
}

Table ClaimsTable(const RunSet& set, const std::vector<Verdict>& verdicts) {
  Table table;
  table.header = {"claim", "source", "run", "paper", "measured", "must be", "verdict"};
  table.text_columns = 3;
  const auto add = [&](const std::string& id, const Claim& claim, const Cell& run,
                       const std::string& note) {
    table.rows.push_back({{claim.statement.empty() ? id : claim.statement, "", false},
                          {claim.source, "", false},
                          run,
                          {FormatNumber(claim.paper), "", false},
                          {FormatNumber(claim.measured), "", false, note},
                          {claim.tolerance, "", false},
                          {claim.verdict, "", false}});
  };
  for (const Verdict& verdict : verdicts)
    add(verdict.id, verdict.claim, {verdict.run, verdict.color}, RangeOf(verdict));
  for (const ReportRun& run : set.runs) {
    for (const auto& [id, claim] : run.results.claims) add(id, claim, {run.label, run.color}, "");
  }
  return table;
}

Table VerdictsTable(const std::vector<Verdict>& verdicts) {
  Table table;
  table.header = {"verdict", "bar", "run", "measured", "must be"};
  table.text_columns = 3;
  for (const Verdict& verdict : verdicts) {
    table.rows.push_back({{verdict.claim.verdict, "", false},
                          {verdict.id, "", false},
                          {verdict.run, "", false},
                          {FormatNumber(verdict.claim.measured), "", false, RangeOf(verdict)},
                          {verdict.claim.tolerance, "", false}});
  }
  return table;
}

Table EvalTable(const RunSet& set) {
  std::map<std::string, const EvalScore*> tasks;
  for (const ReportRun& run : set.runs) {
    for (const auto& [name, score] : run.results.evals) tasks.emplace(name, &score);
  }
  Table table;
  table.header = RunHeader(set, {"task", "metric", "examples", "shots"});
  table.text_columns = 2;
  for (const auto& [name, any] : tasks) {
    std::vector<Cell> row = {
        {any->task, "", false},
        {absl::StrCat(any->metric, any->higher_is_better ? " ↑" : " ↓"), "", false},
        {absl::StrCat(any->n), "", false},
        {absl::StrCat(any->n_shot), "", false}};
    for (const ReportRun& run : set.runs) {
      const auto it = run.results.evals.find(name);
      std::string text;
      if (it != run.results.evals.end()) {
        text = FormatNumber(it->second.score);
        if (it->second.standard_error > 0)
          absl::StrAppend(&text, " ± ", FormatNumber(it->second.standard_error, "", 3));
      }
      row.push_back({std::move(text), "", false});
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table MetricsTable(const RunSet& set) {
  std::map<std::string, const Metric*> metrics;
  for (const ReportRun& run : set.runs) {
    for (const auto& [name, metric] : run.results.metrics) metrics.emplace(name, &metric);
  }
  Table table;
  table.header = RunHeader(set, {"metric", "definition", "T", "sequences"});
  table.text_columns = 2;
  const auto count = [](int64_t n) { return n > 0 ? absl::StrCat(n) : std::string(); };
  for (const auto& [name, any] : metrics) {
    std::vector<Cell> row = {{LabelOf(name, any->label), "", false},
                             {any->definition, "", false},
                             {count(any->tokens), "", false},
                             {count(any->sequences), "", false}};
    for (const ReportRun& run : set.runs) {
      const auto it = run.results.metrics.find(name);
      const bool there = it != run.results.metrics.end();
      row.push_back({there ? FormatNumber(it->second.value, any->unit) : "", "", false});
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

namespace {
Table StoredTable(const std::string& title, const std::vector<Column>& columns) {
  Table table;
  table.title = title;
  table.text_columns = 0;
  for (const Column& column : columns) {
    table.header.push_back(column.unit.empty() ? column.name
                                               : absl::StrCat(column.name, ", ", column.unit));
    if (table.text_columns + 1 == table.header.size() && !column.texts.empty())
      ++table.text_columns;
  }
  for (size_t i = 0; !columns.empty() && i < columns[0].size(); ++i) {
    std::vector<Cell> row;
    for (const Column& column : columns)
      row.push_back(
          {column.texts.empty() ? FormatNumber(column.numbers[i]) : column.texts[i], "", false});
    table.rows.push_back(std::move(row));
  }
  return table;
}
}  // namespace

std::vector<Table> StoredTables(const RunSet& set) {
  std::vector<Table> tables;
  for (const ReportRun& run : set.runs) {
    for (const auto& [name, columns] : run.results.tables) {
      if (absl::StartsWith(name, names::kSweepExamples)) continue;  // thousands of documents
      tables.push_back(StoredTable(absl::StrCat(run.label, ": ", name), columns));
    }
  }
  return tables;
}

Table ProvenanceTable(const RunSet& set) {
  Table table;
  table.header = RunHeader(set, {""});
  table.text_columns = table.header.size();
  const auto row = [&](const std::string& name,
                       const std::function<std::string(const RunResults&)>& text) {
    std::vector<Cell> cells = {{name, "", false}};
    bool any = false;
    for (const ReportRun& run : set.runs) {
      cells.push_back({text(run.results), "", false});
      any = any || !cells.back().text.empty();
    }
    if (any) table.rows.push_back(std::move(cells));
  };
  const auto number = [](int64_t n) { return n != 0 ? absl::StrCat(n) : std::string(); };
  row("run", [](const RunResults& r) { return absl::StrCat(r.info.kind, " ", r.info.name); });
  row("seed", [](const RunResults& r) { return absl::StrCat(r.provenance.seed); });
  row("parameters", [&](const RunResults& r) { return number(r.provenance.parameters); });
  row("started", [](const RunResults& r) { return r.created_utc; });
  row("ended", [](const RunResults& r) { return r.finished_utc; });
  row("status", [](const RunResults& r) { return r.status; });
  row("command", [](const RunResults& r) { return r.provenance.command_line; });
  row("commit", [](const RunResults& r) {
    return absl::StrCat(r.provenance.commit, r.provenance.dirty ? " with changes" : "");
  });
  row("compiler", [](const RunResults& r) { return r.provenance.compiler; });
  row("LibTorch", [](const RunResults& r) { return r.provenance.torch; });
  row("device", [](const RunResults& r) { return r.provenance.device; });
  row("driver", [](const RunResults& r) { return r.provenance.driver; });
  row("CUDA", [](const RunResults& r) { return r.provenance.cuda; });
  row("host", [](const RunResults& r) { return r.provenance.host; });
  row("threads", [&](const RunResults& r) { return number(r.provenance.threads); });
  row("processes", [&](const RunResults& r) { return number(r.provenance.world_size); });
  row("deterministic",
      [](const RunResults& r) { return std::string(r.provenance.deterministic ? "yes" : "no"); });
  return table;
}

Table InputsTable(const RunSet& set) {
  Table table;
  table.title = "Inputs";
  table.header = {"file", "SHA-256", "bytes"};
  table.text_columns = 2;
  std::set<std::pair<std::string, std::string>> seen;
  for (const ReportRun& run : set.runs) {
    for (const InputFile& input : run.results.provenance.inputs) {
      if (seen.insert({input.path, input.sha256}).second)
        table.rows.push_back({{input.path, "", false},
                              {input.sha256, "", false},
                              {absl::StrCat(input.bytes), "", false}});
    }
  }
  return table;
}

}  // namespace attnlab
