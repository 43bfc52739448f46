// report RUN...: tables and plots of runs, side by side, as Markdown and one HTML page, and the
// verdicts on an experiment's bars.
#include <cstdio>
#include <string>
#include <vector>

#include "apps/cli.h"
#include "libs/core/status.h"
#include "libs/report/report.h"
#include "libs/report/tables.h"

int main(int argc, char** argv) {
  std::vector<std::string> runs;
  std::string bars, published, out = "report";
  attnlab::Cli cli(
      "report", "Writes report.md and report.html of finished or running runs.",
      {"report runs/quickstart --bars experiments/quickstart/bars.toml",
       "report runs/quantized --published experiments/softpick_quantization/paper.toml",
       "report runs/*/results.h5 --out reports/all"});
  cli.Positionals("RUN", runs, "run folders, folders of a sweep, or results.h5 files");
  cli.Option("bars", bars, "bars.toml of an experiment; exit code 4 unless all are held");
  cli.Option("published", published, "figures of a paper, to stand beside those of a sweep");
  cli.Option("out", out, "folder for the report");
  return cli.Run(argc, argv, [&]() -> absl::Status {
    ATTNLAB_ASSIGN_OR_RETURN(const attnlab::WrittenReport report,
                             attnlab::WriteReport(runs, bars, out, published));
    if (!bars.empty())
      std::printf("%s\n", RenderText(attnlab::VerdictsTable(report.verdicts)).c_str());
    std::printf("%s\n%s\n", report.markdown.c_str(), report.html.c_str());
    return attnlab::AllHeld(report.verdicts);
  });
}
