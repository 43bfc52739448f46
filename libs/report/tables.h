// The tables of a report. A table without rows means that no run has anything of the kind.
#pragma once

#include <string>
#include <vector>

#include "libs/report/bars.h"
#include "libs/report/document.h"
#include "libs/report/run_set.h"

namespace attnlab {

// The column of this name, null when there is none.
const Column* FindColumn(const std::vector<Column>& columns, const std::string& name);

// One row a run, and before the runs of a group one row with their mean and range.
Table SummaryTable(const RunSet& set);
// The claims that the runs record and the verdicts on an experiment's bars.
Table ClaimsTable(const RunSet& set, const std::vector<Verdict>& verdicts);
// The verdicts in short, for a terminal.
Table VerdictsTable(const std::vector<Verdict>& verdicts);
Table EvalTable(const RunSet& set);
// Every metric with its definition, one column a run.
Table MetricsTable(const RunSet& set);
// The tables of the records, as they stand there.
std::vector<Table> StoredTables(const RunSet& set);
Table ProvenanceTable(const RunSet& set);
Table InputsTable(const RunSet& set);

}  // namespace attnlab
