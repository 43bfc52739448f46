// report RUN...: tables and plots of runs, side by side, as Markdown and one HTML page.
#include <cstdio>
#include <string>
#include <vector>

#include "apps/cli.h"
#include "libs/core/status.h"
#include "libs/report/report.h"

int main(int argc, char** argv) {
  std::vector<std::string> runs;
  std::string out = "report";
  attnlab::Cli cli("report", "Writes report.md and report.html of finished or running runs.",
                   {"report runs/quickstart-softmax runs/quickstart-softpick",
                    "report runs/*/results.h5 --out reports/all"});
  cli.Positionals("RUN", runs, "run folders, or results.h5 files");
  cli.Option("out", out, "folder for the report");
  return cli.Run(argc, argv, [&]() -> absl::Status {
    ATTNLAB_ASSIGN_OR_RETURN(const attnlab::ReportPaths paths, attnlab::WriteReport(runs, out));
    std::printf("%s\n%s\n", paths.markdown.c_str(), paths.html.c_str());
    return absl::OkStatus();
  });
}
